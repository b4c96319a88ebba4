//! The reference with any set of its layers quantized as in the candidate.

use super::batch::Batches;
use super::emulation::{Emulation, Place};
use super::pairing::ActivationPair;
use super::real::Real;
use super::scores::{classes, first};
use super::side::{OnlyCancel, Side};
use crate::backend::{Fetch, Progress, RunOptions, RunReport};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::model::Tensor;
use qp_analysis::ErrorMetrics;

/// How much a backend may keep of runs that differ in a few switches.
const REPLAY: u64 = 128 << 20;

/// The reference with switches, one for each layer that the candidate quantizes.
pub struct Switched<'a> {
    side: &'a Side<'a>,
    emulation: Emulation,
    /// The value to compare; `None` for the first output.
    value: Option<&'a str>,
    /// The pairs that have a switch.
    pub layers: Vec<usize>,
    options: RunOptions,
}

impl<'a> Switched<'a> {
    /// Prepares the reference.
    ///
    /// # Errors
    /// `UnsupportedOp` for a reference that cannot be edited, `State` when the candidate quantizes none of its layers.
    pub fn new(
        reference: &'a Side<'a>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        value: Option<&'a str>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let emulation = Emulation::new(reference.model, candidate.model, pairs, Place::Switched, progress)?;
        let layers: Vec<usize> =
            (0..pairs.len()).filter(|index| emulation.layers[*index].switch.is_some()).collect();
        if layers.is_empty() {
            return Err(Error::state(format!(
                "`{}` quantizes no layer of `{}`",
                candidate.model.id, reference.model.id
            ))
            .with_hint("Run `diff` to see which layers were matched."));
        }
        let mut options = reference.options.clone();
        if reference.model.session.plugin().has_feature("replay") {
            options.insert("replay".to_owned(), REPLAY.to_string());
        }
        Ok(Self { side: reference, emulation, value, layers, options })
    }

    /// Why layers that the candidate quantizes have no switch, by the index of their pair.
    pub fn obstacles(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.emulation
            .layers
            .iter()
            .enumerate()
            .filter_map(|(index, layer)| Some((index, layer.obstacle.as_ref()?)))
    }

    /// A batch fitted for the reference: once for any number of runs.
    ///
    /// # Errors
    /// `InvalidInput` when it does not fit.
    pub fn fit(&self, batch: &Input) -> Result<SwitchedBatch> {
        let inputs = self.side.fit(batch)?;
        Ok(SwitchedBatch { own: inputs.len(), inputs })
    }

    /// What the network computes for a batch with the layers quantized for which `is_on` holds.
    ///
    /// # Errors
    /// Those of the backend; `Cancelled`.
    pub fn run(
        &self,
        batch: &mut SwitchedBatch,
        is_on: impl Fn(usize) -> bool,
        progress: &dyn Progress,
    ) -> Result<(Tensor, RunReport)> {
        batch.inputs.truncate(batch.own);
        batch.inputs.extend(self.emulation.switches(is_on));
        let fetch = fetch(self.value);
        let session = &self.emulation.session;
        let outcome = session.run(&batch.inputs, &fetch, &self.options, &OnlyCancel(progress))?;
        Ok((first(outcome.tensors, self.side)?, outcome.report))
    }
}

/// A fitted batch, followed by the switches of its last run.
pub struct SwitchedBatch {
    inputs: Vec<Tensor>,
    /// How many of them are the model's own.
    own: usize,
}

/// One value, or the outputs.
pub fn fetch(value: Option<&str>) -> Fetch {
    value.map_or(Fetch::Outputs, |value| Fetch::Named(vec![value.to_owned()]))
}

/// What changing some layers does to the output, over all samples.
#[derive(Clone, Debug, Default)]
pub struct OutputChange {
    /// The errors of the output.
    pub errors: ErrorMetrics,
    /// Samples whose class is the label.
    pub correct: u64,
    /// Samples whose class differs from the reference's.
    pub changed: u64,
}

impl OutputChange {
    /// Adds the results for one batch.
    ///
    /// # Errors
    /// `InvalidInput` when the two differ in size.
    pub fn add(&mut self, reference: &Tensor, found: &Tensor, labels: Option<&[i64]>) -> Result<()> {
        let quantization = found.quantization.as_ref();
        let (expected, found_values) =
            (Real::of(reference, reference.quantization.as_ref())?, Real::of(found, quantization)?);
        if expected.len() != found_values.len() {
            return Err(Error::invalid_input(format!(
                "incompatible outputs {:?} and {:?}",
                reference.shape, found.shape
            )));
        }
        expected.each_pair(&found_values, |expected, found| {
            let _ = self.errors.add(expected, found);
        });
        let (ours, theirs) = (classes(reference)?, classes(found)?);
        self.changed += ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count() as u64;
        if let Some(labels) = labels {
            let is_right = |(class, label): &(&usize, &i64)| i64::try_from(**class).ok() == Some(**label);
            self.correct += theirs.iter().zip(labels).filter(is_right).count() as u64;
        }
        Ok(())
    }
}

/// The batches of an input with the labels of each.
pub fn labelled<'b>(
    batches: Batches<'b>,
    labels: Option<&'b [i64]>,
) -> impl Iterator<Item = (Input, Option<&'b [i64]>, u64)> {
    let mut done = 0_usize;
    batches.map(move |(count, batch)| {
        let end = done.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let own = labels.map(|labels| labels.get(done..end).unwrap_or_default());
        done = end;
        (batch, own, count)
    })
}
