//! OpenSSH as server and client.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    command::run, deadline, netns::Namespace, process::Process, topology::Backend, unique,
};

/// It runs itself again for each connection, and so wants to be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";
/// Where it locks itself in while nobody has logged in; Debian's unit makes it at each start.
const SEPARATION: &str = "/run/sshd";
const READY: Duration = Duration::from_secs(5);
/// How long a word may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One host key and one user's key, for all servers and clients of a test.
#[derive(Debug)]
pub struct Keys {
    directory: TempDir,
}

/// An sshd in a backend's namespace, which answers `7` by `7 v1 b1` to whoever logs in.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    _directory: TempDir,
}

/// A session, logged in and listened to.
#[derive(Debug)]
pub struct Shell {
    // Closing it ends the session.
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    process: Process,
}

impl Keys {
    /// Makes them.
    pub fn new() -> Result<Self> {
        let directory = unique::directory()?;
        for name in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            run(command.arg(directory.path().join(name)))?;
        }
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

impl Sshd {
    /// Starts it at a port of the backend and returns once it listens.
    pub fn start(
        backend: &Backend,
        (version, name): (&str, &str),
        port: u16,
        keys: &Keys,
    ) -> Result<Self> {
        fs::create_dir_all(SEPARATION)?;
        let directory = unique::directory()?;
        let path = directory.path().join("sshd_config");
        fs::write(&path, config(keys, version, name, port))?;
        let mut command = backend.namespace.command(SSHD);
        command.args(["-D", "-e", "-f"]).arg(&path);
        command.stdout(Stdio::null());
        let mut sshd = Self {
            process: Process::start(&mut command)?,
            _directory: directory,
        };
        sshd.wait_until_ready(backend, port)?;
        Ok(sshd)
    }

    fn wait_until_ready(&mut self, backend: &Backend, port: u16) -> Result<()> {
        let _inside = backend.namespace.enter()?;
        deadline::until("sshd to listen", READY, || {
            if let Some(status) = self.process.ended()? {
                bail!("sshd ended at once with {status}");
            }
            Ok(TcpStream::connect((backend.v4, port)).ok().map(drop))
        })
    }
}

/// Nobody but the holder of the user's key gets in, and nobody gets a shell. A session whose client
/// is silent ends, or it would outlive its server and the lab.
fn config(keys: &Keys, version: &str, name: &str, port: u16) -> String {
    format!(
        r#"Port {port}
ListenAddress 0.0.0.0
ListenAddress ::
HostKey {host}
AuthorizedKeysFile {user}
StrictModes no
UsePAM no
UseDNS no
PidFile none
LogLevel QUIET
ClientAliveInterval 10
ClientAliveCountMax 1
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
ForceCommand while read word; do echo "$word {version} {name}"; done
"#,
        host = keys.path("host"),
        user = keys.path("user.pub"),
    )
}

impl Shell {
    /// Logs in from one of the clients' addresses.
    pub fn open(from: &Namespace, source: IpAddr, target: SocketAddr, keys: &Keys) -> Result<Self> {
        let mut command = from.command("ssh");
        command.args(["-T", "-F", "none", "-b", &source.to_string()]);
        command.args(["-i", &keys.path("user"), "-p", &target.port().to_string()]);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-l", "root", &target.ip().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let (input, output) = process.pipes().context("piped")?;
        let (heard, answers) = channel();
        // Ends with the session.
        thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| heard.send(line).ok())
        });
        Ok(Self {
            input: Some(input),
            answers,
            process,
        })
    }

    /// Says a word and waits for the answer.
    pub fn ask(&mut self, word: &str) -> Result<String> {
        let input = self.input.as_mut().context("the session is being closed")?;
        writeln!(input, "{word}").context("the session has ended")?;
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => bail!("no answer within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the session has ended"),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.input.take());
        // What is left of it is killed.
        let _ = deadline::until("the session to end", PATIENCE, || self.process.ended());
    }
}
