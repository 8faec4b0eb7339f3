//! What the daemon says: to journald, with fields, where systemd has connected standard error to it;
//! else to standard error as lines.
//!
//! In the journal every entry of the audit log is a message with the fields `SERIN_SERVICE`,
//! `SERIN_EVENT`, `SERIN_ACTOR`, `SERIN_RELEASE` and so on: `journalctl -u serin SERIN_SERVICE=shop`.

use std::{env, ffi::OsStr, io};

use nix::sys::stat::fstat;
use tracing_subscriber::{
    filter::LevelFilter, fmt, fmt::format, layer::SubscriberExt as _, registry,
    util::SubscriberInitExt as _,
};

/// Has everything that is said from now on go where it belongs.
pub fn begin() {
    let all = registry().with(LevelFilter::INFO);
    if env::var_os("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream))
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(Some("SERIN".to_owned()));
        all.with(journal.with_syslog_identifier("serin".to_owned()))
            .init();
        return;
    }
    // Entries of the audit log have fields for the journal's sake; here their message says enough.
    let message = format::debug_fn(|writer, field, value| match field.name() {
        "message" => {
            // Whoever gives a reason writes no lines, and moves no cursor.
            let text = format!("{value:?}");
            let lines = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            write!(writer, "{}", lines.collect::<String>())
        }
        _ => Ok(()),
    });
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    all.with(lines.fmt_fields(message)).init();
}

/// Whether systemd's word for the journal's end, device and inode (systemd.exec(5)), is standard error:
/// it may be another's, inherited.
fn is_stderr(stream: &OsStr) -> bool {
    let Ok(stderr) = fstat(io::stderr()) else {
        return false;
    };
    stream.to_str() == Some(&format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_standard_error_is_taken_for_the_journal() {
        let stderr = fstat(io::stderr()).expect("open");
        let ours = format!("{}:{}", stderr.st_dev, stderr.st_ino);
        assert!(is_stderr(OsStr::new(&ours)));
        for other in [
            format!("{ours}1"),
            format!("0:{}", stderr.st_ino),
            String::new(),
        ] {
            assert!(!is_stderr(OsStr::new(&other)), "{other}");
        }
    }
}
