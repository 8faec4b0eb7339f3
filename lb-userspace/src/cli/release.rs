//! Commands about a release that goes by a plan, and what is shown of one.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{cutover, order::resource};
use crate::{
    api::{
        client::{Client, ClientError},
        model::{Done, GateStatus, PromoteOrder, ReasonOrder, ReleaseStatus, StartOrder},
    },
    share::whom,
};

/// What moves a release.
#[derive(Debug, Subcommand)]
pub enum Release {
    /// Begin the configured release
    Start {
        /// The service
        service: String,
        /// The pool, where it is not the only other one
        #[arg(long)]
        to: Option<String>,
        /// End the release under way for it, and begin with the first step
        #[arg(long)]
        replace: bool,
        /// Not before this time: RFC 3339, HH:MM of this host, or like 15m from now
        #[arg(long, value_name = "TIME", value_parser = super::cutover::moment)]
        at: Option<u64>,
    },
    /// Go on to the next step, whatever the present one waits for
    Promote {
        /// The service
        service: String,
        /// To the end, skipping all steps
        #[arg(long)]
        full: bool,
        /// Only if the release is at this step: a second click does nothing
        #[arg(long, value_name = "N")]
        expect_step: Option<usize>,
    },
    /// Stay at the present step
    Pause(Reasoned),
    /// Go on after a pause
    Resume(Reasoned),
    /// Take all users back; only a retry begins this release again
    Abort(Reasoned),
    /// Begin an aborted release again, with the same users first
    Retry(Reasoned),
}

/// A service, and why.
#[derive(Debug, Args)]
pub struct Reasoned {
    /// The service
    service: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Release {
    /// Sends the order, and waits for the answer.
    pub async fn give(self, client: &Client) -> Result<Done, ClientError> {
        match self {
            Self::Start {
                service,
                to,
                replace,
                at,
            } => {
                let order = StartOrder {
                    to,
                    replace,
                    at_ms: at,
                };
                client.post(&resource(&service, "/start"), &order).await
            }
            Self::Promote {
                service,
                full,
                expect_step,
            } => {
                let order = PromoteOrder { full, expect_step };
                client.post(&resource(&service, "/promote"), &order).await
            }
            Self::Pause(order) => order.post(client, "/pause").await,
            Self::Resume(order) => order.post(client, "/resume").await,
            Self::Abort(order) => order.post(client, "/abort").await,
            Self::Retry(order) => order.post(client, "/retry").await,
        }
    }
}

impl Reasoned {
    async fn post(self, client: &Client, verb: &str) -> Result<Done, ClientError> {
        let order = ReasonOrder {
            reason: self.reason,
        };
        client.post(&resource(&self.service, verb), &order).await
    }
}

/// Where a release is, on a line.
pub fn text(release: &ReleaseStatus) -> String {
    let ReleaseStatus {
        number,
        candidate,
        state,
        steps,
        ..
    } = release;
    let (Some(step), Some(share_ppm)) = (release.step, release.asked_share_ppm) else {
        let reason = release.reason.as_ref();
        let reason = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let at = scheduled(release);
        let left = release.left_s.filter(|&left| left > 0);
        let left = left.map(|left| format!(", {} of its bake left", span(left)));
        let left = left.unwrap_or_default();
        return format!("{number}, {candidate} {state}{at}{left}{reason}");
    };
    let asked = whom(release.audience.as_deref(), share_ppm);
    let left = release.left_s.filter(|&left| left > 0);
    let left = left.map(|left| format!(", {} of its hold left", span(left)));
    let deadline = release.deadline_left_s;
    let deadline = deadline.map(|left| format!(", deadline in {}", span(left)));
    let at = scheduled(release);
    format!(
        "{number}, {candidate} at step {step} of {steps} ({asked}), {state}{at}{}{}",
        left.unwrap_or_default(),
        deadline.unwrap_or_default()
    )
}

/// The time that it waits for, and with whom; empty if none was set.
fn scheduled(release: &ReleaseStatus) -> String {
    let Some(at_ms) = release.scheduled_ms else {
        return String::new();
    };
    let at = cutover::show(at_ms);
    match &release.together[..] {
        [] => format!(" for {at}"),
        services => format!(" for {at}, as one with all of {}", services.join(", ")),
    }
}

/// A gate on a line.
pub fn gate_text(gate: &GateStatus) -> String {
    let GateStatus { name, point, .. } = gate;
    let Some(outcome) = &gate.outcome else {
        return format!("{name} ({}, {point}): not asked yet", gate.kind);
    };
    let ago = gate.ago_s.map(|ago| format!(" {} ago", span(ago)));
    // Whoever writes the answer does not write the lines.
    let why = gate.why.iter().flat_map(|why| why.chars());
    let why: String = why.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let colon = if why.is_empty() { "" } else { ": " };
    format!(
        "{name} ({}, {point}): {outcome}{}{colon}{why}",
        gate.kind,
        ago.unwrap_or_default()
    )
}

pub(super) fn span(seconds: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::engine::Strategy;

    fn at(step: Option<usize>) -> ReleaseStatus {
        ReleaseStatus {
            number: 3,
            under_way: step.is_some(),
            candidate: "green".to_owned(),
            state: "holding".to_owned(),
            reason: None,
            inconclusive: false,
            step,
            steps: 4,
            audience: None,
            asked_share_ppm: step.map(|_| 50_000),
            hold_s: step.map(|_| 300),
            left_s: step.map(|_| 90),
            deadline_left_s: None,
            strategy: Strategy::Canary,
            scheduled_ms: None,
            together: Vec::new(),
            gates: Vec::new(),
            unseen: None,
        }
    }

    #[test]
    fn a_gate_is_told_on_one_line_whatever_it_says() {
        let mut gate = GateStatus {
            name: "smoke".to_owned(),
            kind: "exec".to_owned(),
            point: "before promote".to_owned(),
            outcome: None,
            why: None,
            streak: 0,
            ago_s: None,
        };
        let expected = "smoke (exec, before promote): not asked yet";
        assert_eq!(gate_text(&gate), expected);
        gate.outcome = Some("passed".to_owned());
        gate.ago_s = Some(61);
        let expected = "smoke (exec, before promote): passed 1m 1s ago";
        assert_eq!(gate_text(&gate), expected);
        gate.outcome = Some("failed".to_owned());
        gate.why = Some("exit status 1: a\nb\u{1b}[2J".to_owned());
        let expected = "smoke (exec, before promote): failed 1m 1s ago: exit status 1: a b [2J";
        assert_eq!(gate_text(&gate), expected);
    }

    #[test]
    fn a_release_is_told_by_its_step_its_share_and_its_countdown() {
        let held = at(Some(2));
        let expected = "3, green at step 2 of 4 (5%), holding, 1m 30s of its hold left";
        assert_eq!(text(&held), expected);
        let waiting = ReleaseStatus {
            state: "awaits-approval".to_owned(),
            audience: Some("staff".to_owned()),
            left_s: Some(0),
            deadline_left_s: Some(3600),
            ..held
        };
        let expected = "3, green at step 2 of 4 (audience staff beside 5%), awaits-approval, deadline in \
                        1h";
        assert_eq!(text(&waiting), expected);
        let over = ReleaseStatus {
            state: "aborted".to_owned(),
            reason: Some("errors".to_owned()),
            ..at(None)
        };
        assert_eq!(text(&over), "3, green aborted: errors");
        let baking = ReleaseStatus {
            state: "baking".to_owned(),
            left_s: Some(90),
            ..at(None)
        };
        assert_eq!(text(&baking), "3, green baking, 1m 30s of its bake left");
        let scheduled = ReleaseStatus {
            state: "scheduled".to_owned(),
            left_s: None,
            scheduled_ms: Some(1_777_924_800_000),
            ..at(None)
        };
        let expected = "3, green scheduled for 2026-05-04T20:00:00Z";
        assert_eq!(text(&scheduled), expected);
        let bound = ReleaseStatus {
            together: vec!["mail".to_owned(), "shop".to_owned()],
            ..scheduled
        };
        assert_eq!(
            text(&bound),
            format!("{expected}, as one with all of mail, shop")
        );
    }
}
