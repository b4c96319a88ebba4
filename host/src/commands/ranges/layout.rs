//! Ranges on one axis, for people.

use super::Compared;
use crate::commands::listing::{counted, first_of};
use crate::error::Result;
use crate::inspect::range::Extent;
use crate::render::chart::{Chart, Span};
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;

/// What the models are called in a narrow column.
const LETTERS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// The axis, and on it a line for each variant of each row.
pub(super) fn report(compared: &Compared<'_>) -> Result<Report> {
    let place = |value: f64| compared.place(value);
    let has_variants = compared.models.len() > 1;
    let has_codes = compared
        .rows
        .iter()
        .flat_map(|row| &row.variants)
        .any(|variant| variant.extent.representable.is_some());
    let letter = |model: usize| LETTERS.get(model).copied().unwrap_or("…");
    let mut columns = vec![Column::text("layer")];
    columns.extend(has_variants.then(|| Column::text("")));
    columns.extend([
        Column::text("dtype").rank(3),
        Column::number("min").rank(1),
        Column::number("max").rank(1),
        Column::number("peak σ").rank(2),
    ]);
    columns.extend(has_variants.then(|| Column::text("matched by").rank(4)));
    columns.push(Column::chart(""));
    let mut table = Table::new(columns);
    let labels = [compared.low, compared.high, 0.0].map(|value| (place(value), number::real(value)));
    let mut axis = vec![Cell::default(); table.columns.len() - 1];
    axis.push(Cell::chart(Chart::Axis(labels.to_vec())).tone(Tone::Dim));
    table.row(axis);
    for row in &compared.rows {
        for (position, variant) in row.variants.iter().enumerate() {
            let extent = &variant.extent;
            let text = if position == 0 { row.name } else { "" };
            let mut cells = vec![Cell { text: text.to_owned(), ..Cell::name(row.name) }];
            cells.extend(has_variants.then(|| Cell::text(letter(variant.model))));
            let peak = Cell::option(extent.peak_sigmas, |peak| Cell {
                text: format!("{peak:.1}{}", if variant.is_outlier { " ▲" } else { "" }),
                ..Cell::real(peak)
            });
            cells.extend([
                Cell::text(extent.dtype.to_string()),
                Cell::option(extent.min, Cell::real),
                Cell::option(extent.max, Cell::real),
                peak.tone(if variant.is_outlier { Tone::Warning } else { Tone::Plain }),
            ]);
            cells.extend(has_variants.then(|| match position {
                0 => Cell::default(),
                _ => Cell::text(variant.ground.why).tone(Tone::Dim),
            }));
            cells.push(chart(extent, &place).tone(match () {
                () if variant.is_outlier => Tone::Warning,
                () if variant.model > 0 => Tone::Good,
                () => Tone::Plain,
            }));
            table.row(cells);
        }
    }
    let shown = match (compared.rows.len(), compared.total) {
        (shown, total) if shown == total => counted(total, "range"),
        (shown, total) => format!("{shown} of {}", counted(total, "range")),
    };
    let mut report = Report::new(compared)?;
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
                (Tone::Warning, format!("{} not matched, of {model}: ", lonely.len())),
                (Tone::Plain, first_of(&lonely)),
            ]);
        }
    }
    Ok(report)
}

fn chart(extent: &Extent, place: &impl Fn(f64) -> f64) -> Cell {
    let both = |(low, high): (f64, f64)| (place(low), place(high));
    let Some((low, high)) = extent.min.zip(extent.max).or(extent.representable).map(both) else {
        return Cell::default();
    };
    Cell::chart(Chart::Span(Span {
        low,
        high,
        core: extent.core.map(both),
        bracket: extent.representable.map(both),
        zero: Some(place(0.0)),
    }))
}
