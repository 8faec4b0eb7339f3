//! Running other programs to their end.

use std::{
    io::{self, Write},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Runs a command to its end and returns what it wrote to stdout.
///
/// Fails if it can't be started or ends with an error, and quotes what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = attempt(command, |command| command.stdin(Stdio::null()).output())?;
    checked(command, output)
}

/// Like [`run`], with `input` as the command's stdin.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let output = attempt(command, |command| {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })?;
    checked(command, output)
}

/// How a command reads when typed.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

/// What a finished command wrote to stdout, or its complaint as an error.
pub fn checked(command: &Command, output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "`{}` failed ({}): {}",
        line(command),
        output.status,
        complaint(&output),
    );
    String::from_utf8(output.stdout).with_context(|| format!("output of `{}`", line(command)))
}

/// What a failed command said: stderr, or stdout where stderr is empty.
pub fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    said.trim().to_owned()
}

fn attempt(
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> io::Result<Output>,
) -> Result<Output> {
    match run(command) {
        Ok(output) => Ok(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "`{}` is not installed; `cargo xtask setup` installs it",
            command.get_program().to_string_lossy(),
        ),
        Err(error) => Err(error).with_context(|| format!("running `{}`", line(command))),
    }
}
