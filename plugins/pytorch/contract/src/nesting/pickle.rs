//! How deeply the values of a pickle are nested, by the opcodes that libtorch's unpickler knows.

use super::MAX_PICKLED;
use std::collections::HashMap;

/// Checks that the values of a pickle are not nested deeper than [`MAX_PICKLED`], and that none contains itself.
///
/// # Errors
/// A message that says which.
pub fn check(name: &str, bytes: &[u8]) -> Result<(), String> {
    let mut machine = Machine { bytes, ..Machine::default() };
    while machine.step().is_some() {}
    let depth = machine.depth().ok_or_else(|| format!("a value of `{name}` contains itself"))?;
    if depth > MAX_PICKLED {
        return Err(format!("`{name}` nests values {depth} deep, more than the limit of {MAX_PICKLED}"));
    }
    Ok(())
}

/// A value: the number of a container, or nothing for a value without content.
type Value = Option<usize>;

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// How many containers there are.
    holders: usize,
    /// Which contains which.
    edges: Vec<(usize, usize)>,
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn long(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn line(&mut self) -> Option<()> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        self.take(end + 1).map(drop)
    }

    /// A new value that contains `held`.
    fn hold(&mut self, held: impl IntoIterator<Item = Value>) {
        let holder = self.holders;
        self.holders += 1;
        self.edges.extend(held.into_iter().flatten().map(|held| (holder, held)));
        self.stack.push(Some(holder));
    }

    fn put_into(&mut self, held: Vec<Value>) -> Option<()> {
        if let Some(holder) = *self.stack.last()? {
            self.edges.extend(held.into_iter().flatten().map(|held| (holder, held)));
        }
        Some(())
    }

    fn last(&mut self, count: usize) -> Option<Vec<Value>> {
        let start = self.stack.len().checked_sub(count)?;
        Some(self.stack.split_off(start))
    }

    fn since_mark(&mut self) -> Option<Vec<Value>> {
        let start = self.marks.pop()?;
        (start <= self.stack.len()).then(|| self.stack.split_off(start))
    }

    /// One opcode; `None` at the end, and for an opcode unknown to libtorch.
    fn step(&mut self) -> Option<()> {
        match self.byte()? {
            0x80 => self.take(1).map(drop)?,
            b']' | b'}' => self.hold([]),
            b')' | b'N' | 0x88 | 0x89 => self.stack.push(None),
            b'(' => self.marks.push(self.stack.len()),
            b'q' => {
                let key = u32::from(self.byte()?);
                self.memo.insert(key, *self.stack.last()?);
            }
            b'r' => {
                let key = self.long()?;
                self.memo.insert(key, *self.stack.last()?);
            }
            b'h' => {
                let key = u32::from(self.byte()?);
                self.stack.push(*self.memo.get(&key)?);
            }
            b'j' => {
                let key = self.long()?;
                self.stack.push(*self.memo.get(&key)?);
            }
            b'K' => self.leaf(1)?,
            b'M' => self.leaf(2)?,
            b'J' => self.leaf(4)?,
            b'G' => self.leaf(8)?,
            0x8a | b'U' | 0x8c | b'C' => {
                let length = usize::from(self.byte()?);
                self.leaf(length)?;
            }
            b'X' | b'T' | b'B' => {
                let length = usize::try_from(self.long()?).ok()?;
                self.leaf(length)?;
            }
            b'c' => {
                self.line()?;
                self.line()?;
                self.stack.push(None);
            }
            0x93 => {
                self.last(2)?;
                self.stack.push(None);
            }
            b't' => {
                let held = self.since_mark()?;
                self.hold(held);
            }
            opcode @ 0x85..=0x87 => {
                let held = self.last(usize::from(opcode - 0x84))?;
                self.hold(held);
            }
            b'a' => {
                let held = self.last(1)?;
                self.put_into(held)?;
            }
            b's' => {
                let held = self.last(2)?;
                self.put_into(held)?;
            }
            b'e' | b'u' => {
                let held = self.since_mark()?;
                self.put_into(held)?;
            }
            b'R' | 0x81 => {
                let held = self.last(2)?;
                self.hold(held);
            }
            // A state; its object may not have a number yet.
            b'b' => {
                let held = self.last(2)?;
                self.hold(held);
            }
            b'Q' => {
                let held = self.last(1)?;
                self.hold(held);
            }
            b'0' => self.last(1).map(drop)?,
            b'1' => self.since_mark().map(drop)?,
            b'2' => self.stack.push(*self.stack.last()?),
            _ => return None,
        }
        Some(())
    }

    fn leaf(&mut self, length: usize) -> Option<()> {
        self.take(length)?;
        self.stack.push(None);
        Some(())
    }

    /// The deepest nesting of values; `None` if one contains itself.
    fn depth(&self) -> Option<usize> {
        let mut held_by = vec![0_usize; self.holders];
        let mut starts = vec![0_usize; self.holders + 1];
        for (holder, held) in &self.edges {
            held_by[*held] += 1;
            starts[holder + 1] += 1;
        }
        for index in 0..self.holders {
            starts[index + 1] += starts[index];
        }
        let mut ends = starts.clone();
        let mut inner = vec![0_usize; self.edges.len()];
        for (holder, held) in &self.edges {
            inner[ends[*holder]] = *held;
            ends[*holder] += 1;
        }
        let mut depths = vec![1_usize; self.holders];
        let mut ready: Vec<usize> = (0..self.holders).filter(|holder| held_by[*holder] == 0).collect();
        let mut done = 0;
        let mut deepest = 0;
        while let Some(holder) = ready.pop() {
            done += 1;
            deepest = deepest.max(depths[holder]);
            for held in &inner[starts[holder]..starts[holder + 1]] {
                depths[*held] = depths[*held].max(depths[holder] + 1);
                held_by[*held] -= 1;
                if held_by[*held] == 0 {
                    ready.push(*held);
                }
            }
        }
        (done == self.holders).then_some(deepest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [b"\x80\x02N".as_slice(), &b"\x85".repeat(depth), b"."].concat()
    }

    #[test]
    fn nesting_has_a_limit() {
        check("data.pkl", &nested(MAX_PICKLED)).unwrap();
        for depth in [MAX_PICKLED + 1, 1_000_000] {
            assert!(check("data.pkl", &nested(depth)).unwrap_err().contains(&depth.to_string()));
        }
        // Lists that are filled from the outside, through the memo.
        let mut bytes = b"\x80\x02".to_vec();
        for key in 0..5000_u32 {
            bytes.extend([b"]r".as_slice(), &key.to_le_bytes(), b"0"].concat());
        }
        for key in 0..4999_u32 {
            bytes.extend(
                [b"j".as_slice(), &key.to_le_bytes(), b"j", &(key + 1).to_le_bytes(), b"a0"].concat(),
            );
        }
        assert!(check("data.pkl", &bytes).unwrap_err().contains("5000 deep"));
    }

    #[test]
    fn a_list_that_holds_itself_is_refused() {
        let error = check("constants.pkl", b"\x80\x02]q\x00h\x00a.").unwrap_err();
        assert_eq!(error, "a value of `constants.pkl` contains itself");
    }
}
