//! Single keys from the terminal, without taking more than the key: what is typed ahead belongs to the prompt.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::Stdin;

/// The bytes of an escape sequence follow each other at once.
const SEQUENCE_NANOSECONDS: i64 = 30_000_000;

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter.
    Letter(char),
    /// Enter, or an arrow downwards.
    Down,
    /// Page Down.
    PageDown,
    /// End.
    End,
    /// Escape, Ctrl-C or Ctrl-D, or the terminal is gone.
    Stop,
}

/// The terminal while it gives key by key; dropped, it is as before.
pub struct Keyboard {
    input: Stdin,
    before: Termios,
}

impl Keyboard {
    /// `None` if standard input is no terminal.
    pub fn new() -> Option<Self> {
        let input = std::io::stdin();
        let before = tcgetattr(&input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // Newlines of results still return to the first column.
        raw.output_modes = before.output_modes;
        tcsetattr(&input, OptionalActions::Drain, &raw).ok()?;
        Some(Self { input, before })
    }

    /// Whether something was typed already.
    pub fn is_waiting(&self) -> bool {
        self.has_more(0)
    }

    /// Waits for the next key; `None` for one without a meaning.
    pub fn read(&self) -> Option<Key> {
        Some(match self.byte() {
            None | Some(3 | 4) => Key::Stop,
            Some(b'\r' | b'\n') => Key::Down,
            Some(0x1b) if !self.has_more(SEQUENCE_NANOSECONDS) => Key::Stop,
            Some(0x1b) => return self.sequence(),
            Some(letter) => Key::Letter(letter.into()),
        })
    }

    /// The rest of `ESC [ …` or `ESC O …`.
    fn sequence(&self) -> Option<Key> {
        let mut sequence = Vec::new();
        while self.has_more(SEQUENCE_NANOSECONDS) {
            let byte = self.byte()?;
            sequence.push(byte);
            let is_first = sequence.len() == 1;
            if !is_first && (byte.is_ascii_alphabetic() || byte == b'~') {
                break;
            }
        }
        match sequence.as_slice() {
            b"[B" | b"OB" => Some(Key::Down),
            b"[6~" => Some(Key::PageDown),
            b"[F" | b"OF" | b"[4~" | b"[8~" => Some(Key::End),
            _ => None,
        }
    }

    fn byte(&self) -> Option<u8> {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.input, &mut byte) {
                Ok(0) => return None,
                Ok(_) => return Some(byte[0]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    fn has_more(&self, nanoseconds: i64) -> bool {
        let wait = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&wait)).is_ok_and(|count| count > 0)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(&self.input, OptionalActions::Drain, &self.before);
    }
}
