//! The graph cleaned up, before anything in it gets codes.

use super::edits;
use crate::backend::{Progress, Session};
use crate::capture::{Feed, Side};
use crate::error::Result;
use crate::model::Tensor;

/// The model with its graph cleaned up. The file of an eager model does not say how many dimensions its inputs have; the
/// samples do.
///
/// # Errors
/// Those of the backend.
pub(super) fn prepared(side: &Side<'_>, feed: Option<Feed<'_>>, progress: &dyn Progress) -> Result<Session> {
    let own = &side.model.session;
    let is_declared = own.info().inputs.iter().all(|input| input.shape.is_some());
    let sample = feed.filter(|_| !is_declared).map(|feed| sample(side, feed)).unwrap_or_default();
    own.edit(vec![edits::prepare(&sample)], progress)
}

/// One sample for each input; none if they do not fit, which the run will explain.
fn sample(side: &Side<'_>, feed: Feed<'_>) -> Vec<Tensor> {
    let fitted = feed.input.samples(0, 1).fit(side.model.info(), side.sibling.as_ref());
    fitted.map(|fitted| fitted.tensors).unwrap_or_default()
}
