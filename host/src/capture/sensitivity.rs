//! What quantizing each layer alone, and all but each, does to the output.

use super::batch::Batches;
use super::pairing::Followed;
use super::scores::first;
use super::side::Side;
use super::switched::{OutputChange, Switched, fetch, labelled};
use crate::backend::{Progress, RunReport};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::model::Tensor;

/// What was measured so far.
#[derive(Clone, Default)]
pub struct Measured {
    /// The reference against itself: how often it is right.
    exact: OutputChange,
    /// With every layer quantized that can be emulated.
    pub all: OutputChange,
    /// The candidate itself.
    pub candidate: OutputChange,
    /// With one layer quantized, in the order of the switches.
    pub only: Vec<OutputChange>,
    /// With every layer quantized but one.
    pub all_but: Vec<OutputChange>,
    /// Samples that all of it covers.
    pub samples: u64,
    /// What the runtime reported last.
    pub report: Option<RunReport>,
    has_labels: bool,
}

/// What a change of some layers does to the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// SQNR against the reference's output.
    pub sqnr_db: Option<f64>,
    /// Samples whose class differs from the reference's.
    pub changed: u64,
    /// Percentage points of accuracy lost; `None` without labels.
    pub accuracy_drop_pp: Option<f64>,
}

impl Measured {
    /// Measures batch by batch, so that a run that is stopped has covered every layer; also returns why it stopped.
    /// `own` is the candidate, and its value in place of the first output.
    pub fn of(
        switched: &Switched<'_>,
        own: (&Side<'_>, Option<&Followed<'_>>),
        batches: Batches<'_>,
        labels: Option<&[i64]>,
        progress: &dyn Progress,
    ) -> (Self, Option<Error>) {
        let none = vec![OutputChange::default(); switched.layers.len()];
        let mut measured =
            Self { only: none.clone(), all_but: none, has_labels: labels.is_some(), ..Self::default() };
        let total = batches.samples() * runs_of(switched);
        for (batch, labels, count) in labelled(batches, labels) {
            // Only whole batches count: a partial one is dropped.
            let mut next = measured.clone();
            match next.add(switched, own, (&batch, labels, count), total, progress) {
                Ok(()) => measured = next,
                Err(error) => return (measured, Some(error)),
            }
        }
        (measured, None)
    }

    fn add(
        &mut self,
        switched: &Switched<'_>,
        own: (&Side<'_>, Option<&Followed<'_>>),
        (batch, labels, count): (&Input, Option<&[i64]>, u64),
        total: u64,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut done = self.samples * runs_of(switched);
        let mut fitted = switched.fit(batch)?;
        let exact = switched.run(&mut fitted, |_| false, progress)?.0;
        self.exact.add(&exact, &exact, labels)?;
        self.all.add(&exact, &switched.run(&mut fitted, |_| true, progress)?.0, labels)?;
        self.candidate.add(&exact, &own_output(own, batch, progress)?, labels)?;
        // In execution order, so that each layer reuses what was computed for the previous one.
        for (place, layer) in switched.layers.iter().enumerate() {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            progress.update("quantizing layer by layer", done, total);
            let only = switched.run(&mut fitted, |index| index == *layer, progress)?.0;
            self.only[place].add(&exact, &only, labels)?;
            let (all_but, report) = switched.run(&mut fitted, |index| index != *layer, progress)?;
            self.all_but[place].add(&exact, &all_but, labels)?;
            // The last report says how much was reused.
            self.report = Some(report);
            done += 2 * count;
        }
        self.samples += count;
        Ok(())
    }

    /// A change in numbers.
    pub fn outcome(&self, change: &OutputChange) -> Outcome {
        let lost = self.share(self.exact.correct) - self.share(change.correct);
        Outcome {
            sqnr_db: change.errors.metrics().sqnr_db,
            changed: change.changed,
            accuracy_drop_pp: self.has_labels.then_some(lost * 100.0),
        }
    }

    /// The share of the samples that the reference classifies correctly; `None` without labels.
    pub fn reference_accuracy(&self) -> Option<f64> {
        self.has_labels.then(|| self.share(self.exact.correct))
    }

    fn share(&self, part: u64) -> f64 {
        part as f64 / self.samples.max(1) as f64
    }
}

/// Runs of the network per batch.
fn runs_of(switched: &Switched<'_>) -> u64 {
    2 * switched.layers.len() as u64 + 3
}

fn own_output(
    (candidate, value): (&Side<'_>, Option<&Followed<'_>>),
    batch: &Input,
    progress: &dyn Progress,
) -> Result<Tensor> {
    let wanted = fetch(value.map(|value| value.name));
    let mut output = first(candidate.run(batch, &wanted, progress)?.tensors, candidate)?;
    output.quantization = output.quantization.or_else(|| value?.quantization.cloned());
    Ok(output)
}
