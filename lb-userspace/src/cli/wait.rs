//! `serin wait`: a pipeline's step that lasts as long as a release.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Failure, exit};
use crate::api::{
    client::{Client, ClientError},
    model::{ReleaseStatus, Status},
};

/// How often the daemon is asked.
const POLL: Duration = Duration::from_millis(200);
/// How long a daemon that has answered may be away: it is being replaced.
const ABSENCE: Duration = Duration::from_secs(30);

/// Blocks until a service's release ends; says how it did.
pub async fn wait(
    client: &Client,
    path: &str,
    service: &str,
    timeout: Option<Duration>,
) -> Result<ReleaseStatus, Failure> {
    let began = Instant::now();
    let mut answered: Option<Instant> = None;
    let mut number: Option<u64> = None;
    loop {
        match client.get::<Status>(path).await {
            Ok(status) => {
                answered = Some(Instant::now());
                let release = status.release.as_ref();
                if let Some(other) = replaced(number, release) {
                    return Err(Failure::refused(format!("service `{service}`: {other}")));
                }
                let under_way = release.filter(|release| release.is_under_way());
                number = number.or(under_way.map(|release| release.number));
                if let Some(outcome) = outcome(service, status) {
                    return outcome;
                }
            }
            Err(ClientError::Unreachable { .. } | ClientError::Broken { .. })
                if answered.is_some_and(|at| at.elapsed() < ABSENCE) => {}
            Err(error) => return Err(error.into()),
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Err(Failure {
                message: format!(
                    "service `{service}`: the release has not ended in time; it goes on, and \
                     `serin status {service}` shows where it is"
                ),
                code: exit::TIMED_OUT,
            });
        }
        sleep(POLL).await;
    }
}

/// What is to be said if the release is not the one that was under way.
fn replaced(number: Option<u64>, release: Option<&ReleaseStatus>) -> Option<String> {
    let (number, now) = (number?, release?.number);
    (now != number).then(|| {
        format!(
            "release {number} has ended, and release {now} has taken its place; `serin history` \
             tells how"
        )
    })
}

/// How it ended; nothing while it has not.
fn outcome(service: &str, status: Status) -> Option<Result<ReleaseStatus, Failure>> {
    let refused = |what: String| Failure::refused(format!("service `{service}`: {what}"));
    let Some(release) = status.release else {
        // A start waits for sessions to be pinned.
        return status.pending.is_none().then(|| {
            Err(refused(
                "no release has been started; begin one with `serin start`".to_owned(),
            ))
        });
    };
    let failed = |what: String| {
        let code = if release.inconclusive {
            exit::TIMED_OUT
        } else {
            exit::REFUSED
        };
        let message = format!("service `{service}`: {what}");
        Failure { message, code }
    };
    match release.state.as_str() {
        _ if release.is_under_way() || status.pending.is_some() => None,
        "promoted" => Some(Ok(release)),
        "aborted" => {
            let reason = release.reason.as_deref().unwrap_or_default();
            Some(Err(failed(format!("the release was aborted: {reason}"))))
        }
        "rolled-back" => {
            let why = release.reason.as_deref().unwrap_or("by hand");
            Some(Err(failed(format!(
                "the release was promoted, and then rolled back: {why}"
            ))))
        }
        _ => Some(Err(refused(
            "the release was taken over by hand, and ends by nothing that could be waited for"
                .to_owned(),
        ))),
    }
}
