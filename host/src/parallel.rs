//! The same work on many items, on several cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many threads can run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The results of `work` for each number below `count`, in order, on at most this many threads, including this one. The
/// numbers are taken in order.
pub fn map<R: Send>(count: usize, most_threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let found: Vec<Mutex<Option<R>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let run = || {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(slot) = found.get(index)
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(index));
        }
    };
    std::thread::scope(|scope| {
        (1..most_threads.min(count)).for_each(|_| {
            scope.spawn(run);
        });
        run();
    });
    let slots = found.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    slots.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn results_come_in_order_and_from_no_more_threads_than_allowed() {
        for threads in [0, 1, 3, 100] {
            let seen = Mutex::new(HashSet::new());
            let squares = map(50, threads, |number| {
                seen.lock().unwrap().insert(std::thread::current().id());
                number * number
            });
            assert_eq!(squares, (0..50).map(|number| number * number).collect::<Vec<_>>());
            assert!(seen.into_inner().unwrap().len() <= threads.max(1));
        }
        assert!(map(0, 8, |number| number).is_empty());
    }
}
