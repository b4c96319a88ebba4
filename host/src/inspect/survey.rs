//! Many tensors, read by several threads.

use super::{Elements, Summary};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::TensorInfo;
use crate::playground::Loaded;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Below this many bytes a second thread costs more than it gains.
const PARALLEL_BYTES: u64 = 8 << 20;

/// This many saturate the memory; each holds some pieces of tensors.
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
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let threads = if total < PARALLEL_BYTES { 1 } else { cores.min(sizes.len()) };
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sizes[*index]));
    let found: Vec<Mutex<Option<Result<T>>>> = sizes.iter().map(|_| Mutex::new(None)).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let run = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if progress.is_cancelled() {
                return;
            }
            progress.update(what, done.load(Ordering::Relaxed), total);
            let result = work(index);
            done.fetch_add(sizes[index], Ordering::Relaxed);
            *found[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(run);
        });
        run();
    });
    found
        .into_iter()
        .map(|slot| match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Err(error)) if error.kind() == ErrorKind::Cancelled => Err(error),
            Some(result) => Ok(result),
            None => Err(Error::cancelled()),
        })
        .collect()
}
