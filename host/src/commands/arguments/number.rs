//! Numbers among a command's words, with errors in words for anything else or out of range.

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

/// Memory for captured values unless the user says otherwise: a smaller budget makes more pieces, at hardly any cost in time.
pub(in crate::commands) const BUDGET: &str = "128MiB";
/// The same in bytes.
pub(in crate::commands) const BUDGET_BYTES: u64 = 128 << 20;

/// Reads a size such as `256MiB`.
pub(in crate::commands) fn size(text: &str) -> Result<u64, String> {
    crate::render::number::parse_bytes(text).ok_or_else(|| "it takes a size, as in 256MiB".to_owned())
}

/// Reads a difference of accuracies: `1pp` or `0.5 %`. A bare number is refused: it could also be a share.
pub(in crate::commands) fn margin(text: &str) -> Result<f64, String> {
    let points = ["pp", "%"].into_iter().find_map(|unit| text.strip_suffix(unit));
    let share = points.and_then(|points| points.trim().parse::<f64>().ok()).map(|points| points / 100.0);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "it takes percentage points, as in 1pp".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{BUDGET, BUDGET_BYTES, margin, size};

    #[test]
    fn the_budget_is_the_same_in_words_and_bytes() {
        assert_eq!(size(BUDGET), Ok(BUDGET_BYTES));
    }

    #[test]
    fn a_margin_has_a_unit() {
        for text in ["1pp", "1 pp", "1%"] {
            assert_eq!(margin(text), Ok(0.01), "{text}");
        }
        for text in ["1", "0.01", "200pp", "-1pp", "x"] {
            assert!(margin(text).is_err(), "{text}");
        }
    }
}
