//! A socket that carries messages, each behind its length, and descriptors.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A message is at most this long: more than the changes of any model.
const MOST_BYTES: u64 = 8 << 30;
/// Bytes that are read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// Descriptors that come with one message, at most.
const MOST_DESCRIPTORS: usize = 2;
/// The length before a message.
const HEAD_BYTES: usize = 8;

/// One end of a socket.
pub(super) struct Link {
    stream: UnixStream,
    /// What was read and not used, from `start` on.
    incoming: Vec<u8>,
    start: usize,
    /// What one read puts its bytes in.
    block: Box<[u8]>,
    descriptors: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
    timeout: Option<Duration>,
    /// How long to look for a message before waiting for one: to be woken takes longer than a small model.
    pub(super) attention: Duration,
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Vec::new(),
            start: 0,
            block: vec![0; BLOCK_BYTES].into(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
            timeout: None,
            attention: Duration::ZERO,
        }
    }

    /// Adds a message to those that [`Self::flush`] sends.
    pub(super) fn push(&mut self, message: &impl Serialize) -> io::Result<()> {
        let head = self.outgoing.len();
        let mut buffer = std::mem::take(&mut self.outgoing);
        buffer.extend([0; HEAD_BYTES]);
        self.outgoing = postcard::to_extend(message, buffer).map_err(io::Error::other)?;
        let length = (self.outgoing.len() - head - HEAD_BYTES) as u64;
        if let Some(place) = self.outgoing.get_mut(head..head + HEAD_BYTES) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// Sends all messages that wait.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.flush_with(&[])
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.push(message)?;
        self.flush()
    }

    /// Sends a message and descriptors.
    pub(super) fn send_with(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.push(message)?;
        self.flush_with(descriptors)
    }

    fn flush_with(&mut self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors"));
        }
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
            match rustix::net::sendmsg(&self.stream, &[IoSlice::new(rest)], &mut control, no_signal()) {
                Ok(bytes) => {
                    sent += bytes;
                    control = SendAncillaryBuffer::default();
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.outgoing.clear();
                    return Err(error.into());
                }
            }
        }
        self.outgoing.clear();
        // A large message leaves no large buffer behind.
        self.outgoing.shrink_to(BLOCK_BYTES);
        Ok(())
    }

    /// The next message; `None` if none comes within `timeout`. The end of the other side is an error of the kind
    /// `UnexpectedEof`.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<Option<T>> {
        let begun = (!self.attention.is_zero()).then(Instant::now);
        loop {
            if let Some(message) = self.taken()? {
                return Ok(Some(message));
            }
            if begun.is_some_and(|begun| begun.elapsed() < self.attention) {
                if !self.read(RecvFlags::DONTWAIT)? {
                    std::thread::yield_now();
                }
            } else if !self.wait(timeout)? {
                return Ok(None);
            }
        }
    }

    /// The next message that has come already.
    pub(super) fn receive_ready<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.taken()? {
                return Ok(Some(message));
            }
            if !self.read(RecvFlags::DONTWAIT)? {
                return Ok(None);
            }
        }
    }

    /// A descriptor that came with a message.
    pub(super) fn descriptor(&mut self) -> io::Result<OwnedFd> {
        self.descriptors.pop_front().ok_or_else(|| io::Error::other("a descriptor is missing"))
    }

    /// A message that has come as a whole.
    fn taken<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let waiting = self.incoming.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = waiting.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u64::from_le_bytes(*head);
        if length > MOST_BYTES {
            return Err(io::Error::other("a message is too long"));
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let Some(message) = rest.get(..length) else {
            self.incoming.reserve((length - rest.len()).min(1 << 30));
            return Ok(None);
        };
        let message = postcard::from_bytes(message).map_err(io::Error::other)?;
        self.start += HEAD_BYTES + length;
        if self.start == self.incoming.len() {
            self.incoming.clear();
            self.incoming.shrink_to(BLOCK_BYTES);
            self.start = 0;
        }
        Ok(Some(message))
    }

    /// Reads what comes; false if nothing does within `timeout`.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if self.timeout != timeout {
            self.stream.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        self.read(RecvFlags::empty())
    }

    /// Reads what has come; false if nothing has.
    fn read(&mut self, flags: RecvFlags) -> io::Result<bool> {
        if self.start > 0 {
            self.incoming.drain(..self.start);
            self.start = 0;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut self.block)],
            &mut control,
            flags | on_exec(),
        );
        match received {
            Ok(received) => {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        self.descriptors.extend(descriptors);
                    }
                }
                if received.bytes == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.incoming.extend_from_slice(self.block.get(..received.bytes).unwrap_or_default());
                Ok(true)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// The other side may have ended: that is an error and no signal.
fn no_signal() -> SendFlags {
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL;
    // There the standard library has set it for the socket.
    #[cfg(target_vendor = "apple")]
    return SendFlags::empty();
}

/// Descriptors are not passed on to processes that are started.
fn on_exec() -> RecvFlags {
    #[cfg(not(target_vendor = "apple"))]
    return RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    return RecvFlags::empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_come_whole_and_in_order_with_their_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Link::new(one), Link::new(other));
        let file = tempfile::tempfile().unwrap();
        let large = vec![7_u8; 1 << 20];
        let sender = std::thread::spawn({
            let large = large.clone();
            move || {
                one.push(&1_u32).unwrap();
                one.push(&2_u32).unwrap();
                one.send_with(&3_u32, &[file.as_fd()]).unwrap();
                one.send(&large).unwrap();
                one
            }
        });
        for number in 1..=3_u32 {
            assert_eq!(other.receive::<u32>(None).unwrap(), Some(number));
        }
        other.descriptor().unwrap();
        assert!(other.descriptor().is_err());
        assert_eq!(other.receive::<Vec<u8>>(None).unwrap(), Some(large));
        let one = sender.join().unwrap();
        assert_eq!(other.receive::<u32>(Some(Duration::from_millis(5))).unwrap(), None);
        drop(one);
        let error = other.receive::<u32>(None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(other.send(&1).is_err());
    }
}
