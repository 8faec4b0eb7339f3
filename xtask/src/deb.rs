//! The Debian package: the release build, its manual and completions, and what systemd needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::{pins, program};

use crate::cargo::{self, Profile, SERIN};

/// Where cargo-deb finds what is generated; `lb-userspace/Cargo.toml` names it.
const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/package");
/// Shells, each with the name of its file.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "serin.bash"),
    ("zsh", "_serin"),
    ("fish", "serin.fish"),
];

/// Makes the package, and says where it is.
pub fn make() -> Result<bool> {
    provide()?;
    let [serin] = cargo::build(Profile::Release, [SERIN])?;
    describe(&serin)?;
    let mut deb = cargo::command();
    deb.args(["deb", "--package", "lb-userspace", "--no-build", "--quiet"]);
    let package = program::stdout(&mut deb).context("cargo-deb can't make the package")?;
    println!("{}", package.trim());
    println!("install it with: apt install {}", package.trim());
    Ok(true)
}

/// Takes cargo-deb where it is installed, else builds the pinned version.
fn provide() -> Result<()> {
    if program::find_all("cargo-deb").next().is_some() {
        return Ok(());
    }
    let version = pins::CARGO_DEB;
    eprintln!("deb: cargo install cargo-deb {version} (takes some minutes, once)");
    let mut install = cargo::command();
    install
        .args([
            "install",
            "cargo-deb",
            "--version",
            version,
            "--locked",
            "--quiet",
        ])
        .env_remove("CARGO_TARGET_DIR");
    run(&mut install)
}

/// Has the program write its manual, and what shells complete.
fn describe(serin: &Path) -> Result<()> {
    let generated = PathBuf::from(GENERATED);
    let (manual, completions) = (generated.join("man"), generated.join("completions"));
    for directory in [&manual, &completions] {
        fs::create_dir_all(directory)
            .with_context(|| format!("can't make {}", directory.display()))?;
    }
    run(Command::new(serin).arg("man").arg("--to").arg(&manual))?;
    for (shell, file) in SHELLS {
        let mut command = Command::new(serin);
        let text = program::stdout(command.args(["completions", shell]));
        let text = text.with_context(|| format!("`serin completions {shell}` failed"))?;
        fs::write(completions.join(file), text)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let Ok(status) = command.status() else {
        bail!(
            "`{}` can't be started",
            command.get_program().to_string_lossy()
        );
    };
    ensure!(
        status.success(),
        "`{}` ended with {status}",
        command.get_program().to_string_lossy()
    );
    Ok(())
}
