//! What is wrong with the sources of a pickle.

use crate::pickle::subjects::Subjects;
use std::collections::HashSet;

/// What is wrong with sources, each line and name once.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) dangers: Subjects,
    pub(super) unknown: Subjects,
    /// Whole sources: modules of one class have the same.
    pub(super) sources: HashSet<String>,
}

impl Judgement {
    pub(super) fn danger(&mut self, line: &str) {
        self.dangers.add(line.trim().chars().take(120).collect());
    }

    pub(super) fn doubt(&mut self, name: &str) {
        self.unknown.add(name.chars().take(120).collect());
    }
}
