//! Memory that qp and a worker share: an anonymous file that both map.
//!
//! The first page holds what the worker is doing and whether it should stop; the slots behind it hold results, filled and
//! emptied in turn: a worker computes on while qp is busy with what it has delivered. Inputs have memory of their own, as large
//! as they need.

use memmap2::MmapRaw;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes before the results.
const HEAD_BYTES: usize = 4096;
/// Tensors begin at multiples of this.
pub(super) const ALIGNMENT: usize = 64;
/// Bytes of one slot of the memory for results.
pub(super) const SLOT_BYTES: usize = 1 << 20;
/// How many slots a worker may fill before qp has emptied the first.
pub(super) const SLOTS: usize = 32;
/// As many slots keep their memory when a command needs none.
const KEPT_SLOTS: usize = 2;
/// The others lose it at the end of so many commands: of the one that has filled them, and of one that has not.
const RELEASED_AFTER: u32 = 2;

/// The words of the first page.
const STOP: usize = 0;
const SEQUENCE: usize = 1;
const DONE: usize = 2;
const TOTAL: usize = 3;
const STAGE_LENGTH: usize = 4;
const STAGE: usize = 5;
const STAGE_WORDS: usize = 32;
const TAKEN: usize = STAGE + STAGE_WORDS;
const RELEASES: usize = TAKEN + 1;

/// An anonymous file in memory, mapped.
pub(super) struct Shared {
    file: File,
    map: MmapRaw,
    /// How many commands have ended since slots were filled.
    unfilled: AtomicU32,
}

impl Shared {
    /// New memory of this many bytes, all zero.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let file = anonymous()?;
        file.set_len(bytes.max(HEAD_BYTES) as u64)?;
        // Neither side can take away what the other has mapped.
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let _ =
            rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::GROW);
        Self::of(file)
    }

    /// New memory for results.
    pub(super) fn for_results() -> io::Result<Self> {
        Self::new(HEAD_BYTES + SLOTS * SLOT_BYTES)
    }

    /// The memory that the other side has made.
    pub(super) fn received(descriptor: OwnedFd) -> io::Result<Self> {
        Self::of(File::from(descriptor))
    }

    fn of(file: File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { file, map, unfilled: AtomicU32::new(RELEASED_AFTER) })
    }

    /// To pass it on.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Copies bytes to this place.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        // SAFETY: `check` has made sure that the place lies within the map, which is writable; nobody has a reference to it: this
        // side only writes there, and the other one reads it only between being told so and telling that it has.
        #[expect(unsafe_code, reason = "memory that two processes share")]
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len());
        }
        Ok(())
    }

    /// The bytes at this place.
    pub(super) fn read(&self, offset: usize, bytes: usize) -> io::Result<&[u8]> {
        self.check(offset, bytes)?;
        // SAFETY: `check` has made sure that the place lies within the map; the other side has filled it before it said so, and
        // writes there again only when it is told that it is free, after this borrow.
        #[expect(unsafe_code, reason = "memory that two processes share")]
        Ok(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), bytes) })
    }

    /// Where a slot begins.
    pub(super) fn slot(index: usize) -> usize {
        HEAD_BYTES + index * SLOT_BYTES
    }

    /// Gets the memory of a slot from the system at once: page by page, as it is filled, takes several times as long.
    pub(super) fn prepare_slot(&self, index: usize) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, Self::slot(index), SLOT_BYTES);
        #[cfg(not(target_os = "linux"))]
        let _ = index;
    }

    /// Notes that a slot was filled.
    pub(super) fn note_filled(&self) {
        self.unfilled.store(0, Ordering::Relaxed);
    }

    /// A command is over: if it is the first since then that has filled no slot, gives the memory of all but the first ones back to
    /// the system, where it can.
    pub(super) fn rest(&self) {
        let ended = self.unfilled.load(Ordering::Relaxed).saturating_add(1);
        self.unfilled.store(ended, Ordering::Relaxed);
        if ended != RELEASED_AFTER {
            return;
        }
        let kept = Self::slot(KEPT_SLOTS);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.len().checked_sub(kept) {
            use rustix::fs::FallocateFlags as Flags;
            let hole = Flags::PUNCH_HOLE | Flags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(&self.file, hole, kept as u64, bytes as u64);
            self.set_word(RELEASES, self.releases() + 1);
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = kept;
    }

    /// How often slots have lost their memory.
    pub(super) fn releases(&self) -> u64 {
        self.word(RELEASES)
    }

    /// Forgets what was noted and wanted, before the worker gets something to do.
    pub(super) fn begin(&self) {
        self.set_word(STOP, 0);
        self.set_word(TAKEN, 0);
        self.note("", 0, 0);
    }

    /// Tells that the worker has taken up what it was told to do.
    pub(super) fn take_up(&self) {
        self.set_word(TAKEN, 1);
    }

    /// Whether the worker has begun since [`Self::begin`].
    pub(super) fn is_taken_up(&self) -> bool {
        self.word(TAKEN) != 0
    }

    /// Asks the worker to stop.
    pub(super) fn stop(&self) {
        self.set_word(STOP, 1);
    }

    /// Whether the worker should stop.
    pub(super) fn is_stop_wanted(&self) -> bool {
        self.word(STOP) != 0
    }

    /// Notes what the worker does. One thread at a time may.
    pub(super) fn note(&self, stage: &str, done: u64, total: u64) {
        let length = stage.floor_char_boundary(STAGE_WORDS * 8);
        let bytes = stage.as_bytes().get(..length).unwrap_or_default();
        // An odd number while it is being written.
        let sequence = self.word(SEQUENCE);
        self.set_word(SEQUENCE, sequence.wrapping_add(1));
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.set_word(STAGE + index, u64::from_le_bytes(word));
        }
        self.set_word(STAGE_LENGTH, length as u64);
        self.set_word(DONE, done);
        self.set_word(TOTAL, total);
        self.set_word(SEQUENCE, sequence.wrapping_add(2));
    }

    /// What the worker does, if it has noted something since the sequence number `since`; with the new number.
    pub(super) fn noted(&self, since: u64) -> Option<(u64, String, u64, u64)> {
        let sequence = self.word(SEQUENCE);
        if sequence == since || sequence % 2 == 1 {
            return None;
        }
        let length = usize::try_from(self.word(STAGE_LENGTH)).unwrap_or(0).min(STAGE_WORDS * 8);
        let words = (0..length.div_ceil(8)).flat_map(|index| self.word(STAGE + index).to_le_bytes());
        let bytes: Vec<u8> = words.take(length).collect();
        let found = (self.word(DONE), self.word(TOTAL));
        let stage = String::from_utf8(bytes).ok()?;
        (self.word(SEQUENCE) == sequence).then_some((sequence, stage, found.0, found.1))
    }

    fn word(&self, index: usize) -> u64 {
        self.atomic(index).load(Ordering::SeqCst)
    }

    fn set_word(&self, index: usize, value: u64) {
        self.atomic(index).store(value, Ordering::SeqCst);
    }

    fn atomic(&self, index: usize) -> &AtomicU64 {
        // The constants above are all within the first page, and `received` may be given less.
        debug_assert!((index + 1) * 8 <= HEAD_BYTES);
        let index = if (index + 1) * 8 <= self.map.len() { index } else { 0 };
        // SAFETY: the word lies within the map (a map has at least one page), is aligned as the map begins at a page, and is used
        // as an atomic by both sides and in no other way.
        #[expect(unsafe_code, reason = "memory that two processes share")]
        unsafe {
            AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index))
        }
    }

    fn check(&self, offset: usize, bytes: usize) -> io::Result<()> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.map.len() => Ok(()),
            _ => Err(io::Error::other("a place is outside of the shared memory")),
        }
    }
}

/// A file that has no name, in memory where the system has that.
fn anonymous() -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if let Ok(descriptor) = rustix::fs::memfd_create(
        "qp",
        rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING,
    ) {
        return Ok(File::from(descriptor));
    }
    tempfile::tempfile()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn slots_keep_their_memory_until_a_command_fills_none() {
        use std::os::unix::fs::MetadataExt;
        let memory = Shared::for_results().unwrap();
        memory.rest();
        assert_eq!(memory.releases(), 0, "there is nothing to give back");
        let bytes = || memory.file.metadata().unwrap().blocks() * 512;
        let full = vec![7; SLOT_BYTES];
        (0..SLOTS).for_each(|slot| memory.write(Shared::slot(slot), &full).unwrap());
        memory.note_filled();
        memory.rest();
        assert!(bytes() >= (SLOTS * SLOT_BYTES) as u64, "{}", bytes());
        memory.rest();
        // Once.
        memory.rest();
        assert_eq!(memory.releases(), 1);
        assert!(bytes() <= (KEPT_SLOTS * SLOT_BYTES + 2 * HEAD_BYTES) as u64, "{}", bytes());
        assert_eq!(memory.read(Shared::slot(KEPT_SLOTS - 1), SLOT_BYTES).unwrap(), full);
        assert_eq!(memory.read(Shared::slot(KEPT_SLOTS), SLOT_BYTES).unwrap(), vec![0; SLOT_BYTES]);
        memory.prepare_slot(SLOTS - 1);
        memory.write(Shared::slot(SLOTS - 1), &full).unwrap();
        assert_eq!(memory.read(Shared::slot(SLOTS - 1), SLOT_BYTES).unwrap(), full);
    }

    #[test]
    fn both_sides_see_the_same_memory_and_nothing_beyond_it() {
        let one = Shared::for_results().unwrap();
        let other = Shared::received(one.descriptor().try_clone_to_owned().unwrap()).unwrap();
        let place = Shared::slot(SLOTS - 1);
        one.write(place, &[1, 2, 3]).unwrap();
        assert_eq!(other.read(place, 3).unwrap(), [1, 2, 3]);
        assert!(other.read(place, SLOT_BYTES).is_ok());
        assert!(other.read(place, SLOT_BYTES + 1).is_err() && other.read(usize::MAX, 2).is_err());
        assert!(one.write(other.len(), &[1]).is_err());
        one.begin();
        assert!(!other.is_stop_wanted() && !one.is_taken_up());
        other.take_up();
        assert!(one.is_taken_up());
        one.stop();
        assert!(other.is_stop_wanted());
        other.note("läuft", 3, 4);
        assert_eq!(one.noted(0), Some((4, "läuft".to_owned(), 3, 4)));
        assert_eq!(one.noted(4), None);
        other.note(&"ä".repeat(1000), 0, 0);
        assert_eq!(one.noted(4).unwrap().1.chars().count(), 128);
    }
}
