//! Ranges on one axis, for people.

use super::Compared;
use crate::inspect::range::Extent;
use crate::render::chart::{Chart, Span};
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use crate::render::text::{counted, first_of};

/// What the models are called in a narrow column.
const LETTERS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

fn letter(model: usize) -> &'static str {
    LETTERS.get(model).copied().unwrap_or("…")
}

/// Fills in what the variants need of the whole: names, letters and charts on the common axis.
pub(super) fn finish(compared: &mut Compared<'_>) {
    let mut rows = std::mem::take(&mut compared.rows);
    let has_variants = compared.models.len() > 1;
    for row in &mut rows {
        for (position, variant) in row.variants.iter_mut().enumerate() {
            (variant.name, variant.is_first) = (row.name, position == 0);
            variant.letter = has_variants.then(|| letter(variant.model));
            variant.chart = chart(&variant.extent, &|value| compared.place(value));
        }
    }
    compared.rows = rows;
}

/// The axis, and on it a line for each variant of each row.
pub(super) fn report(compared: &Compared<'_>) -> Report {
    let has_variants = compared.models.len() > 1;
    let variants = || compared.rows.iter().flat_map(|row| &row.variants);
    let has_codes = variants().any(|variant| variant.extent.representable.is_some());
    let mut table = Table::of(variants());
    let labels = [compared.low, compared.high, 0.0].map(|value| (compared.place(value), number::real(value)));
    let axis = Cell::chart(Chart::Axis(labels.to_vec())).tone(Tone::Dim);
    let cell = |column: &Column| if column.is_chart { axis.clone() } else { Cell::default() };
    table.rows.insert(0, table.columns.iter().map(cell).collect());
    let shown = match (compared.rows.len(), compared.total) {
        (shown, total) if shown == total => counted(total, "range"),
        (shown, total) => format!("{shown} of {}", counted(total, "range")),
    };
    let mut report = Report::of(compared);
    if has_variants {
        report = report.line(format!("{shown} of"));
        for (index, model) in compared.models.iter().enumerate() {
            report = report.toned_line([
                (Tone::Plain, format!("  {}  ", letter(index))),
                (Tone::Name, (*model).to_owned()),
            ]);
        }
    } else {
        report = report.toned_line([
            (Tone::Plain, format!("{shown} of ")),
            (Tone::Name, compared.models.first().copied().unwrap_or_default().to_owned()),
        ]);
    }
    let legend = if has_codes {
        "─ from min to max, ━ within 3 σ of the mean, [ ] what the codes can represent, ▲ outlier"
    } else {
        "─ from min to max, ━ within 3 σ of the mean, ▲ outlier"
    };
    report = report.toned_line([(Tone::Dim, legend.to_owned())]).table(table);
    const MOST_REASONS: usize = 3;
    for unread in compared.unread.iter().take(MOST_REASONS) {
        report = report
            .toned_line([(Tone::Warning, "not read: ".to_owned()), (Tone::Plain, unread.reason.one_line())]);
    }
    if compared.unread.len() > MOST_REASONS {
        report = report.line(format!("and {} more; see `stats`", compared.unread.len() - MOST_REASONS));
    }
    for (index, model) in compared.models.iter().enumerate() {
        let lonely: Vec<&str> = compared
            .unmatched
            .iter()
            .filter(|other| other.model == index)
            .map(|other| other.tensor)
            .collect();
        if !lonely.is_empty() {
            report = report.toned_line([
                (Tone::Warning, format!("{} unmatched in {model}: ", lonely.len())),
                (Tone::Plain, first_of(&lonely)),
            ]);
        }
    }
    report
}

fn chart(extent: &Extent, place: &impl Fn(f64) -> f64) -> Option<Chart> {
    let both = |(low, high): (f64, f64)| (place(low), place(high));
    let (low, high) = extent.min.zip(extent.max).or(extent.representable).map(both)?;
    Some(Chart::Span(Span {
        low,
        high,
        core: extent.core.map(both),
        bracket: extent.representable.map(both),
        zero: Some(place(0.0)),
    }))
}
