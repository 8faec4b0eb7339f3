//! `serin completions` and `serin man`: what shells and man(1) know of the command line.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Arguments, Failure, end_with_the_reader};

/// Prints what a shell completes.
pub fn completions(shell: Shell) {
    end_with_the_reader();
    generate(shell, &mut Arguments::command(), "serin", &mut io::stdout());
}

/// Prints serin(1); or writes it and a page for each command into a directory.
pub fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let command = Arguments::command().disable_help_subcommand(true);
    end_with_the_reader();
    let done = match directory {
        None => clap_mangen::Man::new(command).render(&mut io::stdout()),
        Some(directory) => fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory)),
    };
    done.map_err(|error| Failure::refused(format!("the manual can't be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let directory = tempfile::tempdir().expect("a directory");
        let written = man(Some(directory.path())).map_err(|failure| failure.message);
        assert_eq!(written, Ok(()));
        for (page, part) in [
            ("serin.1", "release load balancer"),
            ("serin-promote.1", "expect\\-step"),
            ("serin-wait.1", "timed out"),
        ] {
            let text = fs::read_to_string(directory.path().join(page)).expect(page);
            assert!(text.contains(part), "{page}: {part} in\n{text}");
        }
    }
}
