//! How near models come to the float model on the samples of calibration.

use super::Ground;
use crate::backend::{Fetch, Session};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::OnlyCancel;
use crate::error::Result;
use crate::input::Input;
use crate::model::Tensor;
use crate::quantization::values::reals;

/// The SQNR of all real outputs together against those of the float model, in dB, for each candidate; `None` if all are equal
/// or 0. The float model runs once for all of them.
///
/// # Errors
/// Those of running the models; `Cancelled`.
pub(super) fn sqnrs_db(ground: &Ground<'_>, candidates: &[Session]) -> Result<Vec<Option<f64>>> {
    let Ground { side, feed, progress, .. } = *ground;
    let reference = &side.model.session;
    let batches = feed.batches(&[side])?;
    let (total, mut done) = (batches.samples(), 0);
    let mut sums = vec![(0.0, 0.0); candidates.len()];
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let info = reference.info();
    let fit = |batch: &Input| Ok(batch.fit(info, side.sibling.as_ref())?.tensors);
    fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
        progress.update("measuring the gain", done, total);
        let only_cancel = OnlyCancel(progress);
        let run = |session: &Session| session.run(&fitted, &Fetch::Outputs, &side.options, &only_cancel);
        let left = run(reference)?;
        for (candidate, (signal, noise)) in candidates.iter().zip(&mut sums) {
            for (left, right) in left.tensors.iter().zip(&run(candidate)?.tensors) {
                if !left.dtype.is_float() || left.shape != right.shape {
                    continue;
                }
                for (expected, found) in reals(left, &mut expected)?.iter().zip(reals(right, &mut found)?) {
                    *signal += f64::from(*expected).powi(2);
                    *noise += (f64::from(*expected) - f64::from(*found)).powi(2);
                }
            }
        }
        done += count;
        Ok(())
    })?;
    let ratio = |(signal, noise): (f64, f64)| 10.0 * (signal / noise).log10();
    Ok(sums.into_iter().map(ratio).map(|ratio| ratio.is_finite().then_some(ratio)).collect())
}
