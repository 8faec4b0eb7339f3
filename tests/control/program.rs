//! The binary `serin` as a process.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The one error of a command that ended with this code and said nothing else.
    pub fn error(&self, code: i32) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        let error = self.err.strip_prefix("serin: ");
        error.unwrap_or_else(|| panic!("not our error: {self:?}"))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// `serin` with these words.
pub fn serin(words: &[&str]) -> Said {
    let output = command().args(words).output();
    output.expect("the binary runs").into()
}

/// `serin` as a client of a socket.
pub fn client(socket: &Path, words: &[&str]) -> Said {
    let output = command().arg("--socket").arg(socket).args(words).output();
    output.expect("the binary runs").into()
}

/// `serin`, with nothing of this process's surroundings that would change what it does.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("SERIN_SOCKET").stdin(Stdio::null());
    command
}

/// `SERIN_BIN`, or the `serin` that was built beside this program.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SERIN_BIN") {
        return path.into();
    }
    let ours = env::current_exe().expect("a path");
    // A test lies in target/debug/deps.
    let directories = ours.ancestors().skip(1).take(2);
    let mut found = directories.map(|directory| directory.join("serin"));
    found.find(|path| path.is_file()).expect(
        "no `serin` beside this program; `cargo build -p lb-userspace` makes it, or set SERIN_BIN",
    )
}
