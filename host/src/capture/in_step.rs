//! Two runs in step: the values that both deliver meet here, are compared and freed.
//!
//! A value stays until everything that is compared with it has arrived. The run that is ahead waits while it keeps
//! more than its share of the budget, unless the other one also waits, or delivers nothing for a while: a backend may
//! run one model at a time.

use crate::backend::{Progress, Spare};
use crate::error::{Error, Result};
use crate::model::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting run checks for cancellation.
const POLL: Duration = Duration::from_millis(50);

/// If the other run delivers nothing for this long, stop waiting for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// One of the two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// Of the reference.
    Reference = 0,
    /// Of the candidate.
    Candidate = 1,
}

/// A task that needs two values, by the names under which the runs deliver them.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The first.
    pub left: (Run, &'a str),
    /// The second, which may come from the same run.
    pub right: (Run, &'a str),
}

/// Where two runs meet.
pub struct Meeting<'a> {
    works: &'a [Work<'a>],
    /// The tasks that each value is for.
    uses: HashMap<(Run, &'a str), Vec<usize>>,
    /// How many bytes of each run may wait here.
    share: u64,
    spare: &'a Spare,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    runs: [Ahead; 2],
    held: HashMap<(Run, String), Held>,
    /// The values that each task still waits for.
    missing: Vec<u8>,
    has_failed: bool,
    /// Whether waiting has proved useless.
    is_free: bool,
}

#[derive(Clone, Copy, Default)]
struct Ahead {
    bytes: u64,
    delivered: u64,
    is_waiting: bool,
    is_over: bool,
}

struct Held {
    tensor: Arc<Tensor>,
    uses: usize,
}

impl<'a> Meeting<'a> {
    /// For these tasks; about `share` bytes of each run may wait. Memory no longer needed goes to `spare`.
    pub fn new(works: &'a [Work<'a>], share: u64, spare: &'a Spare) -> Self {
        let mut uses: HashMap<(Run, &str), Vec<usize>> = HashMap::new();
        let mut missing = Vec::with_capacity(works.len());
        for (index, work) in works.iter().enumerate() {
            let is_one = work.left == work.right;
            uses.entry(work.left).or_default().push(index);
            if !is_one {
                uses.entry(work.right).or_default().push(index);
            }
            missing.push(if is_one { 1 } else { 2 });
        }
        let state = State {
            runs: [Ahead::default(); 2],
            held: HashMap::new(),
            missing,
            has_failed: false,
            is_free: false,
        };
        Self { works, uses, share, spare, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a value that a run delivers. Calls `work` with the index of each task that now has all it needs.
    ///
    /// # Errors
    /// If the other run has failed, this one need not go on.
    pub fn deliver(
        &self,
        run: Run,
        tensor: Tensor,
        progress: &dyn Progress,
        work: &(dyn Fn(usize, &Tensor, &Tensor) + Sync),
    ) -> Result<()> {
        let name = tensor.name.clone();
        let Some(works) = self.uses.get(&(run, name.as_str())) else { return Ok(()) };
        let bytes = tensor.bytes.len() as u64;
        let mut state = self.lock();
        if state.has_failed {
            return Err(Error::cancelled());
        }
        state.runs[run as usize].bytes += bytes;
        state.runs[run as usize].delivered += 1;
        state.held.insert((run, name.clone()), Held { tensor: Arc::new(tensor), uses: works.len() });
        let mut ready = Vec::new();
        for index in works {
            state.missing[*index] = state.missing[*index].saturating_sub(1);
            if state.missing[*index] == 0 {
                let [left, right] = [self.works[*index].left, self.works[*index].right].map(|(run, name)| {
                    state.held.get(&(run, name.to_owned())).map(|held| Arc::clone(&held.tensor))
                });
                ready.extend(left.zip(right).map(|(left, right)| (*index, left, right)));
            }
        }
        drop(state);
        for (index, left, right) in ready {
            work(index, &left, &right);
            drop((left, right));
            let mut state = self.lock();
            let one = self.works[index];
            let mut done = vec![state.release(one.left)];
            if one.left != one.right {
                done.push(state.release(one.right));
            }
            drop(state);
            for tensor in done.into_iter().flatten() {
                // The other run may still be comparing with it.
                Arc::try_unwrap(tensor).into_iter().for_each(|tensor| self.spare.give(tensor.bytes));
            }
            self.changed.notify_all();
        }
        self.wait_for_the_other(run, progress);
        Ok(())
    }

    fn wait_for_the_other(&self, run: Run, progress: &dyn Progress) {
        let (own, other) = (run as usize, 1 - run as usize);
        let mut state = self.lock();
        let (mut seen, mut since) = (state.runs[other].delivered, Instant::now());
        while state.runs[own].bytes > self.share
            && !state.is_free
            && !state.runs[other].is_waiting
            && !state.runs[other].is_over
            && !state.has_failed
            && !progress.is_cancelled()
        {
            state.runs[own].is_waiting = true;
            state = self.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
            if state.runs[other].delivered != seen {
                (seen, since) = (state.runs[other].delivered, Instant::now());
            }
            state.is_free |= since.elapsed() > PATIENCE;
        }
        state.runs[own].is_waiting = false;
    }

    /// Records that a run has ended, and whether it succeeded.
    pub fn end(&self, run: Run, has_failed: bool) {
        let mut state = self.lock();
        state.runs[run as usize].is_over = true;
        state.has_failed |= has_failed;
        self.changed.notify_all();
    }

    /// The tasks that never got all they need.
    pub fn undone(&self) -> Vec<usize> {
        let state = self.lock();
        (0..self.works.len()).filter(|index| state.missing[*index] > 0).collect()
    }

    /// A panic elsewhere does not affect the counts.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts one use of a value; returns the value if that was the last.
    fn release(&mut self, (run, name): (Run, &str)) -> Option<Arc<Tensor>> {
        let key = (run, name.to_owned());
        let held = self.held.get_mut(&key)?;
        held.uses = held.uses.saturating_sub(1);
        if held.uses > 0 {
            return None;
        }
        let held = self.held.remove(&key)?;
        let ahead = &mut self.runs[run as usize];
        ahead.bytes = ahead.bytes.saturating_sub(held.tensor.bytes.len() as u64);
        Some(held.tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::NoProgress;
    use crate::model::DType;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn tensor(name: &str, bytes: usize) -> Tensor {
        Tensor {
            name: name.to_owned(),
            dtype: DType::UINT8,
            shape: vec![bytes as u64],
            bytes: vec![0; bytes],
            quantization: None,
        }
    }

    /// A hundred values of 100 bytes, from one run as fast as it can and from the other in another order. Each pair
    /// meets once, nothing is left, and the first never has much more than its share waiting.
    #[test]
    fn values_meet_once_and_the_faster_run_waits() {
        let names: Vec<String> = (0..100).map(|index| format!("v{index}")).collect();
        let works: Vec<Work<'_>> = names
            .iter()
            .map(|name| Work { left: (Run::Reference, name), right: (Run::Candidate, name) })
            .collect();
        let spare = Spare::default();
        let meeting = Meeting::new(&works, 1000, &spare);
        let met = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        let work = |_: usize, left: &Tensor, right: &Tensor| {
            assert_eq!(left.name, right.name);
            met.fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in &names {
                    meeting.deliver(Run::Reference, tensor(name, 100), &NoProgress, &work).unwrap();
                    most.fetch_max(meeting.lock().runs[0].bytes, Ordering::Relaxed);
                }
                meeting.end(Run::Reference, false);
            });
            for pair in names.chunks(2) {
                std::thread::sleep(Duration::from_millis(1));
                for name in pair.iter().rev() {
                    meeting.deliver(Run::Candidate, tensor(name, 100), &NoProgress, &work).unwrap();
                }
            }
            meeting.end(Run::Candidate, false);
        });
        assert_eq!(met.load(Ordering::Relaxed), 100);
        assert!(most.load(Ordering::Relaxed) <= 1200, "{most:?}");
        assert!(meeting.undone().is_empty());
        assert!(meeting.lock().held.is_empty());
    }

    /// Both have more than their share waiting: one must go on, or both would wait forever.
    #[test]
    fn two_runs_in_opposite_orders_do_not_wait_for_each_other() {
        let names = ["a", "b", "c", "d"];
        let works = names.map(|name| Work { left: (Run::Reference, name), right: (Run::Candidate, name) });
        let spare = Spare::default();
        let meeting = Meeting::new(&works, 1, &spare);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in names {
                    meeting.deliver(Run::Reference, tensor(name, 10), &NoProgress, &|_, _, _| {}).unwrap();
                }
                meeting.end(Run::Reference, false);
            });
            for name in names.iter().rev() {
                meeting.deliver(Run::Candidate, tensor(name, 10), &NoProgress, &|_, _, _| {}).unwrap();
            }
            meeting.end(Run::Candidate, false);
        });
        assert!(meeting.undone().is_empty());
    }

    #[test]
    fn a_run_stops_when_the_other_has_failed_and_what_is_missing_is_known() {
        let works = [Work { left: (Run::Reference, "a"), right: (Run::Candidate, "b") }];
        let spare = Spare::default();
        let meeting = Meeting::new(&works, 100, &spare);
        meeting.deliver(Run::Reference, tensor("a", 10), &NoProgress, &|_, _, _| {}).unwrap();
        meeting.end(Run::Candidate, true);
        assert!(meeting.deliver(Run::Reference, tensor("a", 10), &NoProgress, &|_, _, _| {}).is_err());
        assert_eq!(meeting.undone(), [0]);
    }
}
