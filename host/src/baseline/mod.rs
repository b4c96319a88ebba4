//! The numbers and verdicts of a session's results, saved in a file and compared with those of a later session: which
//! moved, and by how much.

mod file;
mod values;

pub use file::{Baseline, Tolerance};
pub use values::{Scalar, Values, of_results};

use crate::spelling::natural_order;

/// One value, then and now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key, as in `compare.layers[conv1].sqnr_db`.
    pub key: String,
    /// What happened to it.
    pub outcome: Outcome,
    /// The value of the baseline; `None` for a new one.
    pub before: Option<Scalar>,
    /// The value of this session; `None` for a missing one.
    pub now: Option<Scalar>,
    /// How far a number may be from the baseline's.
    pub tolerance: Tolerance,
}

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It moved beyond its tolerance, or is a different text or flag.
    Moved,
    /// It is only in the baseline.
    Missing,
    /// It is only in this session.
    New,
    /// It moved within its tolerance.
    Within,
}

impl Outcome {
    /// Their names.
    pub const WORDS: &'static [&'static str] = &["moved", "missing", "new", "within"];

    /// Its name.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether a check reports it.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Moved | Self::Missing)
    }
}

impl Change {
    /// How far a number moved, if it was and is a finite one.
    pub fn difference(&self) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?.number()?, self.now.as_ref()?.number()?);
        Some(now - before).filter(|difference| difference.is_finite())
    }

    /// The same as a share of the larger of the two; `None` if that is zero.
    pub fn relative(&self) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?.number()?, self.now.as_ref()?.number()?);
        let scale = before.abs().max(now.abs());
        Some(self.difference()? / scale).filter(|share| share.is_finite())
    }
}

/// All values that changed at all, those that moved beyond their tolerance first. `tolerance` gives the tolerance of a
/// key.
pub fn changes(before: &Values, now: &Values, tolerance: &dyn Fn(&str) -> Tolerance) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, old) in before {
        let new = now.get(key);
        let number = |value: Option<&Scalar>| value.and_then(Scalar::number);
        // `3` and `3.0` are the same number.
        if new == Some(old) || (number(new).is_some() && number(new) == old.number()) {
            continue;
        }
        let tolerance = tolerance(key);
        let outcome = match new {
            None => Outcome::Missing,
            Some(new) if tolerance.allows(old, new) => Outcome::Within,
            Some(_) => Outcome::Moved,
        };
        changes.push(Change {
            key: key.clone(),
            outcome,
            before: Some(old.clone()),
            now: new.cloned(),
            tolerance,
        });
    }
    for (key, new) in now.iter().filter(|(key, _)| !before.contains_key(*key)) {
        let tolerance = tolerance(key);
        changes.push(Change {
            key: key.clone(),
            outcome: Outcome::New,
            before: None,
            now: Some(new.clone()),
            tolerance,
        });
    }
    changes.sort_by(|one, other| {
        (one.outcome as u8).cmp(&(other.outcome as u8)).then_with(|| natural_order(&one.key, &other.key))
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(of: &[(&str, f64)]) -> Values {
        of.iter().map(|(key, value)| ((*key).to_owned(), Scalar::Real(*value))).collect()
    }

    #[test]
    fn what_moved_beyond_its_tolerance_comes_first() {
        let before = values(&[("a", 1.0), ("b", 2.0), ("c10", 3.0), ("c9", 3.0), ("d", 4.0)]);
        let now = values(&[("a", 1.0), ("b", 2.000_001), ("c10", 3.1), ("c9", 2.0), ("e", 0.0)]);
        let found = changes(&before, &now, &|_| Tolerance { relative: 1e-5, absolute: 0.0 });
        let found: Vec<_> = found.iter().map(|change| (change.outcome.word(), change.key.as_str())).collect();
        assert_eq!(
            found,
            [("moved", "c9"), ("moved", "c10"), ("missing", "d"), ("new", "e"), ("within", "b")]
        );
    }

    #[test]
    fn numbers_that_json_lacks_do_not_move_by_a_number() {
        let change = Change {
            key: String::new(),
            outcome: Outcome::Moved,
            before: Some(Scalar::Real(1.0)),
            now: Some(Scalar::Text("inf".to_owned())),
            tolerance: Tolerance::default(),
        };
        assert_eq!((change.difference(), change.relative()), (None, None));
    }
}
