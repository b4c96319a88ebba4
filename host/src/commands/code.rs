//! What `layer --code` and `info --code` show.

use crate::error::Result;
use crate::model::Listing;
use crate::render::report::Report;
use crate::render::style::Tone;
use serde::Serialize;

/// Deeper lines are indented as these.
const MAX_DEPTH: u16 = 20;

#[derive(Serialize)]
struct Shown<'a> {
    model: &'a str,
    #[serde(flatten)]
    listing: &'a Listing,
}

/// The methods as the file has them, then all that is computed, each run of lines under the layer that computes it.
/// `path` is the layer that was asked for.
pub(super) fn report(model: &str, path: &str, listing: &Listing) -> Result<Report> {
    let mut report = Report::new(&Shown { model, listing })?;
    let of = if listing.layer.is_empty() { model } else { &listing.layer };
    let class = if listing.class.is_empty() { String::new() } else { format!("{}, ", listing.class) };
    report = report
        .toned_line([(Tone::Name, of.to_owned()), (Tone::Plain, format!("  ({class}{})", listing.language))]);
    if path != listing.layer {
        report = report.line(format!("`{path}` is computed here:"));
    }
    for method in &listing.methods {
        report = report.line("");
        for line in method.text.lines() {
            report = report.line(format!("  {line}"));
        }
    }
    if listing.inlined.is_empty() {
        return Ok(report);
    }
    report = report.line("").toned_line([(Tone::Heading, "with all calls inlined".to_owned())]);
    let mut layer = None;
    for step in &listing.inlined {
        let indent = "  ".repeat(usize::from(step.depth.min(MAX_DEPTH)) + 1);
        if layer != Some(&step.layer) {
            let name = if step.layer.is_empty() { "the model itself" } else { &step.layer };
            report = report.toned_line([(Tone::Dim, format!("{indent}# {name}"))]);
            layer = Some(&step.layer);
        }
        report = report.line(format!("{indent}{}", step.text));
    }
    Ok(report)
}
