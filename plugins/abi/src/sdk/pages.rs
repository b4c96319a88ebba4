//! Which pages of a mapped file hold given bytes.

use std::ops::Range;

/// The system maps this many bytes around one that is touched. Releasing fewer takes longer than keeping them.
const AROUND_BYTES: usize = 64 << 10;

/// The offset of the bytes of `part` in `whole`, if they are part of it.
pub fn offset_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset.checked_add(part.len())? <= whole.len()).then_some(offset)
}

/// The bytes of the mapped file `whole` to release once `part` of it has been read: everything that the system has
/// mapped for it. `None` if that is not worthwhile, and for bytes of something else.
pub fn pages_of(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let offset = offset_in(whole, part).filter(|_| part.len() >= AROUND_BYTES)?;
    let end = (offset + part.len()).checked_next_multiple_of(AROUND_BYTES)?;
    Some(offset / AROUND_BYTES * AROUND_BYTES..end.min(whole.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_mapped_around_is_released() {
        let whole = vec![0; 3 * AROUND_BYTES + 10];
        let part = |range: Range<usize>| pages_of(&whole, &whole[range]);
        assert_eq!(part(100..AROUND_BYTES + 200), Some(0..2 * AROUND_BYTES));
        assert_eq!(part(AROUND_BYTES..2 * AROUND_BYTES), Some(AROUND_BYTES..2 * AROUND_BYTES));
        assert_eq!(part(AROUND_BYTES + 1..whole.len()), Some(AROUND_BYTES..whole.len()));
        assert_eq!(part(0..AROUND_BYTES - 1), None);
        let other = vec![0; AROUND_BYTES];
        assert_eq!(pages_of(&whole, &other), None);
    }
}
