//! Many tensors, read by several threads.

use super::{Elements, Summary};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::TensorInfo;
use crate::parallel;
use crate::playground::Loaded;
use std::sync::atomic::{AtomicU64, Ordering};

/// Below this many bytes a second thread costs more than it gains.
const PARALLEL_BYTES: u64 = 8 << 20;

/// This many threads saturate the memory bandwidth; each holds some pieces of tensors.
const MOST_THREADS: usize = 8;

/// The statistics of the real values of each tensor, in the same order. A tensor that cannot be read, such as one of
/// strings or one whose scales do not fit, has its own error.
///
/// # Errors
/// `Cancelled`.
pub fn summaries(
    model: &Loaded,
    tensors: &[&TensorInfo],
    progress: &dyn Progress,
) -> Result<Vec<Result<Summary>>> {
    let sizes: Vec<u64> = tensors.iter().map(|tensor| tensor.bytes).collect();
    each(&sizes, "reading tensors", progress, |index| {
        let elements = Elements::values(model, tensors[index], progress)?;
        Ok(Summary::from(&elements.statistics(progress)?))
    })
}

/// The result of `work` for each of some tensors with these sizes in bytes, in the same order; `what` is shown as
/// progress.
///
/// # Errors
/// `Cancelled`.
pub fn each<T: Send>(
    sizes: &[u64],
    what: &str,
    progress: &dyn Progress,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<Result<T>>> {
    let total = sizes.iter().copied().fold(0, u64::saturating_add);
    let threads = if total < PARALLEL_BYTES { 1 } else { parallel::cores().min(MOST_THREADS) };
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sizes[*index]));
    let done = AtomicU64::new(0);
    let found = parallel::map(order.len(), threads, |place| {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        progress.update(what, done.load(Ordering::Relaxed), total);
        let result = work(order[place]);
        done.fetch_add(sizes[order[place]], Ordering::Relaxed);
        result
    });
    let mut found: Vec<(usize, Result<T>)> = order.into_iter().zip(found).collect();
    found.sort_by_key(|(index, _)| *index);
    let is_over = |(_, result): &(usize, Result<T>)| matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled);
    if found.iter().any(is_over) {
        return Err(Error::cancelled());
    }
    Ok(found.into_iter().map(|(_, result)| result).collect())
}
