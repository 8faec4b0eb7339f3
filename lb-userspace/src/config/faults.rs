//! Where the problems of one text are collected while it is being read.

use std::{cell::RefCell, ops::Range};

use super::{
    Config,
    clash::Clash,
    errors::{ConfigError, Fault, Position, Problem},
};

/// Collects the problems of one text.
pub(super) struct Faults<'t> {
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Faults<'t> {
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            found: RefCell::default(),
        }
    }

    /// Notes a problem at a span of the text.
    pub fn at(&self, span: &Range<usize>, object: &str, fault: Fault) {
        let position = Some(position(span.start, self.text));
        self.note(position, object.to_owned(), fault);
    }

    /// Notes a problem that lies between several places.
    pub fn between(&self, object: String, fault: Clash) {
        self.note(None, object, fault.into());
    }

    /// Notes a problem of an object as a whole, whose place is not known any more.
    pub fn of(&self, object: String, fault: Fault) {
        self.note(None, object, fault);
    }

    fn note(&self, position: Option<Position>, object: String, fault: Fault) {
        self.found.borrow_mut().push(Problem {
            position,
            object,
            fault,
        });
    }

    /// The configuration if nothing was found, else all that was.
    pub fn judge(self, config: Option<Config>) -> Result<Config, ConfigError> {
        let mut problems = self.found.into_inner();
        problems.sort_by_key(|problem| (problem.position.is_none(), problem.position));
        // Both addresses of a backend may be wrong alike.
        problems.dedup();
        config
            .filter(|_| problems.is_empty())
            .ok_or_else(|| ConfigError::new(problems))
    }
}

fn position(offset: usize, text: &str) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}
