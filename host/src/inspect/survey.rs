//! The statistics of many tensors, read by several threads.

use super::{Elements, Summary};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::TensorInfo;
use crate::playground::Loaded;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes below which a second thread costs more than it brings.
const PARALLEL_BYTES: u64 = 8 << 20;

/// The statistics of the real values of each tensor, in the same order. A tensor that cannot be read, such as
/// one of strings or one whose scales do not fit, has an error of its own.
///
/// # Errors
/// `Cancelled`.
pub fn summaries(
    model: &Loaded,
    tensors: &[&TensorInfo],
    progress: &dyn Progress,
) -> Result<Vec<Result<Summary>>> {
    let total: u64 = tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if total < PARALLEL_BYTES { 1 } else { cores.min(tensors.len()) };
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(tensors[*index].bytes));
    let found: Vec<Mutex<Option<Result<Summary>>>> = tensors.iter().map(|_| Mutex::new(None)).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if progress.is_cancelled() {
                return;
            }
            progress.update("reading tensors", done.load(Ordering::Relaxed), total);
            let summary = Elements::values(model, tensors[index], progress)
                .and_then(|elements| elements.statistics(progress));
            done.fetch_add(tensors[index].bytes, Ordering::Relaxed);
            *found[index].lock().unwrap_or_else(PoisonError::into_inner) =
                Some(summary.map(|statistics| Summary::from(&statistics)));
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    found
        .into_iter()
        .map(|slot| match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Err(error)) if error.kind() == ErrorKind::Cancelled => Err(error),
            Some(summary) => Ok(summary),
            None => Err(Error::cancelled()),
        })
        .collect()
}
