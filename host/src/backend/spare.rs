//! Recycles the memory of tensors: fresh pages cost more than the copy into them.

use std::sync::{Mutex, PoisonError};

/// How much is kept by default.
const MOST: u64 = 64 << 20;

/// Buffers to be reused.
#[derive(Debug)]
pub struct Spare {
    kept: Mutex<Vec<Vec<u8>>>,
    most: u64,
}

impl Default for Spare {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Spare {
    /// Keeps about `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// An empty buffer for this many bytes, with less room where there is not so much memory.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Keep a much larger buffer for something that needs it.
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= bytes && buffer.capacity() / 2 <= bytes;
        match kept.iter().position(fits) {
            Some(place) => kept.swap_remove(place),
            None => with_room(bytes),
        }
    }

    /// Keeps a buffer; if there are too many, drops the oldest.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(buffer);
        let mut bytes: u64 = kept.iter().map(|buffer| buffer.capacity() as u64).sum();
        while bytes > self.most && !kept.is_empty() {
            bytes -= kept.remove(0).capacity() as u64;
        }
    }
}

/// An empty buffer for this many bytes. Where there is not so much memory it has no room yet: a tensor may claim more than comes.
pub(super) fn with_room(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::new();
    let _ = buffer.try_reserve_exact(bytes);
    buffer
}

#[cfg(test)]
mod tests {
    use super::Spare;

    #[test]
    fn a_buffer_is_used_again_for_what_has_about_its_size() {
        let spare = Spare::new(1000);
        let mut buffer = spare.take(400);
        buffer.extend([1; 400]);
        let place = buffer.as_ptr();
        spare.give(buffer);
        let small = spare.take(100);
        assert_ne!(small.as_ptr(), place);
        let again = spare.take(300);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        spare.give(again);
        spare.give(vec![0; 800]);
        // 400 and 800 are more than 1000: the older went.
        let other = spare.take(300);
        assert!(other.capacity() < 400, "{}", other.capacity());
    }
}
