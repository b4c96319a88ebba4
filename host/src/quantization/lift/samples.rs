//! What models compute on the samples of calibration.

use super::Ground;
use crate::backend::{Fetch, Session};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::OnlyCancel;
use crate::error::Result;
use crate::model::Tensor;
use crate::quantization::calibration::reals;

/// The SQNR of all real outputs together against those of the float model, in dB; `None` if all are equal or 0.
///
/// # Errors
/// Those of running the models; `Cancelled`.
pub(super) fn sqnr_db(ground: &Ground<'_>, candidate: &Session) -> Result<Option<f64>> {
    let Ground { side, feed, progress, .. } = *ground;
    let reference = &side.model.session;
    let batches = feed.batches(&[side])?;
    let (total, mut done) = (batches.samples(), 0);
    let (mut signal, mut noise) = (0.0, 0.0);
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let info = reference.info();
    let fit = |batch: &crate::input::Input| Ok(batch.fit(info, side.sibling.as_ref())?.tensors);
    fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
        progress.update("measuring the gain", done, total);
        let only_cancel = OnlyCancel(progress);
        let run = |session: &Session| session.run(&fitted, &Fetch::Outputs, &side.options, &only_cancel);
        let (left, right) = (run(reference)?, run(candidate)?);
        for (left, right) in left.tensors.iter().zip(&right.tensors) {
            if !left.dtype.is_float() || left.shape != right.shape {
                continue;
            }
            for (expected, found) in reals(left, &mut expected)?.iter().zip(reals(right, &mut found)?) {
                signal += f64::from(*expected).powi(2);
                noise += (f64::from(*expected) - f64::from(*found)).powi(2);
            }
        }
        done += count;
        Ok(())
    })?;
    let ratio = 10.0 * (signal / noise).log10();
    Ok(ratio.is_finite().then_some(ratio))
}
