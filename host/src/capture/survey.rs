//! One value of a model over all samples of an input.

use super::batch::Feed;
use super::real::Real;
use super::side::Side;
use crate::backend::{Fetch, Progress, RunReport};
use crate::error::{Error, Result};
use crate::model::QuantizationParameters;

/// A value to capture.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its codes stand for; `None` for the numbers as they are.
    pub quantization: Option<&'a QuantizationParameters>,
}

/// Runs the model on all samples and passes on the values block by block; returns how many samples there were and
/// what the runtime reported for the last batch.
///
/// # Errors
/// Those of the backend; `UnsupportedOp` for a value that is not real numbers; `Cancelled`.
pub fn each_block(
    side: &Side<'_>,
    wanted: Wanted<'_>,
    feed: Feed<'_>,
    progress: &dyn Progress,
    receive: &mut dyn FnMut(&[f64]),
) -> Result<(u64, Option<RunReport>)> {
    let batches = feed.batches(&[side])?;
    let total = batches.samples();
    let fetch = Fetch::Named(vec![wanted.name.to_owned()]);
    let (mut samples, mut report) = (0, None);
    for (count, batch) in batches {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        progress.update("capturing samples", samples, total);
        let outcome = side.run(&batch, &fetch, progress)?;
        for tensor in &outcome.tensors {
            Real::of(tensor, wanted.quantization)?.each(&mut *receive);
        }
        samples += count;
        report = Some(outcome.report);
    }
    Ok((samples, report))
}
