//! Delivers what a run computes: copies it into slots of shared memory, and tells qp of them.

use super::link::Link;
use super::message::{Answer, Order, Place, Placed};
use super::shared::{ALIGNMENT, SLOT_BYTES, SLOTS, Shared};
use qp_abi::abi_stable::std_types::RResult;
use qp_abi::sink::TensorSink;
use qp_abi::{BackendError, TensorView};
use std::collections::{HashSet, VecDeque};
use std::io;

/// A smaller rest of a slot is left empty rather than filled with a piece of a tensor.
const LEAST_PIECE: usize = SLOT_BYTES / 8;
/// How many slots may be filled before it has shown that more are of use.
const LEAST_LEAD: usize = 2;

/// Sends tensors as they are computed.
pub(super) struct Sending<'a> {
    link: &'a mut Link,
    results: &'a Shared,
    /// The slot that is being filled.
    slot: usize,
    /// How far it is filled.
    used: usize,
    /// Those that qp has not emptied, in the order in which it does.
    busy: VecDeque<usize>,
    slots: &'a mut Slots,
    /// What went wrong with the socket.
    failure: Option<io::Error>,
}

impl TensorSink for Sending<'_> {
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError> {
        if self.failure.is_some() {
            return RResult::RErr(BackendError::cancelled());
        }
        match self.send(&view) {
            Ok(true) => RResult::ROk(()),
            Ok(false) => RResult::RErr(BackendError::cancelled()),
            Err(error) => {
                self.failure = Some(error);
                RResult::RErr(BackendError::cancelled())
            }
        }
    }
}

impl<'a> Sending<'a> {
    pub(super) fn new(link: &'a mut Link, results: &'a Shared, slots: &'a mut Slots) -> Self {
        Self { link, results, slot: 0, used: 0, busy: VecDeque::new(), slots, failure: None }
    }

    /// What went wrong with the socket.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }

    /// Sends a tensor in as many pieces as it needs; false if qp wants no more.
    fn send(&mut self, view: &TensorView<'_>) -> io::Result<bool> {
        let bits = view.dtype.bits() as usize;
        if bits == 0 {
            // The elements of a text tensor have no fixed size: it is not divided.
            self.link.push(&Answer::Piece(Placed::of(
                view,
                view.first_element,
                Place::Here(view.bytes.to_vec()),
            )))?;
            self.link.flush()?;
            return Ok(true);
        }
        let (mut rest, mut first_element) = (view.bytes.as_slice(), view.first_element);
        loop {
            let room = SLOT_BYTES - self.used;
            if room < rest.len().min(LEAST_PIECE) && !self.turn()? {
                return Ok(false);
            }
            let (piece, behind) = rest.split_at(rest.len().min(SLOT_BYTES - self.used));
            let offset = Shared::slot(self.slot) + self.used;
            self.results.write(offset, piece)?;
            self.used = (self.used + piece.len()).next_multiple_of(ALIGNMENT).min(SLOT_BYTES);
            let place = Place::Shared { offset, bytes: piece.len() };
            self.link.push(&Answer::Piece(Placed::of(view, first_element, place)))?;
            first_element += (piece.len() * 8 / bits) as u64;
            rest = behind;
            if rest.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Hands the slot over and goes on with another one; false if qp wants no more.
    fn turn(&mut self) -> io::Result<bool> {
        self.link.push(&Answer::Full)?;
        self.link.flush()?;
        self.busy.push_back(self.slot);
        loop {
            let is_ahead = self.busy.len() >= self.slots.most;
            let order = match is_ahead {
                true => self.link.receive(None)?,
                false => self.link.receive_ready()?,
            };
            match order {
                Some(Order::Free(true)) => drop(self.busy.pop_front()),
                Some(Order::Free(false)) => return Ok(false),
                Some(_) => return Err(io::Error::other("an order in the middle of a run")),
                None if !is_ahead => break,
                None => {}
            }
            self.slots.has_waited |= is_ahead;
        }
        self.slots.learn(self.busy.len());
        // The first ones are in the processor's cache, and the last ones may never take memory.
        self.slot = (0..SLOTS).find(|slot| !self.busy.contains(slot)).unwrap_or_default();
        self.used = 0;
        self.slots.prepare(self.slot, self.results);
        Ok(true)
    }
}

/// What the worker knows of the slots of one model, from one run to the next.
pub(super) struct Slots {
    /// How many may be filled: how far the worker may be ahead of qp. What qp takes soon is still in the processor's cache, so it is
    /// no further than it gains: a worker that has waited for qp, and for which qp then waits, could have used the time.
    most: usize,
    has_waited: bool,
    /// Those that have memory.
    prepared: HashSet<usize>,
    /// How often they have lost it.
    releases: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self { most: LEAST_LEAD, has_waited: false, prepared: HashSet::new(), releases: 0 }
    }
}

impl Slots {
    /// Takes note of how many slots qp has not emptied, when one more was filled.
    fn learn(&mut self, busy: usize) {
        if busy == 1 && self.has_waited {
            (self.most, self.has_waited) = ((2 * self.most).min(SLOTS), false);
        }
    }

    /// Gets memory for a slot that has none.
    fn prepare(&mut self, slot: usize, memory: &Shared) {
        let releases = memory.releases();
        if releases != self.releases {
            self.prepared.clear();
            self.releases = releases;
        }
        if self.prepared.insert(slot) {
            memory.prepare_slot(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_ahead_only_if_each_has_waited_for_the_other() {
        let mut slots = Slots::default();
        // qp keeps up, and then falls behind.
        (0..5).for_each(|_| slots.learn(1));
        slots.has_waited = true;
        (0..5).for_each(|_| slots.learn(2));
        assert_eq!(slots.most, 2);
        slots.learn(1);
        slots.learn(1);
        assert_eq!(slots.most, 4);
        for _ in 0..9 {
            slots.has_waited = true;
            slots.learn(1);
        }
        assert_eq!(slots.most, SLOTS);
    }
}
