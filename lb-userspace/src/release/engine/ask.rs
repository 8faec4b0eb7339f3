//! What a release asks its gates, and what it makes of their answers.

use super::{Action, Check, Gate, Outcome, Point, Probe, Run, Stage, run::Cause};

impl Run {
    /// The gates that are to be asked now, each to be answered by `Event::Gate` with
    /// [`Run::round`]. Asking twice does no harm.
    pub fn due_gates(&self) -> impl Iterator<Item = &Gate> {
        self.asked_gates()
            .filter(|gate| self.asks_in_ms(gate) == Some(0))
    }

    /// Milliseconds until a gate is to be asked, if none has been asked in vain meanwhile.
    pub fn gates_due_in_ms(&self) -> Option<u64> {
        self.asked_gates()
            .filter_map(|gate| self.asks_in_ms(gate))
            .min()
    }

    /// The gates of the present stage that have not let it pass, with what is known of each.
    pub fn closed_gates(&self) -> impl Iterator<Item = (&Gate, Option<&Check>)> {
        self.asked_gates()
            .map(|gate| (gate, self.checks.get(&gate.name)))
            .filter(|(gate, check)| !gate.is_open(*check))
    }

    /// Whether it waits for a person.
    pub fn awaits_approval(&self) -> bool {
        self.is_held() && self.scheduled_ms.is_none() && self.lacks_approval()
    }

    pub(super) fn answered(
        &mut self,
        gate: &str,
        round: u64,
        outcome: Outcome,
        heard: bool,
    ) -> Vec<Action> {
        if self.note(gate, round, outcome).is_none() {
            return Vec::new();
        }
        self.tick(heard)
    }

    /// Why the judge or a gate that is asked takes all users back, if one does.
    pub(super) fn verdict(&self) -> Option<Cause> {
        let mut asked = self.asked_gates();
        let gates = || asked.find_map(|gate| gate.verdict(self.checks.get(&gate.name)?));
        self.harm().or_else(gates)
    }

    /// The same release, which has heard an answer that it can't act on yet; nothing where the
    /// answer counts for nothing.
    #[must_use]
    pub fn noted(&self, gate: &str, round: u64, outcome: Outcome, now_ms: u64) -> Option<Self> {
        let mut next = self.aged(now_ms);
        next.note(gate, round, outcome)?;
        Some(next)
    }

    /// Takes an answer down; nothing where it counts for nothing.
    fn note(&mut self, gate: &str, round: u64, outcome: Outcome) -> Option<()> {
        let asked = self.plan.gates.iter().find(|asked| asked.name == gate);
        asked.filter(|_| round == self.round && self.is_under_way())?;
        let check = Check::after(self.checks.get(gate), outcome, self.age_ms);
        self.checks.insert(gate.to_owned(), check);
        Some(())
    }

    /// Whether nobody is waited for, and every gate is open.
    pub(super) fn may_leave(&self) -> bool {
        let open = |gate: &Gate| gate.is_open(self.checks.get(&gate.name));
        self.is_ready() && self.asked_gates().all(open)
    }

    /// Whether hold, time of day and people let it go on.
    fn is_ready(&self) -> bool {
        self.is_held()
            && self.judge_lets()
            && self.scheduled_ms.is_none()
            && !self.is_bound()
            && !self.lacks_approval()
            && !self.awaits_toggle()
    }

    /// Whether it waits before its first step, all of which are guarded by toggles that are off: those
    /// may have been turned since it was started.
    pub fn awaits_toggle(&self) -> bool {
        self.stage == Stage::Waiting && self.is_closed()
    }

    fn lacks_approval(&self) -> bool {
        let step = self.present().is_some_and(|step| step.approve);
        let mut gates = self.plan.gates.iter();
        let gate = gates.any(|gate| gate.probe == Probe::Approval && self.is_before(gate));
        !self.approved && (step || gate)
    }

    /// The gates that count at the present stage: those that last as long as it does from its
    /// beginning, those before the next one once nothing else is waited for.
    fn asked_gates(&self) -> impl Iterator<Item = &Gate> {
        let ready = self.is_ready();
        self.plan.gates.iter().filter(move |gate| {
            let lasting = match (&self.stage, gate.point) {
                // Who promotes by hand has seen what they say; until the time that was set, much may
                // come.
                (Stage::Step(at), Point::During(step)) => {
                    *at == step && (!self.approved || self.scheduled_ms.is_some())
                }
                (Stage::Bake, Point::After) => true,
                _ => false,
            };
            gate.probe != Probe::Approval && (lasting || (ready && self.is_before(gate)))
        })
    }

    /// Whether it is asked before the release leaves the present stage.
    fn is_before(&self, gate: &Gate) -> bool {
        let Point::Before(step) = gate.point else {
            return false;
        };
        match self.stage {
            Stage::Waiting => step == 0 || step == self.next(),
            Stage::Step(_) => step == self.next(),
            Stage::Bake
            | Stage::Promoted
            | Stage::Aborted { .. }
            | Stage::TakenOver
            | Stage::RolledBack => false,
        }
    }

    /// Milliseconds until it is asked; nothing where it has said what it was asked for.
    fn asks_in_ms(&self, gate: &Gate) -> Option<u64> {
        let Some(check) = self.checks.get(&gate.name) else {
            return (!self.paused).then_some(0);
        };
        let done = matches!(gate.point, Point::Before(_)) && gate.is_open(Some(check));
        let next_ms = check
            .at_ms
            .saturating_add(super::milliseconds(gate.interval));
        (!self.paused && !done).then(|| next_ms.saturating_sub(self.age_ms))
    }
}
