//! A random part of the samples, the same for the same seed.

use super::Dataset;
use crate::error::{Error, Result};
use crate::input::{Content, Input, Samples};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Dataset {
    /// The first `count` samples, or with a seed that many random ones, in their order.
    ///
    /// # Errors
    /// `InvalidInput` for none, and for more than there are.
    pub(super) fn subset(&self, count: u64, seed: Option<u64>) -> Result<Self> {
        if count == 0 || count > self.samples {
            return Err(Error::invalid_input(format!(
                "`{}` has {} samples, not {count}",
                self.source, self.samples
            ))
            .with_hint(format!("Take 1 to {}.", self.samples)));
        }
        let Some(seed) = seed else {
            return self.part(&Samples::Range(0..count));
        };
        let picked = picked(self.samples, count, seed);
        let label = |labels: &Vec<i64>| {
            picked.iter().filter_map(|index| labels.get(*index as usize).copied()).collect()
        };
        let labels = self.labels.as_ref().map(label);
        let content = self.input.content.picked(&picked.into());
        let input = Input { source: String::new(), content, may_round: self.input.may_round };
        let input = Arc::new(input);
        let part = Self { input, labels, samples: count, ..self.clone() };
        Ok(part.called(format!("{}, {count} random with seed {seed}", self.source)))
    }

    /// The same with another text for its source.
    #[must_use]
    pub fn called(mut self, source: String) -> Self {
        let described = match &self.preparation[..] {
            "" => source.clone(),
            preparation => format!("{source}, {preparation}"),
        };
        self.input = Arc::new(Input { source: described, ..Arc::unwrap_or_clone(self.input) });
        self.source = source;
        self
    }
}

/// `count` of the numbers below `all`, each set of them equally likely, in ascending order. Robert Floyd's algorithm, in
/// J. Bentley, "Programming pearls", Communications of the ACM 30(9), 1987.
fn picked(all: u64, count: u64, seed: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut picked = BTreeSet::new();
    for last in all.saturating_sub(count)..all {
        let number = random.u64(0..=last);
        if !picked.insert(number) {
            picked.insert(last);
        }
    }
    picked.into_iter().collect()
}

impl Content {
    /// The samples with these numbers, in ascending order.
    fn picked(&self, indices: &Arc<[u64]>) -> Self {
        let parts = |parts: &[(String, Self)]| {
            parts.iter().map(|(name, part)| (name.clone(), part.picked(indices))).collect()
        };
        match self {
            Self::Array(array) if array.shape.is_empty() => self.clone(),
            Self::Array(_) | Self::Stored(_) | Self::Cifar(_) => {
                Self::Picked(Arc::new(self.clone()), Arc::clone(indices))
            }
            Self::Picked(all, own) => {
                let indices = indices.iter().filter_map(|index| own.get(*index as usize).copied());
                Self::Picked(Arc::clone(all), indices.collect())
            }
            Self::Pixels(pixels, options) => Self::Pixels(Box::new(pixels.picked(indices)), options.clone()),
            Self::Files(files, options) => {
                let files = indices.iter().filter_map(|index| files.get(*index as usize).cloned());
                Self::Files(files.collect(), options.clone())
            }
            Self::Named(all) => Self::Named(parts(all)),
            Self::Archive(path, all) => Self::Archive(path.clone(), parts(all)),
            Self::Picture(..) | Self::Generated(_) => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::picked;

    #[test]
    fn a_seed_picks_the_same_numbers_each_once_and_another_seed_picks_others() {
        let numbers = picked(1000, 100, 1);
        assert_eq!(numbers.len(), 100);
        assert!(numbers.is_sorted_by(|one, next| one < next) && numbers[99] < 1000);
        assert_eq!(numbers, picked(1000, 100, 1));
        assert_ne!(numbers, picked(1000, 100, 2));
        assert_eq!(picked(5, 5, 9), [0, 1, 2, 3, 4]);
    }
}
