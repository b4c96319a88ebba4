//! Several models held against one reference, on the same samples.

use super::evidence::{Choice, Given};
use crate::backend::Progress;
use crate::capture::Side;
use crate::capture::evaluation::{self, Plan, Tally, Truth};
use crate::editing::float_variant;
use crate::error::{Error, Result};
use crate::playground::{Loaded, Playground};
use std::sync::Arc;

/// Models that are measured together: the reference runs once for all of them.
const TOGETHER: usize = 4;

/// A reference and the samples.
pub(in crate::commands) struct Against<'a> {
    pub(in crate::commands) reference: &'a Loaded,
    pub(in crate::commands) given: &'a Given,
    pub(in crate::commands) choice: &'a Choice,
}

/// How one model's output compares.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct Outcome {
    pub(in crate::commands) samples: u64,
    pub(in crate::commands) sqnr_db: Option<f64>,
    /// The mean divergence of the probabilities. `None` for an output that is no scores of classes, and where it is infinite: a
    /// rounded softmax gives probabilities of 0, and then it says nothing.
    pub(in crate::commands) kl_mean: Option<f64>,
    /// The top-1 accuracy; `None` without labels.
    pub(in crate::commands) accuracy: Option<f64>,
    /// The accuracy that the reference has more.
    pub(in crate::commands) lost: Option<f64>,
}

impl Against<'_> {
    /// What the models predict, the reference first.
    ///
    /// # Errors
    /// Those of the samples and the backends; `Cancelled`.
    pub(in crate::commands) fn tallies(
        &self,
        models: &[&Loaded],
        playground: &Playground,
        progress: &dyn Progress,
    ) -> Result<Vec<Tally>> {
        let running = &self.choice.running;
        let side = |model| Side::of(model, running.options(model), playground, progress);
        let sides: Vec<Side<'_>> =
            std::iter::once(self.reference).chain(models.iter().copied()).map(side).collect();
        let feed = self.choice.samples.for_outputs(&self.given.input);
        let batches = feed.batches(&sides.iter().collect::<Vec<_>>())?;
        let truth = self.given.labels.as_deref().map_or(Truth::Unknown, Truth::Labels);
        let plan = Plan { truth, output: None, top: 1, reference: Some(0) };
        match evaluation::evaluate(&sides, batches, plan, progress) {
            (tallies, None) => Ok(tallies),
            (_, Some(error)) => Err(error),
        }
    }

    /// How the models' outputs compare with the reference's.
    ///
    /// # Errors
    /// As [`Self::tallies`].
    pub(in crate::commands) fn outcomes(
        &self,
        models: &[&Loaded],
        playground: &Playground,
        progress: &dyn Progress,
    ) -> Result<Vec<Outcome>> {
        let tallies = self.tallies(models, playground, progress)?;
        let accuracy = |tally: &Tally| {
            self.given.labels.as_ref().map(|_| tally.correct as f64 / tally.samples.max(1) as f64)
        };
        let Some((reference, others)) = tallies.split_first() else { return Ok(Vec::new()) };
        let outcome = |tally: &Tally| {
            let agreement = tally.agreement.as_ref();
            let divergences = agreement.map(|agreement| &agreement.divergences[..]).unwrap_or_default();
            // Of an empty list it is NaN.
            let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
            Outcome {
                samples: tally.samples,
                sqnr_db: agreement.and_then(|agreement| agreement.errors.metrics().sqnr_db),
                kl_mean: Some(mean).filter(|mean| mean.is_finite()),
                accuracy: accuracy(tally),
                lost: Option::zip(accuracy(reference), accuracy(tally)).map(|(all, own)| all - own),
            }
        };
        Ok(others.iter().map(outcome).collect())
    }
}

/// Calls `measure` with a few of the items at a time.
///
/// # Errors
/// Those of `measure`; `Cancelled`.
pub(in crate::commands) fn in_groups<I, T>(
    items: &[I],
    stage: &str,
    progress: &dyn Progress,
    mut measure: impl FnMut(&[I]) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for group in items.chunks(TOGETHER) {
        progress.update(stage, found.len() as u64, items.len() as u64);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        found.extend(measure(group)?);
    }
    Ok(found)
}

/// The quantized model that is meant, with the changes that it has, and its reference: the named one, or the loaded float variant.
///
/// # Errors
/// `State` without a reference; the reason why one of them cannot be run.
pub(in crate::commands) fn model_and_reference(
    model: Option<&str>,
    reference: Option<&str>,
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<(Arc<Loaded>, Arc<Loaded>)> {
    let model = playground.newest_form(model, progress)?;
    let base = playground.base_of(&model, progress)?;
    let reference = match reference {
        Some(name) => playground.model(Some(name), progress)?,
        None => float_variant(playground, &base).ok_or_else(|| {
            Error::state(format!("no float variant of `{}` is loaded", base.id))
                .with_hint("Load it, or name a reference: `--reference MODEL`.")
        })?,
    };
    for model in [&model, &reference] {
        model.runnable()?;
    }
    Ok((model, reference))
}
