//! `[service.release]`: the steps that a release goes through.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    errors::ValueError,
    gate,
    judge::{self, JudgeFault},
    model::{Audience, Forward},
    raw::Section,
    setting::{self, SettingError},
    toggle,
};
use crate::{
    release::engine::{Plan, Step, Strategy},
    share::Share,
};

const HOLD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 30);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 90);
const PERCENTAGE: RangeInclusive<u8> = 1..=100;
/// The most steps; the shorthand has no more of them.
const STEPS: usize = 100;
/// A percentage in parts per million.
const PERCENT: u32 = 10_000;
/// The words for how users get to the candidate.
const STRATEGIES: [(&str, Strategy); 2] = [
    ("canary", Strategy::Canary),
    ("blue-green", Strategy::BlueGreen),
];
/// The shorthand's keys, as in other tools.
const SHORTHAND: [&str; 3] = ["stepWeight", "maxWeight", "interval"];

/// Steps that make no release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// Nothing to go through.
    #[error("has no step; add one to `steps`, such as {{ share = \"1%\", hold = \"5m\" }}")]
    NoStep,
    /// More than anybody would follow.
    #[error("has {0} steps; {STEPS} are the most, so leave some out")]
    ManySteps(usize),
    /// A step that nobody gets the candidate by.
    #[error("names nobody; write `audience` or `share`")]
    Nobody,
    /// A step with two meanings.
    #[error("names `audience` and `share`; make two steps of it")]
    Both,
    /// A share of nothing.
    #[error("has a share of 0%, which nobody gets; raise it, or name an `audience`")]
    NoShare,
    /// Users would be taken back.
    #[error(
        "has a share of {share}, less than the {before} of the step before it; raise it or move it"
    )]
    Down {
        /// Its share.
        share: Share,
        /// The one before.
        before: Share,
    },
    /// A step that shows the candidate to nobody who has not seen it.
    #[error(
        "names audience `{0}`, as a step before it does, after which that has the candidate; leave \
         one of them out, or name another audience"
    )]
    Again(String),
    /// An audience that the candidate is not shown to.
    #[error("names audience `{0}`, which never gets the candidate; give that pool = \"candidate\"")]
    Unmoved(String),
    /// Users would be taken back.
    #[error(
        "names audience `{audience}`, which gets the candidate for {share} of its clients, while {before} \
         of all have it by then; raise its share, or name it in an earlier step"
    )]
    Less {
        /// The audience.
        audience: String,
        /// Its share.
        share: Share,
        /// That of the step before it.
        before: Share,
    },
    /// Users would be taken back.
    #[error(
        "names audience `{audience}`, which stands before `{shown}` in the file and gives the candidate \
         to fewer: clients in both would lose it again; list `{audience}` after `{shown}`"
    )]
    Covers {
        /// The audience.
        audience: String,
        /// One that an earlier step names.
        shown: String,
    },
    /// A step of no length.
    #[error("has no end; add hold = \"5m\", or approve = true")]
    Endless,
    /// It may never end.
    #[error("has hold = \"evidence\" and has no limit; add at_most = \"30m\"")]
    Limitless,
    /// It waits for a judge who does not look at it.
    #[error(
        "has hold = \"evidence\", but is not judged: only a share of more than 0% and less than 100% \
         is compared with the rest; give it a time, such as hold = \"10m\", and leave `at_most` out"
    )]
    Unjudged,
    /// A limit of what has an end.
    #[error("has `at_most` and a hold that is a time; leave one out, or write hold = \"evidence\"")]
    Limited,
    /// No release could end in time.
    #[error(
        "has a deadline of {}, but its steps take {} at least; lengthen `deadline` or shorten a hold",
        humantime::format_duration(*deadline), humantime::format_duration(*shortest)
    )]
    Hopeless {
        /// The deadline.
        deadline: Duration,
        /// How long the steps take.
        shortest: Duration,
    },
    /// A step by share before a cutover.
    #[error(
        "has a share, but a blue-green release moves all users at once; name an `audience`, or write \
         strategy = \"canary\""
    )]
    SharedPreview,
    /// Steps by weight before a cutover.
    #[error(
        "is blue-green and has `{0}`; remove it, since all users move at once, or write strategy = \
         \"canary\""
    )]
    WeighedPreview(&'static str),
    /// Two ways to say it.
    #[error("has `steps` and `{0}`; keep one")]
    Twice(&'static str),
}

/// What a service's release means, if it has one.
pub(super) fn read(
    service: &mut Section,
    audiences: &[Audience],
    forward: Option<Forward>,
) -> Option<Plan> {
    let plan = service.table("release", |section| {
        read_release(section, audiences, forward)
    });
    plan.flatten()
}

fn read_release(
    section: &mut Section,
    audiences: &[Audience],
    forward: Option<Forward>,
) -> Option<Plan> {
    let strategy = section.setting("strategy", |word: &String| {
        setting::word(word, &STRATEGIES, &[])
    });
    let strategy = strategy.unwrap_or_default();
    let deadline = section.setting("deadline", |text: &String| setting::time(text, &DEADLINE));
    let bake = section.setting("bake", |text: &String| setting::time(text, &HOLD));
    let shorthand = SHORTHAND.into_iter().find(|key| section.contains(key));
    let steps = match shorthand {
        _ if strategy == Strategy::BlueGreen => read_previews(section, audiences, shorthand),
        Some(key) if section.contains("steps") => {
            section.refuse(PlanFault::Twice(key).into());
            read_steps(section, audiences);
            read_shorthand(section);
            None
        }
        Some(_) => read_shorthand(section),
        None => read_steps(section, audiences),
    };
    let gates = gate::read(section, steps.as_ref().map(Vec::len));
    let is_judged = section.contains("judge");
    let judge = judge::read(section, forward);
    let waits = |step: &Step| step.evidence;
    if !is_judged && steps.iter().flatten().any(waits) {
        section.refuse(JudgeFault::NoJudge.into());
    }
    let plan = Plan {
        strategy,
        steps: steps?,
        bake: bake.unwrap_or_default(),
        gates: gates?,
        judge,
        deadline,
    };
    check_deadline(section, &plan);
    Some(plan)
}

/// Equal steps up to a highest share, each as long as the others.
fn read_shorthand(section: &mut Section) -> Option<Vec<Step>> {
    for (key, example) in SHORTHAND.into_iter().zip(["10", "50", "\"1m\""]) {
        section.require(key, example);
    }
    let percentage = |number: &i64| setting::number(*number, PERCENTAGE);
    let step = section.setting("stepWeight", percentage);
    let highest = section.setting("maxWeight", percentage);
    let hold = section.setting("interval", |text: &String| setting::time(text, &HOLD));
    let (step, highest, hold) = (step?, highest?, hold?);
    let below = (step..highest).step_by(step.into());
    let shares = below.chain([highest]);
    let step = |percentage| Step {
        audience: None,
        share_ppm: u32::from(percentage) * PERCENT,
        hold,
        approve: false,
        evidence: false,
        toggle: None,
    };
    Some(shares.map(step).collect())
}

/// What a blue-green release shows before its cutover: nothing, or the idle pool to audiences.
fn read_previews(
    section: &mut Section,
    audiences: &[Audience],
    shorthand: Option<&'static str>,
) -> Option<Vec<Step>> {
    if let Some(key) = shorthand {
        section.refuse(PlanFault::WeighedPreview(key).into());
        for key in SHORTHAND {
            section.take(key);
        }
    }
    if !section.contains("steps") {
        return Some(Vec::new());
    }
    let steps = read_each(section, audiences, |step| {
        if step.contains("share") && !step.contains("audience") {
            step.refuse(PlanFault::SharedPreview.into());
        }
    })?;
    steps.into_iter().collect()
}

fn read_steps(section: &mut Section, audiences: &[Audience]) -> Option<Vec<Step>> {
    let steps = read_each(section, audiences, |_| ())?;
    if steps.is_empty() {
        section.refuse(PlanFault::NoStep.into());
    }
    steps.into_iter().collect()
}

/// The steps, each of which is looked at first; nothing for those in which a problem has been
/// reported.
fn read_each(
    section: &mut Section,
    audiences: &[Audience],
    look: impl Fn(&Section),
) -> Option<Vec<Option<Step>>> {
    let mut before = Vec::new();
    let steps = section.tables("steps", "step", |step| {
        look(step);
        let step = read_step(step, audiences, &before)?;
        before.push(step.clone());
        Some(step)
    })?;
    if steps.len() > STEPS {
        section.refuse(PlanFault::ManySteps(steps.len()).into());
    }
    Some(steps)
}

/// A step, given those before it; nothing only where a problem has been reported.
fn read_step(section: &mut Section, audiences: &[Audience], before: &[Step]) -> Option<Step> {
    let share_before = before.last().map(|step| step.share_ppm);
    let given = (section.contains("audience"), section.contains("share"));
    match given {
        (false, false) => section.refuse(PlanFault::Nobody.into()),
        (true, true) => section.refuse(PlanFault::Both.into()),
        (true, false) | (false, true) => {}
    }
    let audience = read_audience(section, audiences, before);
    let share = section.setting("share", |text: &String| {
        let share = text.parse::<Share>().map_err(|_| SettingError::Share)?;
        Ok::<_, ValueError>(share)
    });
    if let Some(share) = share {
        check_share(section, share, share_before);
    }
    let approve = section.value::<bool>("approve");
    let approve = approve.is_some_and(toml::Spanned::into_inner);
    if !section.contains("hold") && !approve {
        section.refuse(PlanFault::Endless.into());
    }
    let timed = section.contains("hold");
    let hold = section.setting("hold", |text: &String| read_hold(text));
    let limit = section.setting("at_most", |text: &String| setting::time(text, &HOLD));
    let evidence = hold == Some(None);
    // An audience comes beside the share that is out already.
    let share_ppm = share.map_or(share_before.unwrap_or(0), |share| share.ppm);
    let compared = Step {
        share_ppm,
        ..Step::default()
    };
    match (evidence, limit) {
        // What is no share has been refused as such.
        (true, _) if !compared.is_compared() && (share.is_some() || given == (true, false)) => {
            section.refuse(PlanFault::Unjudged.into());
        }
        (true, None) => section.refuse(PlanFault::Limitless.into()),
        (false, Some(_)) => section.refuse(PlanFault::Limited.into()),
        _ => {}
    }
    let hold = if evidence { limit } else { hold.flatten() };
    let toggle = toggle::read_guard(section);
    if given == (false, false) || (given.1 && share.is_none()) {
        return None;
    }
    Some(Step {
        audience,
        share_ppm,
        hold: if timed { hold? } else { Duration::ZERO },
        evidence,
        approve,
        toggle,
    })
}

/// A time; nothing if it lasts until there is evidence.
fn read_hold(text: &str) -> Result<Option<Duration>, SettingError> {
    if text == "evidence" {
        return Ok(None);
    }
    setting::time(text, &HOLD).map(Some)
}

fn read_audience(section: &mut Section, audiences: &[Audience], before: &[Step]) -> Option<String> {
    let name = section.setting("audience", |name: &String| {
        let known = audiences.iter().map(|audience| audience.name.as_str());
        if known.clone().any(|known| known == name) {
            return Ok(name.clone());
        }
        Err(ValueError::NoSuchAudience(match setting::choice(known) {
            none if none.is_empty() => "one under [[service.audience]]".to_owned(),
            known => known,
        }))
    })?;
    if before
        .iter()
        .any(|step| step.audience.as_ref() == Some(&name))
    {
        section.refuse(PlanFault::Again(name.clone()).into());
    }
    let at = |name: &str| audiences.iter().position(|known| known.name == name);
    if let Some(place) = at(&name) {
        let shown = before.iter().filter_map(|step| step.audience.as_deref());
        check_audience(
            section,
            audiences,
            (place, before.last()),
            shown.filter_map(at),
        );
    }
    Some(name)
}

/// Nobody who has the candidate by then may lose it to an audience that a step begins to look at. All
/// are places in the list of audiences.
fn check_audience(
    section: &Section,
    audiences: &[Audience],
    (place, before): (usize, Option<&Step>),
    shown: impl Iterator<Item = usize>,
) {
    let Audience {
        name, share_ppm, ..
    } = &audiences[place];
    let before = before.map_or(0, |step| step.share_ppm);
    if *share_ppm == 0 {
        section.refuse(PlanFault::Unmoved(name.clone()).into());
    } else if *share_ppm < before {
        let (share, before) = (Share { ppm: *share_ppm }, Share { ppm: before });
        let audience = name.clone();
        section.refuse(
            PlanFault::Less {
                audience,
                share,
                before,
            }
            .into(),
        );
    }
    let mut covered = shown.filter(|&shown| place < shown);
    if let Some(shown) = covered.find(|&shown| *share_ppm < audiences[shown].share_ppm) {
        let (audience, shown) = (name.clone(), audiences[shown].name.clone());
        section.refuse(PlanFault::Covers { audience, shown }.into());
    }
}

fn check_share(section: &Section, share: Share, before: Option<u32>) {
    let before = before.map(|ppm| Share { ppm });
    match before {
        _ if share.ppm == 0 => section.refuse(PlanFault::NoShare.into()),
        Some(before) if share.ppm < before.ppm => {
            section.refuse(PlanFault::Down { share, before }.into());
        }
        Some(_) | None => {}
    }
}

fn check_deadline(section: &Section, plan: &Plan) {
    let shortest = plan.shortest();
    if let Some(deadline) = plan.deadline.filter(|&deadline| deadline <= shortest) {
        section.refuse(PlanFault::Hopeless { deadline, shortest }.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{refuses, shop},
    };
    use super::*;

    const STAFF: &str = "[[service.audience]]\nname = \"staff\"\nvlan = 7\npool = \"candidate\"\n";

    fn with(lines: &str) -> String {
        format!("{}{STAFF}[service.release]\n{lines}\n", shop(""))
    }

    fn plan(lines: &str) -> Plan {
        let config = Config::parse(&with(lines)).expect("valid");
        config.services[0].release.clone().expect("given")
    }

    fn step(audience: Option<&str>, share_ppm: u32, minutes: u64, approve: bool) -> Step {
        Step {
            audience: audience.map(str::to_owned),
            share_ppm,
            hold: Duration::from_mins(minutes),
            approve,
            ..Step::default()
        }
    }

    #[test]
    fn steps_are_read_as_they_are_written() {
        let read = plan(
            "strategy = \"canary\"\ndeadline = \"1h\"\nsteps = [{ audience = \"staff\", hold = \
             \"10m\" }, { share = \"1%\", hold = \"5m\" }, { share = \"1%\", approve = true }, { \
             share = \"25%\", hold = \"10m\", approve = true }]",
        );
        let expected = Plan {
            steps: vec![
                step(Some("staff"), 0, 10, false),
                step(None, 10_000, 5, false),
                step(None, 10_000, 0, true),
                step(None, 250_000, 10, true),
            ],
            deadline: Some(Duration::from_hours(1)),
            ..Plan::default()
        };
        assert_eq!(read, expected);
        assert_eq!(read.shortest(), Duration::from_mins(25));
    }

    #[test]
    fn an_audience_comes_beside_the_share_that_is_out_before_or_after_it() {
        let beta = STAFF.replace("staff", "beta").replace('7', "8");
        let read = |lines: &str| {
            let text =
                with(lines).replace("[service.release]", &format!("{beta}[service.release]"));
            let config = Config::parse(&text).expect("valid");
            config.services[0].release.clone().expect("given").steps
        };
        let in_a_row = "steps = [{ audience = \"staff\", hold = \"1m\" }, { audience = \"beta\", hold \
                        = \"2m\" }, { share = \"1%\", hold = \"5m\" }]";
        let expected = [
            step(Some("staff"), 0, 1, false),
            step(Some("beta"), 0, 2, false),
            step(None, 10_000, 5, false),
        ];
        assert_eq!(read(in_a_row), expected);
        let late = "steps = [{ share = \"1%\", hold = \"5m\" }, { audience = \"beta\", hold = \
                    \"2m\" }, { share = \"5%\", hold = \"1m\" }]";
        let expected = [
            step(None, 10_000, 5, false),
            step(Some("beta"), 10_000, 2, false),
            step(None, 50_000, 1, false),
        ];
        assert_eq!(read(late), expected);
        let previews = "strategy = \"blue-green\"\nsteps = [{ audience = \"staff\", hold = \"1m\" }, { \
                        audience = \"beta\", approve = true }]";
        let expected = [
            step(Some("staff"), 0, 1, false),
            step(Some("beta"), 0, 0, true),
        ];
        assert_eq!(read(previews), expected);
    }

    #[test]
    fn the_shorthand_becomes_steps_that_end_at_its_highest_weight() {
        let shares = |text: &str| -> Vec<u32> {
            let plan = plan(text);
            assert!(plan.steps.iter().all(|s| s.hold == Duration::from_mins(1)));
            plan.steps.iter().map(|step| step.share_ppm).collect()
        };
        let text = "stepWeight = 10\nmaxWeight = 50\ninterval = \"1m\"";
        assert_eq!(shares(text), [100_000, 200_000, 300_000, 400_000, 500_000]);
        assert_eq!(
            shares(&text.replace("10", "20")),
            [200_000, 400_000, 500_000]
        );
        assert_eq!(shares(&text.replace("10", "60")), [500_000]);
    }

    #[test]
    fn a_service_without_a_release_has_no_plan() {
        let config = Config::parse(&shop("")).expect("valid");
        assert_eq!(config.services[0].release, None);
    }

    #[test]
    fn steps_that_make_no_release_are_refused_with_the_remedy() {
        let all = [
            (
                "",
                "service `shop`: release has no step; add one to `steps`",
            ),
            ("{}", "release: step 1 names nobody; write `audience` or"),
            (
                "{ share = \"1%\", audience = \"staff\", hold = \"1m\" }",
                "step 1 names `audience` and `share`; make two steps of it",
            ),
            (
                "{ share = \"0%\", hold = \"1m\" }",
                "step 1 has a share of 0%, which nobody gets",
            ),
            (
                "{ share = \"5%\", hold = \"1m\" }, { share = \"1%\", hold = \"1m\" }",
                "step 2 has a share of 1%, less than the 5% of the step before it",
            ),
            (
                "{ audience = \"staff\", hold = \"1m\" }, { share = \"5%\", hold = \"1m\" }, { \
                 audience = \"staff\", hold = \"1m\" }",
                "step 3 names audience `staff`, as a step before it does, after which that has the \
                 candidate; leave one of them out",
            ),
            (
                "{ share = \"60%\", hold = \"1m\" }, { share = \"101%\", hold = \"1m\" }",
                "step 2 sets `share` to `101%`: no share; write it as \"50%\" or \"0.01%\"",
            ),
            ("{ share = \"5%\" }", "step 1 has no end; add hold"),
            (
                "{ share = \"5%\", hold = \"1m\", at_most = \"5m\" }",
                "step 1 has `at_most` and a hold that is a time",
            ),
            (
                "{ share = \"5%\", hold = \"0s\" }",
                "step 1 sets `hold` to `0s`: out of bounds; choose a time from 1s",
            ),
            (
                "{ share = \"5%\", hold = \"evidence\" }",
                "step 1 has hold = \"evidence\" and has no limit; add at_most",
            ),
            (
                "{ share = \"100%\", hold = \"evidence\", at_most = \"5m\" }",
                "step 1 has hold = \"evidence\", but is not judged: only a share of more than 0% and \
                 less than 100% is compared with the rest; give it a time, such as hold = \"10m\"",
            ),
            (
                "{ audience = \"staff\", hold = \"evidence\" }",
                "step 1 has hold = \"evidence\", but is not judged",
            ),
            (
                "{ audience = \"stuff\", hold = \"1m\" }",
                "`audience` to `stuff`: the service has no such audience; name `staff`",
            ),
            (
                "{ share = \"5%\", hold = \"1m\", aprove = true }",
                "unknown key `aprove`; did you mean `approve`?",
            ),
        ];
        for (steps, expected) in all {
            refuses(&with(&format!("steps = [{steps}]")), expected);
        }
        let step = "{ share = \"5%\", hold = \"1m\" }, ";
        let many = format!("steps = [{}]", step.repeat(101));
        refuses(&with(&many), "release has 101 steps; 100 are the most");
    }

    #[test]
    fn an_audience_that_never_gets_the_candidate_is_no_step() {
        let text = with("steps = [{ audience = \"staff\", hold = \"1m\" }]");
        refuses(
            &text.replace("pool = \"candidate\"", "pool = \"active\""),
            "step 1 names audience `staff`, which never gets the candidate",
        );
    }

    /// Its clients would fall back from the share of all to its own.
    #[test]
    fn an_audience_that_would_take_the_candidate_from_users_is_no_step() {
        let half = |share: &str| {
            let text = with(
                "steps = [{ share = \"25%\", hold = \"1m\" }, { audience = \"staff\", hold = \"1m\" }]",
            );
            text.replace("pool = \"candidate\"", &format!("share = \"{share}\""))
        };
        refuses(
            &half("24.9%"),
            "step 2 names audience `staff`, which gets the candidate for 24.9% of its clients, while 25%",
        );
        assert!(Config::parse(&half("25%")).is_ok());
        // The first that a client is in answers.
        let beta = "[[service.audience]]\nname = \"beta\"\nvlan = 8\nshare = \"50%\"\n";
        let steps = "[service.release]\nsteps = [{ audience = \"staff\", hold = \"1m\" }, \
                     { audience = \"beta\", hold = \"1m\" }]\n";
        refuses(
            &format!("{}{beta}{STAFF}{steps}", shop("")),
            "step 2 names audience `beta`, which stands before `staff` in the file and gives",
        );
        let after = format!("{}{STAFF}{beta}{steps}", shop(""));
        assert!(Config::parse(&after).is_ok());
    }

    #[test]
    fn a_deadline_that_no_release_can_meet_is_refused() {
        refuses(
            &with("deadline = \"5m\"\nsteps = [{ share = \"5%\", hold = \"5m\" }]"),
            "service `shop`: release has a deadline of 5m, but its steps take 5m at least",
        );
    }

    #[test]
    fn half_a_shorthand_and_two_ways_to_say_it_are_refused() {
        refuses(
            &with("stepWeight = 10\nmaxWeight = 50"),
            "service `shop`: release has no `interval`; add \"1m\"",
        );
        refuses(
            &with("stepWeight = 0\nmaxWeight = 50\ninterval = \"1m\""),
            "`stepWeight` to `0`: out of bounds; choose a number from 1 to 100",
        );
        refuses(
            &with("stepWeight = 1\nsteps = [{ share = \"5%\", hold = \"5m\" }]"),
            "service `shop`: release has `steps` and `stepWeight`; keep one",
        );
    }

    #[test]
    fn a_blue_green_release_has_no_step_or_a_preview_and_a_time_to_bake() {
        let bare = plan("strategy = \"blue-green\"");
        assert_eq!(bare.strategy, Strategy::BlueGreen);
        assert_eq!((bare.steps.len(), bare.bake), (0, Duration::ZERO));
        let read = plan(
            "strategy = \"blue-green\"\nbake = \"10m\"\nsteps = [{ audience = \"staff\", hold = \
             \"5m\", approve = true }]",
        );
        assert_eq!(read.steps, [step(Some("staff"), 0, 5, true)]);
        assert_eq!(read.bake, Duration::from_mins(10));
        assert!(bare.is_sound() && read.is_sound());
        let canary = plan("bake = \"1h\"\nsteps = [{ share = \"5%\", hold = \"5m\" }]");
        assert_eq!(canary.strategy, Strategy::Canary);
        assert_eq!(canary.bake, Duration::from_hours(1));
    }

    #[test]
    fn anything_but_a_preview_before_a_cutover_is_refused_with_the_remedy() {
        let all = [
            (
                "steps = [{ share = \"5%\", hold = \"5m\" }]",
                "step 1 has a share, but a blue-green release moves all users at once; name an",
            ),
            (
                "stepWeight = 10\nmaxWeight = 50\ninterval = \"1m\"",
                "release is blue-green and has `stepWeight`; remove it",
            ),
            (
                "steps = [{ audience = \"staff\", hold = \"evidence\", at_most = \"5m\" }]",
                "step 1 has hold = \"evidence\", but is not judged",
            ),
            (
                "bake = \"0s\"",
                "`bake` to `0s`: out of bounds; choose a time from 1s",
            ),
        ];
        for (lines, expected) in all {
            refuses(
                &with(&format!("strategy = \"blue-green\"\n{lines}")),
                expected,
            );
        }
        refuses(
            &with("strategy = \"rainbow\"\nsteps = [{ share = \"5%\", hold = \"5m\" }]"),
            "`strategy` to `rainbow`: unknown word; write `canary` or `blue-green`",
        );
    }
}
