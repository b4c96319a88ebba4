//! The errors of a candidate's layers against the reference's, taken as batches go by.

use super::batch::Batches;
use super::pairing::{ActivationPair, Followed};
use super::real::append_values;
use crate::backend::{Fetch, Progress, RunOptions, RunReport};
use crate::error::{Error, Result};
use crate::inspect::range::representable;
use crate::model::{QuantizationParameters, Tensor};
use crate::playground::Loaded;
use qp_analysis::{ErrorMetrics, RangeCount, ValueRange};
use std::collections::HashMap;

/// What was found of one pair.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The sums over all elements of all samples.
    pub errors: ErrorMetrics,
    /// How many of the reference's values the candidate's codes can represent.
    pub within: RangeCount,
    /// Why nothing was compared.
    pub obstacle: Option<Error>,
}

/// What was found of all pairs.
pub struct Comparison {
    /// One for each pair, in their order.
    pub compared: Vec<Compared>,
    /// How many samples were run.
    pub samples: u64,
    /// What the reference's runtime said of the last batch.
    pub reference_run: Option<RunReport>,
    /// What the candidate's runtime said of the last batch.
    pub candidate_run: Option<RunReport>,
}

/// One of the two models with what it is run on.
pub struct Side<'a> {
    /// The model.
    pub model: &'a Loaded,
    /// Its input.
    pub tensors: &'a [Tensor],
}

impl Comparison {
    /// Runs both models on the same samples, `batch` at a time, and compares the values of each pair. Memory holds
    /// the values of one batch of both.
    ///
    /// # Errors
    /// What the backends say; `Cancelled`.
    pub fn run(
        reference: &Side<'_>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        (samples, batch): (Option<u64>, u64),
        options: &RunOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let names = |value: fn(&ActivationPair<'_>) -> String| -> Fetch {
            let mut names: Vec<String> = pairs.iter().map(value).collect();
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            Fetch::Named(names)
        };
        let fetch_reference = names(|pair| pair.reference_value.name.to_owned());
        let fetch_candidate = names(|pair| pair.candidate_value.name.to_owned());
        let references = Batches::new(reference.tensors, samples, batch)?;
        let candidates = Batches::new(candidate.tensors, samples, batch)?;
        let total = references.samples();
        if total != candidates.samples() {
            return Err(Error::invalid_input("the two models do not take as many samples"));
        }
        let mut comparison = Self {
            compared: vec![Compared::default(); pairs.len()],
            samples: 0,
            reference_run: None,
            candidate_run: None,
        };
        for (reference_batch, candidate_batch) in references.zip(candidates) {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            progress.update("comparing samples", comparison.samples, total);
            let count = reference_batch.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(1);
            let ours = reference.model.session.run(&reference_batch, &fetch_reference, options, progress)?;
            let theirs =
                candidate.model.session.run(&candidate_batch, &fetch_candidate, options, progress)?;
            comparison.add(pairs, &ours.tensors, &theirs.tensors);
            comparison.samples += count;
            comparison.reference_run = Some(ours.report);
            comparison.candidate_run = Some(theirs.report);
        }
        Ok(comparison)
    }

    fn add(&mut self, pairs: &[ActivationPair<'_>], references: &[Tensor], candidates: &[Tensor]) {
        let by_name = |tensors: &[Tensor]| -> HashMap<String, usize> {
            tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.clone(), place)).collect()
        };
        let (reference_places, candidate_places) = (by_name(references), by_name(candidates));
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (pair, compared) in pairs.iter().zip(&mut self.compared) {
            if compared.obstacle.is_some() {
                continue;
            }
            let place =
                |places: &HashMap<String, usize>, value: &Followed<'_>| places.get(value.name).copied();
            let tensors = place(&reference_places, &pair.reference_value)
                .zip(place(&candidate_places, &pair.candidate_value))
                .map(|(reference, candidate)| (&references[reference], &candidates[candidate]));
            let outcome = match tensors {
                Some((reference, candidate)) => {
                    compared.add(pair, reference, candidate, &mut expected, &mut found)
                }
                None => Err(Error::internal("a value was not delivered")),
            };
            compared.obstacle = outcome.err();
        }
    }
}

impl Compared {
    fn add(
        &mut self,
        pair: &ActivationPair<'_>,
        reference: &Tensor,
        candidate: &Tensor,
        expected: &mut Vec<f64>,
        found: &mut Vec<f64>,
    ) -> Result<()> {
        for (tensor, value) in [(reference, &pair.reference_value), (candidate, &pair.candidate_value)] {
            let other = if std::ptr::eq(tensor, reference) { candidate } else { reference };
            if tensor.dtype.is_integer() && other.dtype.is_float() && value.quantization.is_none() {
                return Err(Error::invalid_input(format!(
                    "`{}` holds {} whose scale the file does not say",
                    tensor.name, tensor.dtype
                )));
            }
        }
        expected.clear();
        found.clear();
        append_values(reference, pair.reference_value.quantization, expected)?;
        append_values(candidate, pair.candidate_value.quantization, found)?;
        if is_other_shape(&reference.shape, &candidate.shape) {
            return Err(Error::invalid_input(format!(
                "the shapes {:?} and {:?} do not belong together",
                reference.shape, candidate.shape
            )));
        }
        self.errors.add(expected, found).map_err(|mismatch| Error::internal(mismatch.to_string()))?;
        let range = pair.candidate_value.quantization.and_then(range_of);
        if let Some(range) = range {
            self.within.add(expected, range);
        }
        Ok(())
    }
}

/// Shapes whose elements lie in the same order are equal but for dimensions of 1.
fn is_other_shape(reference: &[u64], candidate: &[u64]) -> bool {
    let essential = |shape: &[u64]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
    essential(reference) != essential(candidate)
}

/// Of channels that have ranges of their own nothing is said.
fn range_of(parameters: &QuantizationParameters) -> Option<ValueRange> {
    let (low, high) = representable(parameters).filter(|_| parameters.scales.len() == 1)?;
    ValueRange::new(low, high)
}
