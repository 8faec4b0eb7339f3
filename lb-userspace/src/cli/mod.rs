//! The command line. `serin run` is the daemon; every other command is a client of its socket.

mod about;
mod cutover;
mod decap;
mod events;
mod explain;
mod order;
mod release;
mod replay;
mod show;
mod toggle;
mod top;
mod wait;
mod watch;
mod whois;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::{
    api::client::{Client, ClientError},
    config::{Config, lint, outline},
    daemon,
    dataplane::kernel,
};

/// Exit codes.
mod exit {
    /// Refused or failed.
    pub const REFUSED: u8 = 1;
    /// Usage or configuration error; clap's own code as well.
    pub const USAGE: u8 = 2;
    /// What was waited for has not come in time, or nobody could tell how it was.
    pub const TIMED_OUT: u8 = 3;
    /// The daemon can't be reached.
    pub const UNREACHABLE: u8 = 4;
}

/// A kernel-level release load balancer.
#[derive(Debug, Parser)]
#[command(name = "serin", version, max_term_width = 100)]
struct Arguments {
    /// The daemon's socket
    #[arg(
        long,
        global = true,
        env = "SERIN_SOCKET",
        default_value = "/run/serin/serin.sock"
    )]
    socket: PathBuf,
    /// Output format
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon; the data plane goes on when it stops
    Run {
        /// The configuration
        #[arg(long, default_value = "/etc/serin/serin.toml")]
        config: PathBuf,
    },
    /// Check a configuration and show what it means; touches nothing
    Check {
        /// The configuration
        #[arg(default_value = "/etc/serin/serin.toml")]
        file: PathBuf,
    },
    /// Take the program off the interfaces and remove the pins
    Detach {
        /// The configuration that names the pins, where no daemon runs
        #[arg(long, default_value = "/etc/serin/serin.toml")]
        config: PathBuf,
        /// The pins themselves, where no daemon runs
        #[arg(long)]
        pins: Option<PathBuf>,
    },
    /// On a backend: take packets out of what `forward = "ipip"` and "gue" put them into
    Decap(decap::Decap),
    /// What has happened, oldest first: every transition with who caused it and why
    Events {
        /// Go on with what happens next, until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// A release on one screen: share, latency, backends, events, and keys for its orders
    Top {
        /// The service; the first one unless given
        service: Option<String>,
    },
    /// Print what a shell completes
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual
    Man {
        /// Write it and a page for each command here instead
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
    #[command(flatten)]
    Order(order::Order),
}

/// An error with its exit code.
struct Failure {
    message: String,
    code: u8,
}

/// Runs the command line; returns its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("serin: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Lets a reader who has seen enough (`serin status shop | head`) end the command, as it does for
/// others. Only to print: a socket that breaks is an error to be told.
fn end_with_the_reader() {
    // SAFETY: this installs no handler; what it replaces is Rust's way to ignore the signal.
    let set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    // At worst a broken pipe is told as an error.
    set.ok();
}

fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("the runtime can't start: {error}")))?;
    match arguments.command {
        Command::Run { config } => runtime.block_on(run(&config)),
        Command::Check { file } => check(&file, arguments.output),
        Command::Detach { config, pins } => {
            runtime.block_on(detach(&arguments.socket, &config, pins))
        }
        Command::Decap(decap) => {
            end_with_the_reader();
            decap.run(arguments.output)
        }
        Command::Events { follow: true } => {
            let client = Client::new(&arguments.socket);
            runtime.block_on(events::follow(&client, arguments.output))
        }
        Command::Events { follow: false } => {
            let client = Client::new(&arguments.socket);
            let entries = runtime.block_on(client.get("/v1/events"))?;
            end_with_the_reader();
            show::Answer::Events(entries).show(arguments.output);
            Ok(())
        }
        Command::Top { service } => {
            let client = Client::new(&arguments.socket);
            runtime.block_on(top::top(&client, service))
        }
        Command::Completions { shell } => {
            about::completions(shell);
            Ok(())
        }
        Command::Man { to } => about::man(to.as_deref()),
        Command::Order(order::Order::Status {
            service: Some(service),
            watch: true,
        }) => {
            let client = Client::new(&arguments.socket);
            runtime.block_on(watch::watch(&client, &service, arguments.output))
        }
        Command::Order(order) => {
            let answer = runtime.block_on(order.give(&arguments.socket))?;
            end_with_the_reader();
            answer.show(arguments.output);
            Ok(())
        }
    }
}

async fn run(config: &std::path::Path) -> Result<(), Failure> {
    daemon::log::begin();
    daemon::run(config).await.map_err(|error| {
        if let daemon::DaemonError::Config(_) = error {
            Failure::usage(error.to_string())
        } else {
            Failure::refused(error.to_string())
        }
    })
}

fn check(file: &std::path::Path, output: Format) -> Result<(), Failure> {
    let config = Config::load(file).map_err(|error| Failure::usage(error.to_string()))?;
    let findings = lint(&config);
    end_with_the_reader();
    match output {
        Format::Json => show::json(&show::Checked::new(file, &config, &findings)),
        Format::Text => {
            print!("{}", outline(&config));
            for finding in findings {
                println!("warning: {finding}");
            }
            println!("{}: good", file.display());
        }
    }
    Ok(())
}

/// Asks the daemon, or does it where no daemon runs.
async fn detach(
    socket: &std::path::Path,
    config: &std::path::Path,
    pins: Option<PathBuf>,
) -> Result<(), Failure> {
    match order::detach(socket).await {
        Err(ClientError::Unreachable { .. }) => {}
        asked => return asked.map_err(Failure::from),
    }
    let pins = match pins {
        Some(pins) => pins,
        None => {
            Config::load(config)
                .map_err(|error| Failure::usage(format!("{error}\nname the pins with --pins")))?
                .node
                .pins
        }
    };
    kernel::detach(&pins).map_err(|error| Failure::refused(error.to_string()))
}

impl Failure {
    const fn refused(message: String) -> Self {
        Self {
            message,
            code: exit::REFUSED,
        }
    }

    const fn usage(message: String) -> Self {
        Self {
            message,
            code: exit::USAGE,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Unreachable { .. } => exit::UNREACHABLE,
            ClientError::Refused { usage: true, .. } => exit::USAGE,
            ClientError::Refused { .. } | ClientError::Broken { .. } => exit::REFUSED,
        };
        Self {
            message: error.to_string(),
            code,
        }
    }
}
