//! The report for a pull request: what failed, and the values.

use super::{Journal, Outcome, Step};
use crate::printable;
use std::fmt::Write;

/// The document.
pub(super) fn text(journal: &Journal) -> String {
    let steps: Vec<&Step> = journal.reported().collect();
    let wrong = steps.iter().filter(|step| step.outcome() != Outcome::Passed).count();
    let verdict = match (wrong, steps.len()) {
        (0, 1) => "the check passed".to_owned(),
        (0, all) => format!("all {all} checks passed"),
        (wrong, all) => format!("{wrong} of {all} checks failed"),
    };
    let mut text = format!("## {}: {verdict}\n\n", cell(&journal.script));
    if steps.is_empty() {
        return text;
    }
    text.push_str("| | section | check | |\n|---|---|---|---|\n");
    for step in steps {
        let sign = match step.outcome() {
            Outcome::Passed => "✓",
            Outcome::Failed => "✗",
            Outcome::Broken => "error",
        };
        let why = step.error.as_ref().map(|error| {
            let causes = error.causes().iter().map(|cause| format!(": {cause}"));
            format!("{}{}", error.message(), causes.collect::<String>())
        });
        let row = [
            sign,
            &step.section,
            &step.name(&format!("`{}`", step.text.replace('`', "'"))),
            &why.unwrap_or_default(),
        ]
        .map(cell);
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// A text escaped for a table cell.
fn cell(text: &str) -> String {
    printable::line(text).replace('|', "\\|").replace(['\n', '\r'], " ")
}
