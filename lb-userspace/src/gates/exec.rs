//! A gate that runs a command: without a shell, as an unprivileged user, in a process group of its
//! own that is killed with it. The command itself, though not what it has started, goes with a daemon
//! that is killed.
//!
//! What the command is told is in its environment, which is otherwise empty: `PATH`,
//! `SERIN_SERVICE`, `SERIN_RELEASE` (its number), `SERIN_CANDIDATE`, `SERIN_ACTIVE` (pools),
//! `SERIN_STEP` (from 1; 0 before the first, one more than there are after the promotion) and
//! `SERIN_SHARE_PPM`.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid, User, getpid, setsid},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe,
    task::spawn_blocking,
    time::timeout,
};

use super::launch::{die_with, launch};
use crate::{control::Ask, release::engine::Outcome};

/// How long a command that is killed may take to go.
pub const GRACE: Duration = Duration::from_secs(2);
/// So much of what a command says last is told, in bytes.
const SAID: usize = 500;
/// So much is still read of what a command that has ended said, in bytes: a process that has left
/// its group might go on for ever.
const REST: usize = 64 << 10;
/// The exit status of a check that can't tell.
const CAN_NOT_TELL: i32 = 3;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs, and all that it has started; killed when this is dropped.
struct Running {
    /// Not reaped before its group is killed, so that the group's number stays its own.
    child: Option<Child>,
    group: Pid,
    /// Readable once the command has ended (`pidfd_open(2)`, from Linux 5.3 on).
    ended: OwnedFd,
    said: OwnedFd,
}

/// The end of what a command says.
#[derive(Default)]
struct Tail(VecDeque<u8>);

/// Runs a command to its end, or for so long.
pub async fn ask(ask: &Ask, command: &[String], user: &str, patience: Duration) -> Outcome {
    let prepared = prepare(ask, command);
    let (user, program) = (
        user.to_owned(),
        command.first().cloned().unwrap_or_default(),
    );
    let started = start(prepared, user).await;
    let running = match started {
        Ok(running) => running,
        Err(why) => return Outcome::Inconclusive(format!("{program} can't be run: {why}")),
    };
    let mut tail = Tail::default();
    match timeout(patience, running.finish(&mut tail)).await {
        Ok(Ok(status)) => meaning(status, &tail),
        Ok(Err(error)) => Outcome::Inconclusive(format!("{program} can't be followed: {error}")),
        Err(_) => {
            let patience = humantime::format_duration(patience);
            let why = format!(
                "killed, since it had not ended within {patience}{}",
                tail.text()
            );
            Outcome::Inconclusive(why)
        }
    }
}

fn prepare(ask: &Ask, words: &[String]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command
        .args(words)
        .current_dir("/")
        .env_clear()
        .env("PATH", PATH)
        .env("SERIN_SERVICE", &ask.service)
        .env("SERIN_RELEASE", ask.release.to_string())
        .env("SERIN_CANDIDATE", &ask.candidate)
        .env("SERIN_ACTIVE", &ask.active)
        .env("SERIN_STEP", ask.step.to_string())
        .env("SERIN_SHARE_PPM", ask.share_ppm.to_string())
        .stdin(Stdio::null());
    let parent = getpid();
    // A session of its own: it can't leave that group, and has no terminal of ours.
    let lead = move || {
        setsid()?;
        die_with(parent)
    };
    // SAFETY: between `fork` and `exec`, it makes three system calls and nothing else.
    unsafe { command.pre_exec(lead) };
    command
}

async fn start(mut command: Command, user: String) -> Result<Running, String> {
    // It may be asked for over the network, and holds up no other command.
    let identity = spawn_blocking(move || identity(&user)).await;
    if let Some((uid, gid)) = identity.unwrap_or_else(|error| Err(error.to_string()))? {
        // Where the user is set, the standard library clears the supplementary groups.
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    let spawned = launch(move || spawn(&mut command)).await?;
    spawned.map_err(|error| error.to_string())
}

fn spawn(command: &mut Command) -> io::Result<Running> {
    let (said, says) = io::pipe()?;
    command.stdout(says.try_clone()?).stderr(says);
    let mut child = command.spawn()?;
    let group = Pid::from_raw(child.id().cast_signed());
    let ended = match pidfd(group) {
        Ok(ended) => ended,
        Err(error) => {
            let _gone = killpg(group, Signal::SIGKILL);
            child.wait()?;
            return Err(error);
        }
    };
    Ok(Running {
        child: Some(child),
        group,
        ended,
        said: said.into(),
    })
}

/// Whom to become; nobody else if that is who we are.
fn identity(name: &str) -> Result<Option<(Uid, Gid)>, String> {
    let found = User::from_name(name).map_err(|error| format!("user `{name}`: {error}"))?;
    let user = found.ok_or_else(|| {
        format!("this host has no user `{name}`; name one with `user` that it has")
    })?;
    let me = Uid::effective();
    if user.uid == me {
        return Ok(None);
    }
    if !me.is_root() {
        return Err(format!(
            "the daemon is user {me}, and can't become `{name}`; name its own with `user`"
        ));
    }
    Ok(Some((user.uid, user.gid)))
}

fn pidfd(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the system call takes two integers, and no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Running {
    /// Reads what the command says until it has ended, and kills what it leaves behind.
    async fn finish(mut self, tail: &mut Tail) -> io::Result<ExitStatus> {
        let ended = self.ended.try_clone()?;
        // SAFETY: the descriptor is open, and is owned by what is made of it.
        let ended = unsafe { AsyncFd::register_with_interest(ended, Interest::READABLE) }?;
        let said = pipe::Receiver::from_owned_fd(self.said.try_clone()?)?;
        let mut open = true;
        loop {
            tokio::select! {
                ended = ended.readable() => {
                    // It stays readable, and nobody looks again.
                    ended?.retain_ready();
                    break;
                }
                readable = said.readable(), if open => {
                    readable?;
                    open = tail.read(&said, SAID)?;
                }
            }
        }
        self.kill();
        if open {
            tail.read(&said, REST)?;
        }
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn kill(&self) {
        // It fails only where nobody is left.
        let _gone = killpg(self.group, Signal::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.kill();
        // One that waits for a disk goes only when that answers; nobody else is to wait for it.
        let reaper = thread::Builder::new().name("reaper".to_owned());
        if let Err(error) = reaper.spawn(move || child.wait()) {
            tracing::error!("a gate's command is not reaped: {error}");
        }
    }
}

impl Tail {
    /// Reads what is there, at most so many bytes; false at the end.
    fn read(&mut self, said: &pipe::Receiver, limit: usize) -> io::Result<bool> {
        let mut bytes = [0; SAID];
        let mut read = 0;
        while read < limit {
            match said.try_read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    read += length;
                    self.0.extend(&bytes[..length]);
                    let spare = self.0.len().saturating_sub(SAID);
                    self.0.drain(..spare);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// With a colon before it, unless it is empty.
    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        match String::from_utf8_lossy(&bytes).trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

fn meaning(status: ExitStatus, tail: &Tail) -> Outcome {
    let said = tail.text();
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Passed,
        (Some(CAN_NOT_TELL), _) => Outcome::Inconclusive(format!("exit status 3{said}")),
        (Some(code), _) => Outcome::Failed(format!("exit status {code}{said}")),
        (None, signal) => Outcome::Failed(format!("ended by signal {}{said}", signal.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Instant};

    use super::*;
    use crate::release::engine::{Gate, Point, Policy, Probe};

    fn shell(script: &str, user: &str) -> Ask {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Ask {
            service: "shop".to_owned(),
            release: 7,
            round: 1,
            gate: Gate {
                name: "smoke".to_owned(),
                point: Point::Before(0),
                probe: Probe::Exec {
                    command,
                    user: user.to_owned(),
                },
                timeout: Duration::from_secs(20),
                interval: Duration::from_secs(1),
                fall: 1,
                on_failure: Policy::Abort,
                on_inconclusive: Policy::Hold,
            },
            candidate: "green".to_owned(),
            active: "blue".to_owned(),
            step: 2,
            share_ppm: 10_000,
        }
    }

    fn me() -> String {
        let me = User::from_uid(Uid::effective())
            .expect("users")
            .expect("a name");
        me.name
    }

    async fn run(script: &str) -> Outcome {
        super::super::outcome(&shell(script, &me())).await
    }

    #[tokio::test]
    async fn the_exit_status_is_the_answer_and_the_last_words_are_the_reason() {
        assert_eq!(run("echo fine").await, Outcome::Passed);
        let failed = Outcome::Failed("exit status 1: out err".to_owned());
        assert_eq!(run("printf 'out '; printf err >&2; exit 1").await, failed);
        let unclear = Outcome::Inconclusive("exit status 3: no data".to_owned());
        assert_eq!(run("echo no data; exit 3").await, unclear);
        let ended = Outcome::Failed("ended by signal 15".to_owned());
        assert_eq!(run("kill -TERM $$").await, ended);
        let Outcome::Failed(long) = run("yes | head -c 300000; printf END; exit 2").await else {
            panic!("it fails");
        };
        assert!(
            long.len() <= SAID + 20 && long.ends_with("y\nEND"),
            "{long}"
        );
    }

    #[tokio::test]
    async fn the_environment_is_what_is_documented_and_nothing_else() {
        let Outcome::Failed(said) = run("pwd; env | grep -v '^PWD=' | sort; exit 1").await else {
            panic!("it fails");
        };
        let expected = "exit status 1: /\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:\
                        /sbin:/bin\nSERIN_ACTIVE=blue\nSERIN_CANDIDATE=green\nSERIN_RELEASE=7\n\
                        SERIN_SERVICE=shop\nSERIN_SHARE_PPM=10000\nSERIN_STEP=2";
        let said: Vec<_> = said
            .lines()
            .filter(|line| {
                !line.starts_with("_=")
                    && !line.starts_with("SHLVL=")
                    && !line.starts_with("OLDPWD")
            })
            .collect();
        assert_eq!(said.join("\n"), expected);
    }

    #[tokio::test]
    async fn a_command_that_can_not_be_run_tells_nothing() {
        let mut ask = shell("", &me());
        let Probe::Exec { command, .. } = &mut ask.gate.probe else {
            panic!("a command");
        };
        "/nonexistent/smoke".clone_into(&mut command[0]);
        let outcome = super::super::outcome(&ask).await;
        let expected = "/nonexistent/smoke can't be run: No such file or directory (os error 2)";
        assert_eq!(outcome, Outcome::Inconclusive(expected.to_owned()));
        let outcome = super::super::outcome(&shell("true", "no-such-user")).await;
        let Outcome::Inconclusive(why) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains("has no user `no-such-user`"), "{why}");
    }

    #[tokio::test]
    async fn another_user_is_become_by_root_alone_and_without_any_group_of_roots() {
        let outcome = super::super::outcome(&shell("id -u; id -G; exit 1", "nobody")).await;
        let user = User::from_name("nobody").expect("users").expect("there");
        if Uid::effective().is_root() {
            let expected = format!("exit status 1: {}\n{}", user.uid, user.gid);
            assert_eq!(outcome, Outcome::Failed(expected));
        } else {
            assert!(matches!(outcome, Outcome::Inconclusive(_)), "{outcome:?}");
        }
    }

    /// Whether a process is there and no zombie.
    fn lives(process: &str) -> bool {
        let state = fs::read_to_string(Path::new("/proc").join(process.trim()).join("stat"));
        state.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until_gone(process: &str) {
        let began = Instant::now();
        while lives(process) {
            assert!(began.elapsed() < Duration::from_secs(5), "{process} lives");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_in_time_with_its_children() {
        let mut ask = shell("sleep 600 & echo $!; wait", &me());
        ask.gate.timeout = Duration::from_millis(500);
        let began = Instant::now();
        let outcome = super::super::outcome(&ask).await;
        assert!(began.elapsed() < Duration::from_secs(5));
        let Outcome::Inconclusive(why) = outcome else {
            panic!("{outcome:?}");
        };
        let child = why.strip_prefix("killed, since it had not ended within 500ms: ");
        until_gone(child.expect("the child's number")).await;
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_holds_nothing_up_and_is_killed() {
        let began = Instant::now();
        let Outcome::Failed(why) = run("sleep 600 & echo $!; exit 1").await else {
            panic!("it fails");
        };
        assert!(began.elapsed() < Duration::from_secs(5));
        until_gone(why.strip_prefix("exit status 1: ").expect("a number")).await;
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_takes_its_command_along() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        let ask = shell(&format!("echo $$ > {}; sleep 600", path.display()), &me());
        let task = tokio::spawn(async move { super::super::outcome(&ask).await });
        let began = Instant::now();
        let process = loop {
            let written = fs::read_to_string(&path).unwrap_or_default();
            if written.ends_with('\n') {
                break written;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "it never began");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(lives(&process));
        task.abort();
        until_gone(&process).await;
    }
}
