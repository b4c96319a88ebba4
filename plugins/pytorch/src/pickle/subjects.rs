//! Names and sentences that a finding lists, each once.

use std::collections::HashSet;

/// Subjects that a finding lists at most.
pub(super) const MAX_SUBJECTS: usize = 64;

/// Names, each once.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pub(super) names: Vec<String>,
    seen: HashSet<String>,
    /// Names that are not listed.
    pub(super) more: usize,
}

impl Subjects {
    pub(super) fn add(&mut self, name: String) {
        if self.seen.contains(&name) {
            return;
        }
        if self.names.len() >= MAX_SUBJECTS {
            self.more += 1;
            return;
        }
        self.seen.insert(name.clone());
        self.names.push(name);
    }

    /// Adds those of another list.
    pub(super) fn absorb(&mut self, other: Self) {
        other.names.into_iter().for_each(|name| self.add(name));
        self.more += other.more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn to_list(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("… and {} more", self.more));
        self.names.iter().cloned().chain(more).collect()
    }
}
