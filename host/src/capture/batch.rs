//! An input of many samples, a few at a time.

use super::side::Side;
use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::input::{Content, Input, fixed_batch};
use std::borrow::Cow;

/// What models are run on.
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// The input.
    pub input: &'a Input,
    /// Only this many samples from the start.
    pub samples: Option<u64>,
    /// Batch size.
    pub batch: u64,
}

impl<'a> Feed<'a> {
    /// The samples that `sides` run on, the same for all; the first determines how many there are. A model with a fixed
    /// batch size gets that many at a time.
    ///
    /// # Errors
    /// As [`Batches::new`] and [`Input::check_names`]; `InvalidInput` when the models take different numbers, or some
    /// samples would be left over.
    pub fn batches(self, sides: &[&Side<'_>]) -> Result<Batches<'a>> {
        Batches::of(self, sides)
    }
}

/// An input, `size` samples at a time. Only the samples of one batch are ever fitted to a model.
pub struct Batches<'a> {
    input: Cow<'a, Input>,
    available: u64,
    samples: u64,
    size: u64,
    next: u64,
    /// What a model's file fixes the batch size to.
    fixed: Option<u64>,
}

impl<'a> Batches<'a> {
    /// The first `samples` of the `available` ones, or all.
    ///
    /// # Errors
    /// `InvalidInput` for zero samples, and for more samples than there are.
    pub fn new(input: &'a Input, available: u64, samples: Option<u64>, size: u64) -> Result<Self> {
        Self::from_cow(Cow::Borrowed(input), available, samples, size)
    }

    fn from_cow(input: Cow<'a, Input>, available: u64, samples: Option<u64>, size: u64) -> Result<Self> {
        let samples = samples.unwrap_or(available);
        if samples > available || samples == 0 {
            let plural = if available == 1 { "" } else { "s" };
            return Err(Error::invalid_input(format!(
                "the input has {available} sample{plural}, not {samples}"
            ))
            .with_hint(match (&input.content, samples) {
                (_, 0) => "Take at least one.".to_owned(),
                (Content::Generated(_), _) => {
                    format!("Generate that many with `input random --batch {samples}`.")
                }
                _ => "Choose more with `input FILE:KEY[0:N]`.".to_owned(),
            }));
        }
        Ok(Self { input, available, samples, size: size.max(1), next: 0, fixed: None })
    }

    /// As [`Feed::batches`].
    fn of(feed: Feed<'a>, sides: &[&Side<'_>]) -> Result<Self> {
        let Feed { input, samples, batch: size } = feed;
        let Some(first) = sides.first() else { return Self::new(input, 1, samples, size) };
        sides.iter().try_for_each(|side| input.check_names(&side.model.info().inputs))?;
        let fixed_of = |side: &Side<'_>| fixed_batch(side.model.info(), side.sibling.as_ref());
        let input = match sides.iter().find_map(|side| fixed_of(side)) {
            Some(fixed) => input.made_up_for(samples.unwrap_or(0).max(fixed)),
            None => Cow::Borrowed(input),
        };
        let available = input.sample_count(first.model.info(), first.sibling.as_ref());
        let mut batches = Self::from_cow(input, available, samples, size)?;
        for side in sides {
            let Some(fixed) = fixed_of(side) else { continue };
            if batches.samples % fixed != 0 {
                return Err(Error::invalid_input(format!(
                    "`{}` takes {fixed} samples at a time, but there are {}",
                    side.model.id, batches.samples
                ))
                .with_hint(match batches.samples / fixed * fixed {
                    0 => format!(
                        "Choose {fixed}, as in `input FILE.npy[0:{fixed}]` or `input random --batch {fixed}`."
                    ),
                    most => format!("Choose a multiple, as in `--samples {most}`."),
                }));
            }
            batches.fixed = match batches.fixed {
                Some(other) if other != fixed => {
                    return Err(Error::invalid_input(format!(
                        "one model takes {other} samples at a time, the other {fixed}"
                    )));
                }
                _ => Some(fixed),
            };
        }
        batches.size = batches.fixed.unwrap_or(batches.size);
        Ok(batches)
    }

    /// The number of samples in all batches.
    pub fn samples(&self) -> u64 {
        self.samples
    }
}

impl Iterator for Batches<'_> {
    type Item = (u64, Input);

    /// The batch, and the number of its samples.
    fn next(&mut self) -> Option<(u64, Input)> {
        if self.next >= self.samples {
            return None;
        }
        let (first, end) = (self.next, self.samples.min(self.next.saturating_add(self.size)));
        self.next = end;
        let is_whole = (first, end) == (0, self.available);
        Some((
            end - first,
            if is_whole { self.input.as_ref().clone() } else { self.input.samples(first, end) },
        ))
    }
}

/// A hash (BLAKE3, hexadecimal) of samples as a model reads them, and of their labels.
///
/// # Errors
/// Those of reading and fitting samples; `Cancelled`.
pub fn content_hash(
    side: &Side<'_>,
    batches: Batches<'_>,
    labels: Option<&[i64]>,
    progress: &dyn Progress,
) -> Result<String> {
    let total = batches.samples();
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    for (count, samples) in batches {
        progress.update("reading samples", done, total);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        for tensor in side.fit(&samples)? {
            hasher.update(format!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape).as_bytes());
            hasher.update(&tensor.bytes);
        }
        done += count;
    }
    let labels = labels.unwrap_or_default();
    labels.iter().take(usize::try_from(done).unwrap_or(usize::MAX)).for_each(|label| {
        hasher.update(&label.to_le_bytes());
    });
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Content;
    use crate::model::{DType, Tensor};

    #[test]
    fn samples_come_in_order_and_the_last_batch_is_what_is_left() {
        let array = Tensor {
            name: "x".into(),
            dtype: DType::UINT8,
            shape: vec![5, 2],
            bytes: (0..10).collect(),
            quantization: None,
        };
        let input = Input { source: "x.npy".into(), content: Content::Array(array), may_round: false };
        let batches = Batches::new(&input, 5, None, 2).unwrap();
        let found: Vec<_> = batches
            .map(|(count, batch)| match batch.content {
                Content::Array(array) => (count, array.shape, array.bytes),
                _ => unreachable!("an array was cut"),
            })
            .collect();
        assert_eq!(
            found,
            [
                (2, vec![2, 2], vec![0, 1, 2, 3]),
                (2, vec![2, 2], vec![4, 5, 6, 7]),
                (1, vec![1, 2], vec![8, 9])
            ]
        );
        assert_eq!(Batches::new(&input, 5, Some(3), 2).unwrap().count(), 2);
        assert!(Batches::new(&input, 5, Some(6), 2).is_err());
    }
}
