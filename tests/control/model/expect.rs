//! Where releases should stand, worked out by rules of thumb rather than by Serin.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    address::Address,
    hash::{self},
    node::Node,
    release::Record,
};
use lb_userspace::api::model::Line;

/// One service's release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    pub active: String,
    pub share_ppm: u32,
    candidate: Option<String>,
    previous: Option<String>,
    /// The clients of each share of this release so far.
    drawn: BTreeMap<u32, BTreeSet<u32>>,
    salt: Option<u64>,
    /// The pool of the release by a plan, whether it goes on or has been aborted.
    released: Option<String>,
    /// The step that it is at, counted from 0.
    step: Option<usize>,
}

/// Shares of the steps of a release; all last until somebody lets it go on.
pub const STEPS: [u32; 3] = [10_000, 50_000, 250_000];
/// The step that a toggle guards.
pub const GUARDED: usize = 1;

/// Clients that are looked at.
const CLIENTS: u32 = 500;

impl Expect {
    pub fn new(active: &str) -> Self {
        Self {
            active: active.to_owned(),
            share_ppm: 0,
            candidate: None,
            previous: None,
            drawn: BTreeMap::new(),
            salt: None,
            released: None,
            step: None,
        }
    }

    /// Another release, of clients of its own.
    pub fn start(&mut self, to: &str, is_open: impl Fn(usize) -> bool) {
        self.drawn.clear();
        self.candidate = Some(to.to_owned());
        self.released = Some(to.to_owned());
        self.step = None;
        self.go_on(is_open);
    }

    /// The same again, after it was aborted.
    pub fn retry(&mut self, is_open: impl Fn(usize) -> bool) {
        if let Some(to) = self.released.clone() {
            self.share(&to, 0);
            self.go_on(is_open);
        }
    }

    /// To the next step that is open, or to the end.
    pub fn go_on(&mut self, is_open: impl Fn(usize) -> bool) {
        let first = self.step.map_or(0, |step| step + 1);
        match (first..STEPS.len()).find(|&step| is_open(step)) {
            Some(step) => {
                self.step = Some(step);
                self.share_ppm = STEPS[step];
            }
            None => self.promote(),
        }
    }

    pub fn promote(&mut self) {
        if let Some(to) = self.released.clone() {
            self.cutover(&to);
        }
    }

    pub fn abort(&mut self) {
        (self.share_ppm, self.step) = (0, None);
    }

    /// Where a cutover goes that names no pool.
    pub fn other(&self, pools: &BTreeSet<String>) -> Option<String> {
        let candidate = self.candidate.clone().filter(|_| self.share_ppm > 0);
        candidate.or_else(|| pools.iter().find(|pool| **pool != self.active).cloned())
    }

    pub fn share(&mut self, to: &str, ppm: u32) {
        if self.share_ppm == 0 && self.candidate.as_deref() != Some(to) {
            self.drawn.clear();
        }
        self.candidate = Some(to.to_owned());
        (self.share_ppm, self.step) = (ppm, None);
    }

    pub fn cutover(&mut self, to: &str) {
        (self.share_ppm, self.step) = (0, None);
        if to != self.active {
            self.previous = Some(std::mem::replace(&mut self.active, to.to_owned()));
            self.candidate = None;
            self.drawn.clear();
        }
    }

    pub fn rollback(&mut self) {
        if self.share_ppm > 0 {
            self.abort();
        } else if let Some(previous) = self.previous.clone() {
            self.cutover(&previous);
            self.previous = None;
        }
    }

    /// Pools that are left.
    pub fn keep(&mut self, pools: &BTreeSet<String>) {
        self.previous = self.previous.take().filter(|pool| pools.contains(pool));
        self.released = self.released.take().filter(|pool| pools.contains(pool));
        if self
            .candidate
            .as_ref()
            .is_some_and(|pool| !pools.contains(pool))
        {
            self.candidate = None;
            self.drawn.clear();
        }
    }

    /// Whether the core and the maps agree.
    pub fn check(&mut self, line: &Line, record: &Record, node: &Node) -> Result<(), String> {
        let candidate = line.candidate.clone().filter(|_| line.share_ppm > 0);
        let expected = self.candidate.clone().filter(|_| self.share_ppm > 0);
        let same = line.active == self.active && line.share_ppm == self.share_ppm;
        if !same || candidate != expected || record.share_ppm != self.share_ppm {
            return Err(format!("{line:?}, {record:?}, but expected {self:?}"));
        }
        self.check_drawn(record, node)
    }

    /// A wider share has all clients of a narrower one, whenever in a release they are drawn.
    fn check_drawn(&mut self, record: &Record, node: &Node) -> Result<(), String> {
        if self.share_ppm == 0 {
            return Ok(());
        }
        if self.drawn.is_empty() && self.salt.replace(record.salt) == Some(record.salt) {
            return Err(format!(
                "another release draws by the same salt: {record:?}"
            ));
        }
        let drawn: BTreeSet<u32> = (0..CLIENTS)
            .filter(|&n| is_drawn(n, record, node))
            .collect();
        for (share, others) in &self.drawn {
            let (narrow, wide) = if *share <= self.share_ppm {
                (others, &drawn)
            } else {
                (&drawn, others)
            };
            if !narrow.is_subset(wide) {
                return Err(format!(
                    "a share of {} moved users back that {share} had",
                    self.share_ppm
                ));
            }
        }
        self.drawn.insert(self.share_ppm, drawn);
        Ok(())
    }
}

fn is_drawn(client: u32, record: &Record, node: &Node) -> bool {
    let address = Address::v4((0xcb00_7100 + client).to_be_bytes());
    hash::bucket(node.client_hash(&address, false), record.salt) < record.share_ppm
}
