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
    let sample = feed.filter(|_| !is_declared(side)).map(|feed| sample(side, feed)).unwrap_or_default();
    side.model.session.edit(vec![edits::prepare(&sample)], progress)
}

/// The model, with what the graph that is made of it says of its inputs where its file does not; `None` if there is nothing to
/// add. How many samples there are depends on it.
pub(super) fn described<'a>(
    side: &Side<'a>,
    feed: Option<Feed<'_>>,
    progress: &dyn Progress,
) -> Option<Side<'a>> {
    if side.sibling.is_some() || is_declared(side) {
        return None;
    }
    let info = prepared(side, feed, progress).ok()?.info().clone();
    Some(Side::new(side.model, Some(info), side.options.clone()))
}

fn is_declared(side: &Side<'_>) -> bool {
    side.model.info().inputs.iter().all(|input| input.shape.is_some())
}

/// One sample for each input; none if they do not fit, which the run will explain.
fn sample(side: &Side<'_>, feed: Feed<'_>) -> Vec<Tensor> {
    let fitted = feed.input.samples(0, 1).fit(side.model.info(), side.sibling.as_ref());
    fitted.map(|fitted| fitted.tensors).unwrap_or_default()
}
