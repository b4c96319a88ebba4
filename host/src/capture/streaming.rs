//! Every value of a model over all samples of an input, each tensor seen once and then freed.

use super::batch::Feed;
use super::side::{OnlyCancel, Side};
use crate::backend::{Fetch, Progress, RunReport, Spare};
use crate::error::{Error, Result};
use crate::model::{DType, Tensor, element_count};

/// What was run.
#[derive(Debug, Default)]
pub struct Streamed {
    /// How many samples every value was captured for.
    pub samples: u64,
    /// In how many groups the values were captured.
    pub groups: usize,
    /// What the runtime reported for the last run.
    pub report: Option<RunReport>,
    /// Why it is incomplete.
    pub stopped: Option<Error>,
}

/// Splits values into groups whose tensors for one batch take no more than `budget` bytes together; a value of
/// unknown size counts as nothing, and one that is larger forms its own group.
pub fn groups(side: &Side<'_>, names: &[String], batch: u64, budget: u64) -> Vec<Vec<String>> {
    let info = side.model.info();
    let values = info.values_by_name();
    let bytes = |name: &String| {
        let value = values.get(name.as_str())?;
        let shape: Vec<u64> =
            value.shape.as_ref()?.iter().map(|dimension| dimension.size().unwrap_or(batch)).collect();
        let dtype = if value.dtype == DType::UNDEFINED { DType::FLOAT32 } else { value.dtype };
        dtype.packed_bytes(element_count(&shape)?)
    };
    let (mut groups, mut size): (Vec<Vec<String>>, u64) = (Vec::new(), 0);
    for name in names {
        let own = bytes(name).unwrap_or(0);
        match groups.last_mut() {
            Some(group) if size.saturating_add(own) <= budget => group.push(name.clone()),
            _ => {
                groups.push(vec![name.clone()]);
                size = 0;
            }
        }
        size = size.saturating_add(own);
    }
    groups
}

/// Runs the model on all samples, once per group of values, and passes on each tensor.
///
/// # Errors
/// Those of the backend and of `receive`; `Cancelled` if no batch was captured before.
pub fn each_tensor(
    side: &Side<'_>,
    groups: &[Vec<String>],
    feed: Feed<'_>,
    progress: &dyn Progress,
    receive: &mut dyn FnMut(&Tensor) -> Result<()>,
) -> Result<Streamed> {
    let mut streamed = Streamed { groups: groups.len(), ..Streamed::default() };
    let spare = Spare::default();
    let mut receive = |tensor: Tensor| {
        receive(&tensor)?;
        spare.give(tensor.bytes);
        Ok(())
    };
    for (place, group) in groups.iter().enumerate() {
        let batches = feed.batches(&[side])?;
        let (fetch, wanted, mut done) = (Fetch::Named(group.clone()), batches.samples(), 0);
        let total = wanted * groups.len() as u64;
        for (count, batch) in batches {
            progress.update("capturing samples", wanted * place as u64 + done, total);
            let fitted = batch.fit(side.model.info(), side.sibling.as_ref())?;
            let session = &side.model.session;
            let outcome = session.run_each(
                &fitted.tensors,
                &fetch,
                &side.options,
                (&spare, &mut receive),
                &OnlyCancel(progress),
            );
            if progress.is_cancelled() {
                let error = Error::cancelled()
                    .with_cause(format!("{done} of {wanted} samples were captured in group {}", place + 1));
                if done == 0 && place == 0 {
                    return Err(error);
                }
                streamed.stopped = Some(error);
                return Ok(streamed);
            }
            streamed.report = Some(outcome?);
            done += count;
            if place == 0 {
                streamed.samples = done;
            }
        }
    }
    Ok(streamed)
}
