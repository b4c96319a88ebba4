//! Numbers among a command's words: what is not a number, or out of range, is said in words.

use std::ops::{Bound, RangeBounds};

/// Reads a whole number of this range.
pub(in crate::commands) fn integer_in<T: TryFrom<i64>>(
    range: impl RangeBounds<i64> + Clone + Send + Sync,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse::<i64>().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let wanted = match (range.start_bound(), range.end_bound()) {
                (Bound::Included(first), Bound::Included(last)) => format!(" from {first} to {last}"),
                (Bound::Included(first), Bound::Unbounded) => format!(" from {first} on"),
                _ => String::new(),
            };
            format!("it takes a whole number{wanted}")
        })
    }
}

/// What captured values may take in memory, unless the user says otherwise: less makes more pieces, and hardly slower ones.
pub(in crate::commands) const BUDGET: &str = "128MiB";

/// Reads a size such as `256MiB`.
pub(in crate::commands) fn size(text: &str) -> Result<u64, String> {
    crate::render::number::parse_bytes(text).ok_or_else(|| "it takes a size, as in 256MiB".to_owned())
}
