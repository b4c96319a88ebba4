//! Where the entries of a text are, by key: a table made at compile time, so that none of the text is read at program
//! start.

/// A table of the keys of one text, which is passed to each call. It has more slots than keys; with a full table,
/// compilation would not end.
#[derive(Debug)]
pub struct Table<const SLOTS: usize> {
    slots: [Slot; SLOTS],
}

/// A key: its position in the text, and its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    start: u32,
    length: u16,
    /// The key's mark.
    pub mark: u16,
}

const EMPTY: Slot = Slot { start: 0, length: 0, mark: 0 };
/// The hash of no bytes, and the factor for each byte: FNV-1a.
const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

impl<const SLOTS: usize> Table<SLOTS> {
    /// A table without keys.
    pub const fn new() -> Self {
        assert!(SLOTS.is_power_of_two());
        Self { slots: [EMPTY; SLOTS] }
    }

    /// Adds the key `text[start..end]`. An existing key keeps its mark.
    pub const fn add(&mut self, text: &[u8], start: usize, end: usize, mark: u16) {
        assert!(start < end && end <= text.len() && end - start <= u16::MAX as usize);
        let mut hash = BASIS;
        let mut at = start;
        while at < end {
            hash = step(hash, text[at]);
            at += 1;
        }
        let mut place = hash as usize & (SLOTS - 1);
        while self.slots[place].length != 0 {
            if self.slots[place].is(text, start, end) {
                return;
            }
            place = (place + 1) & (SLOTS - 1);
        }
        self.slots[place] = Slot { start: start as u32, length: (end - start) as u16, mark };
    }

    /// The key composed of these parts.
    pub fn find(&self, text: &str, parts: &[&str]) -> Option<&Slot> {
        let hash = parts.iter().flat_map(|part| part.bytes()).fold(BASIS, step);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut place = hash as usize;
        loop {
            let slot = self.slots.get(place & (SLOTS - 1)).filter(|slot| slot.length != 0)?;
            if usize::from(slot.length) == length {
                let mut rest = slot.key(text);
                let is_same = parts.iter().all(|part| match rest.strip_prefix(part) {
                    Some(after) => {
                        rest = after;
                        true
                    }
                    None => false,
                });
                if is_same {
                    return Some(slot);
                }
            }
            place += 1;
        }
    }

    /// All keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.length != 0)
    }
}

impl<const SLOTS: usize> Default for Table<SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    /// The key itself.
    pub fn key<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start as usize..self.end()).unwrap_or_default()
    }

    /// Where the key ends in the text.
    pub const fn end(&self) -> usize {
        self.start as usize + self.length as usize
    }

    const fn is(&self, text: &[u8], start: usize, end: usize) -> bool {
        if self.length as usize != end - start {
            return false;
        }
        let mut at = 0;
        while at < end - start {
            if text[self.start as usize + at] != text[start + at] {
                return false;
            }
            at += 1;
        }
        true
    }
}

const fn step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn keys_are_found_whole_and_in_parts() {
        let text = "add conv2d add";
        let mut table = Table::<16>::new();
        table.add(text.as_bytes(), 0, 3, 1);
        table.add(text.as_bytes(), 4, 10, 2);
        table.add(text.as_bytes(), 11, 14, 3);
        let mark = |parts: &[&str]| table.find(text, parts).map(|slot| slot.mark);
        assert_eq!((mark(&["add"]), mark(&["conv", "2d"]), mark(&["conv"])), (Some(1), Some(2), None));
        assert_eq!((mark(&["conv2d", ""]), mark(&[]), mark(&["add "])), (Some(2), None, None));
        assert_eq!(table.keys().count(), 2);
    }
}
