//! Declarations and texts that the reports of runs share.

/// A difference with its sign and two decimals; a dash where there is none.
pub(in crate::commands) fn signed(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:+.2}{unit}"))
}
