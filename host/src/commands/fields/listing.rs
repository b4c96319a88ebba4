//! What `layer --code` and `info --code` show.

use crate::model::Listing;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;

/// Deeper lines are not indented further.
const MAX_DEPTH: u16 = 20;

pub(in crate::commands) struct Shown<'a> {
    model: &'a str,
    listing: &'a Listing,
}

impl Record for Shown<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |shown| shown.model),
            Self::flat(Listing::fields(), |shown| Some(shown.listing)).always(),
        ]
    }
}

/// The methods as the file has them, then everything inlined, lines grouped under their layer. `path` is the layer that
/// the user asked for.
pub(in crate::commands) fn report(model: &str, path: &str, listing: &Listing) -> Report {
    let mut report = Report::of(&Shown { model, listing });
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
        return report;
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
    report
}
