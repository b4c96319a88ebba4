//! Elements in memory as stored, decoded where they are needed: a whole tensor, or the part needed while another one
//! is read.

use super::Elements;
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How many bytes are read ahead at once.
const AHEAD_BYTES: usize = 1 << 20;

/// How many pieces may wait to be taken.
const PIECES_AHEAD: usize = 2;

/// Neighbouring elements in memory.
pub struct Stretch<'a> {
    elements: &'a Elements<'a>,
    /// The index of the first element, which begins at a byte boundary.
    first: u64,
    bytes: Cow<'a, [u8]>,
}

impl Stretch<'_> {
    /// Appends the numbers of `count` elements starting at `first`; fewer at the end, none before the beginning.
    pub fn decode(&self, first: u64, count: usize, numbers: &mut Vec<f64>) {
        let index = first.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index else { return };
        let element = self.elements.element;
        let begin = numbers.len();
        match index.checked_mul(element.bits() as usize) {
            Some(bits) if bits % 8 == 0 => {
                let rest = self.bytes.get(bits / 8..).unwrap_or_default();
                numbers.resize(begin + count.min(element.elements_in(rest.len())), 0.0);
                element.decode_to(rest, &mut numbers[begin..]);
            }
            _ => numbers.extend(
                (index..index.saturating_add(count)).map_while(|index| element.get(&self.bytes, index)),
            ),
        }
        if let Some(dequantization) = &self.elements.dequantization
            && let Ok(list) = dequantization.list()
        {
            // The counts were compared when the parameters were read.
            let _ = dequantization.apply(first, &mut numbers[begin..], list);
        }
    }
}

impl Elements<'_> {
    /// The whole tensor.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn in_memory(&self, progress: &dyn Progress) -> Result<Stretch<'_>> {
        let mut bytes = Vec::new();
        self.each_chunk(progress, &mut |chunk, _| {
            bytes.extend_from_slice(chunk.bytes);
            Ok(())
        })?;
        Ok(Stretch { elements: self, first: 0, bytes: Cow::Owned(bytes) })
    }

    /// Passes on the whole tensor, without a copy, if the backend has it in one piece. Returns whether it does.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn in_one_piece(
        &self,
        progress: &dyn Progress,
        take: &mut dyn FnMut(&Stretch<'_>) -> Result<()>,
    ) -> Result<bool> {
        let mut has_more = false;
        let outcome = self.each_chunk(progress, &mut |chunk, _| {
            has_more = !chunk.is_last;
            if has_more {
                return Err(Error::cancelled());
            }
            take(&Stretch { elements: self, first: chunk.first_element, bytes: Cow::Borrowed(chunk.bytes) })
        });
        if has_more { Ok(false) } else { outcome.map(|()| true) }
    }

    /// Calls `take` while a separate thread reads the elements, a little ahead.
    ///
    /// # Errors
    /// As [`Self::each_block`]; the error of `take`.
    pub fn read_ahead<T>(
        &self,
        progress: &dyn Progress,
        take: impl FnOnce(&mut Ahead<'_>) -> Result<T>,
    ) -> Result<T> {
        let (sender, pieces) = sync_channel(PIECES_AHEAD);
        let (spare, spares) = channel();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.send(progress, sender, &spares));
            let taken = take(&mut Ahead { pieces, spare, current: None });
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            match (read, taken) {
                // It stopped because the receiver is gone.
                (Err(stopped), Err(error)) if stopped.kind() == ErrorKind::Cancelled => Err(error),
                (Err(error), _) => Err(error),
                (Ok(()), taken) => taken,
            }
        })
    }

    fn send<'a>(
        &'a self,
        progress: &dyn Progress,
        pieces: SyncSender<Stretch<'a>>,
        spares: &Receiver<Vec<u8>>,
    ) -> Result<()> {
        let bits = u64::from(self.element.bits().max(1));
        self.each_chunk(progress, &mut |chunk, _| {
            let mut first = chunk.first_element;
            for part in chunk.bytes.chunks(AHEAD_BYTES) {
                let mut bytes = spares.try_recv().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(part);
                let piece = Stretch { elements: self, first, bytes: Cow::Owned(bytes) };
                pieces.send(piece).map_err(|_| Error::cancelled())?;
                first += part.len() as u64 * 8 / bits;
            }
            Ok(())
        })
    }
}

/// The elements of a tensor that is being read, in order.
pub struct Ahead<'a> {
    pieces: Receiver<Stretch<'a>>,
    /// Where buffers are returned to.
    spare: Sender<Vec<u8>>,
    current: Option<Stretch<'a>>,
}

impl Ahead<'_> {
    /// Appends the numbers of `count` elements starting at `first`, which must not lie before one that was taken;
    /// fewer at the end, and if the tensor cannot be read any further.
    pub fn decode(&mut self, first: u64, count: usize, numbers: &mut Vec<f64>) {
        let end = numbers.len() + count;
        let mut next = first;
        loop {
            if let Some(piece) = &self.current {
                let begin = numbers.len();
                piece.decode(next, end - begin, numbers);
                next += (numbers.len() - begin) as u64;
            }
            if numbers.len() >= end {
                return;
            }
            let Ok(piece) = self.pieces.recv() else { return };
            if let Some(Stretch { bytes: Cow::Owned(bytes), .. }) = self.current.replace(piece) {
                let _ = self.spare.send(bytes);
            }
        }
    }
}
