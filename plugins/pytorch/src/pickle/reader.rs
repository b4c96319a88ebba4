//! A cursor over the bytes of a pickle: every read is checked, every error says where.

use qp_abi::sdk::{BackendError, Result};

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where the frame ends that the position is in, or was in last.
    frame_end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, frame_end: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn error(&self, what: impl std::fmt::Display) -> BackendError {
        BackendError::corrupt_file(format!("the pickle is damaged near byte {}: {what}", self.position))
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let start = self.position;
        let end = usize::try_from(count).ok().and_then(|count| start.checked_add(count));
        let taken = end.and_then(|end| self.bytes.get(start..end));
        let taken = taken.ok_or_else(|| self.error("it ends too early"))?;
        self.advance(taken.len())?;
        Ok(taken)
    }

    /// Begins a frame. What reaches over its end is read in one way by CPython's unpickler in C, which loses the
    /// part within, and in another by everybody else.
    pub(super) fn frame(&mut self, length: u64) -> Result<()> {
        if self.position < self.frame_end {
            return Err(self.error("a frame begins within another"));
        }
        let end = usize::try_from(length).ok().and_then(|length| self.position.checked_add(length));
        let end = end.filter(|end| *end <= self.bytes.len());
        self.frame_end = end.ok_or_else(|| self.error("a frame extends past the end"))?;
        Ok(())
    }

    fn advance(&mut self, count: usize) -> Result<()> {
        let end = self.position + count;
        if self.position < self.frame_end && end > self.frame_end {
            return Err(self.error("an opcode extends past the end of its frame"));
        }
        self.position = end;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| self.error("it ends too early"))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A float; the one number of pickles that is big-endian.
    pub(super) fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// A count of bytes that some opcodes write with a sign.
    pub(super) fn signed_length(&mut self) -> Result<u64> {
        let length = self.i32()?;
        u64::try_from(length).map_err(|_| self.error("a length is negative"))
    }

    /// The bytes up to the next line feed, which is consumed.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length =
            rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.error("a line has no end"))?;
        self.advance(length + 1)?;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// A line of text.
    pub(super) fn text_line(&mut self) -> Result<&'a str> {
        let line = self.line()?;
        std::str::from_utf8(line).map_err(|_| self.error("a name is not UTF-8"))
    }

    /// A line of text that is not empty, as names are.
    pub(super) fn name_line(&mut self) -> Result<&'a str> {
        let line = self.text_line()?;
        if line.is_empty() { Err(self.error("a name is empty")) } else { Ok(line) }
    }

    /// A line with a number, which CPython reads as C does: up to a NUL.
    pub(super) fn number_line(&mut self) -> Result<&'a str> {
        let line = self.line()?;
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(line).map_err(|_| self.error("a number is invalid"))
    }

    /// A text of that many bytes. Python writes lone surrogates too (`surrogatepass`): they are replaced.
    pub(super) fn text(&mut self, length: u64) -> Result<Box<str>> {
        let mut rest = self.take(length)?;
        let mut text = String::new();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) if text.is_empty() => return Ok(valid.into()),
                Ok(valid) => {
                    text.push_str(valid);
                    return Ok(text.into());
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            let [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] = invalid else {
                return Err(self.error("a text is not UTF-8"));
            };
            text.push_str(&String::from_utf8_lossy(valid));
            text.push(char::REPLACEMENT_CHARACTER);
            rest = after;
        }
    }
}
