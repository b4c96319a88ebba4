//! A report as one JSON document.

use crate::error::Error;
use crate::printable;
use crate::render::report::Report;
use serde_json::{Value, json};

/// The report's value: indented for a terminal, on one line for a program.
pub fn report(report: &Report, is_for_people: bool) -> String {
    document(report.value(), is_for_people)
}

/// The document for a failed command, instead of a result.
pub fn error(error: &Error) -> String {
    document(&json!({ "error": error }), false)
}

/// A value: indented for a terminal, on one line for a program.
pub fn document(value: &Value, is_for_people: bool) -> String {
    let text = if is_for_people { format!("{value:#}\n") } else { format!("{value}\n") };
    printable::json(&text).into_owned()
}
