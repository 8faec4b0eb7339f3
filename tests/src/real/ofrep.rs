//! An application that evaluates flags: `OpenFeature`'s SDK for Python and its OFREP provider, which looks
//! at all that an answer must have. (The one for Rust drops reasons and error codes, and brings a second
//! provider of cryptography, by which rustls no longer knows its default.)

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    command::{run, run_with_input},
    netns::Namespace,
    unique,
};

/// What is installed from `PyPI`, once for a target directory.
const PACKAGES: [&str; 2] = [
    "openfeature-sdk==0.10.0",
    "openfeature-provider-ofrep==0.3.0",
];

/// Evaluates a question a line, and answers with a line.
const APPLICATION: &str = "
import json, sys
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.contrib.provider.ofrep import OFREPProvider

api.set_provider(OFREPProvider(sys.argv[1]))
client = api.get_client()
for line in sys.stdin:
    asked = json.loads(line)
    context = EvaluationContext(asked['targeting_key'], asked['attributes'])
    told = client.get_boolean_details(asked['flag'], False, context)
    code = told.error_code and told.error_code.value
    print(json.dumps({'value': told.value, 'reason': str(told.reason.value), 'variant': told.variant, 'error': code}))
";

/// A flag that is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Its key.
    pub flag: String,
    /// Whom it is evaluated for.
    pub targeting_key: Option<String>,
    /// What else is known.
    pub attributes: serde_json::Map<String, Value>,
}

/// What the application gets; its own default is false.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Evaluated {
    /// The value.
    pub value: bool,
    /// Why, in `OpenFeature`'s words.
    pub reason: String,
    /// The name of the value.
    pub variant: Option<String>,
    /// What went wrong, in `OpenFeature`'s words.
    pub error: Option<String>,
}

impl Asked {
    /// A flag for a client's address.
    pub fn client(flag: &str, address: &str) -> Self {
        let attributes = [("clientIp".to_owned(), address.into())];
        Self {
            flag: flag.to_owned(),
            targeting_key: None,
            attributes: attributes.into_iter().collect(),
        }
    }

    /// A flag for a user.
    pub fn user(flag: &str, name: &str) -> Self {
        Self {
            flag: flag.to_owned(),
            targeting_key: Some(name.to_owned()),
            attributes: serde_json::Map::new(),
        }
    }
}

/// Evaluates flags one after the other, in a namespace where the server is at `url`.
pub fn evaluate(namespace: &Namespace, url: &str, asked: &[Asked]) -> Result<Vec<Evaluated>> {
    let mut command = namespace.command(interpreter()?);
    command.args(["-c", APPLICATION, url]);
    let lines = asked
        .iter()
        .map(|asked| Ok(serde_json::to_string(asked)? + "\n"));
    let input = lines.collect::<Result<String>>()?;
    let output = run_with_input(&mut command, &input)?;
    let told = output.lines().map(|line| Ok(serde_json::from_str(line)?));
    let told: Vec<_> = told.collect::<Result<_>>()?;
    ensure!(told.len() == asked.len(), "{} answers", told.len());
    Ok(told)
}

/// A Python that has the packages; they are installed where they are not there yet.
fn interpreter() -> Result<PathBuf> {
    let program = env::current_exe()?;
    // A test lies in target/debug/deps.
    let target = program.ancestors().nth(3).context("no target directory")?;
    let home = target.join(PACKAGES.join("-").replace("==", "-"));
    if !home.exists() {
        install(target, &home)?;
    }
    Ok(home.join("bin/python"))
}

fn install(target: &Path, home: &Path) -> Result<()> {
    let aside = target.join(unique::name());
    run(Command::new("python3").args(["-m", "venv"]).arg(&aside))
        .context("making a virtual environment; install python3-venv")?;
    let mut pip = Command::new(aside.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run(pip.args(PACKAGES)).context("installing OpenFeature's client from PyPI")?;
    if fs::rename(&aside, home).is_err() {
        // Another test was sooner.
        fs::remove_dir_all(&aside)?;
    }
    Ok(())
}
