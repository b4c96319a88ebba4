//! What models compute on the samples of calibration.

use super::Ground;
use crate::backend::{Fetch, Session, Spare};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::{BUDGET_OPTION, OnlyCancel};
use crate::error::{Error, Result};
use crate::model::Tensor;
use crate::quantization::calibration::{BUDGET, reals};
use std::collections::HashSet;

/// Passes on the values with these names, batch by batch; inputs of the model may be among them.
///
/// # Errors
/// Those of running the model and of `receive`; `Cancelled`.
pub(super) fn each_value(
    ground: &Ground<'_>,
    session: &Session,
    (names, what): (&[String], &str),
    receive: &mut dyn FnMut(&Tensor) -> Result<()>,
) -> Result<()> {
    let Ground { side, feed, progress, .. } = *ground;
    let info = session.info();
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let is_input = |name: &str| info.inputs.iter().any(|input| input.name == name);
    let computed: Vec<String> = names.iter().filter(|name| !is_input(name)).cloned().collect();
    let mut settings = side.options.clone();
    if session.plugin().has_feature(BUDGET_OPTION) {
        settings.insert(BUDGET_OPTION.to_owned(), BUDGET.to_string());
    }
    let (fetch, spare) = (Fetch::Named(computed), Spare::default());
    let batches = feed.batches(&[side])?;
    let (total, mut done) = (batches.samples(), 0);
    let fit = |batch: &crate::input::Input| Ok(batch.fit(info, side.sibling.as_ref())?.tensors);
    fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
        progress.update(what, done, total);
        fitted.iter().filter(|tensor| wanted.contains(tensor.name.as_str())).try_for_each(&mut *receive)?;
        let mut take = |tensor: Tensor| {
            receive(&tensor)?;
            spare.give(tensor.bytes);
            Ok(())
        };
        let only_cancel = OnlyCancel(progress);
        let outcome = session.run_each(&fitted, &fetch, &settings, (&spare, &mut take), &only_cancel);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        outcome?;
        done += count;
        Ok(())
    })
}

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
