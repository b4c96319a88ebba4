//! A row for each channel of a tensor.

use super::Subject;
use crate::backend::Progress;
use crate::commands::listing::counted;
use crate::error::Result;
use crate::input::shape_text;
use crate::inspect::{CodeSummary, Elements, Summary};
use crate::model::TensorInfo;
use crate::render::chart::{Chart, Span};
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

#[derive(Serialize)]
struct Looked<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    tensor: &'a TensorInfo,
    axis: i64,
    /// Channels of which all values are zero.
    dead: usize,
    channels: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    index: usize,
    #[serde(flatten)]
    numbers: Summary,
    /// Where the channel has its own.
    scale: Option<f64>,
    zero_point: Option<f64>,
    is_dead: bool,
    codes: Option<CodeSummary>,
}

impl Row {
    fn note(&self) -> Option<Cell> {
        match self.numbers.non_finite() {
            _ if self.is_dead => Some(Cell::text("dead").tone(Tone::Warning)),
            0 => None,
            count => Some(Cell::text(format!("{count} NaN or inf")).tone(Tone::Bad)),
        }
    }
}

/// Reads the tensor and tells what is in each of its channels.
///
/// # Errors
/// What the backend says of the file; `InvalidInput` for an axis that is not there.
pub(super) fn report(subject: &Subject<'_>, progress: &dyn Progress) -> Result<Report> {
    let &Subject { model, tensor, .. } = subject;
    let axis = subject.channel_axis()?;
    let elements = Elements::values(model, tensor, progress)?;
    let statistics = elements.channel_statistics(axis, progress)?;
    let usages = match &tensor.quantization {
        Some(_) => elements.channel_code_usage(axis, progress)?,
        None => None,
    };
    let own = tensor.quantization.as_ref().filter(|parameters| {
        parameters.axis == Some(axis)
            && parameters.block_size.is_none()
            && parameters.scales.len() == statistics.len()
    });
    let channels: Vec<Row> = statistics
        .iter()
        .enumerate()
        .map(|(index, statistics)| Row {
            index,
            numbers: Summary::from(statistics),
            scale: own.and_then(|parameters| parameters.scales.get(index).copied()),
            zero_point: own.map(|parameters| parameters.zero_point(index)),
            is_dead: statistics.count() > 0 && statistics.zero_count() == statistics.count(),
            codes: usages.as_ref().and_then(|usages| usages.get(index)).map(CodeSummary::from),
        })
        .collect();
    lay_out(&Looked {
        model: &model.id,
        layer: subject.layer.map(|layer| layer.path.as_str()),
        tensor,
        axis,
        dead: channels.iter().filter(|row| row.is_dead).count(),
        channels,
    })
}

fn lay_out(looked: &Looked<'_>) -> Result<Report> {
    let limits = looked.channels.iter().filter_map(|row| row.numbers.min.zip(row.numbers.max));
    let (low, high) = limits.fold((0f64, 0f64), |(low, high), (min, max)| (low.min(min), high.max(max)));
    let place = |value: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
    let has_codes = looked.channels.iter().any(|row| row.codes.is_some());
    let has_scales = looked.channels.iter().any(|row| row.scale.is_some());
    let mut columns = vec![Column::number("channel")];
    if has_scales {
        columns.extend([Column::number("scale").rank(2), Column::number("zero point").rank(3)]);
    }
    columns.extend([Column::number("min"), Column::number("max"), Column::number("std").rank(4)]);
    if has_codes {
        columns.extend([Column::number("codes").rank(1), Column::number("bits")]);
    }
    let has_notes = looked.channels.iter().any(|row| row.note().is_some());
    columns.extend(has_notes.then(|| Column::text("note")));
    columns.push(Column::chart(""));
    let mut table = Table::new(columns);
    for row in &looked.channels {
        let numbers = &row.numbers;
        let mut cells = vec![Cell::count(row.index as u64)];
        if has_scales {
            cells.extend([Cell::option(row.scale, Cell::real), Cell::option(row.zero_point, Cell::real)]);
        }
        cells.extend([
            Cell::option(numbers.min, Cell::real),
            Cell::option(numbers.max, Cell::real),
            Cell::option(numbers.standard_deviation, Cell::real),
        ]);
        if has_codes {
            let bits = row.codes.and_then(|codes| codes.effective_bits);
            cells.extend([
                Cell::option(row.codes, |codes| Cell::count(u64::from(codes.used))),
                Cell::option(bits, |bits| Cell { text: format!("{bits:.2}"), ..Cell::real(bits) }),
            ]);
        }
        if has_notes {
            cells.push(row.note().unwrap_or_default());
        }
        cells.push(match numbers.min.zip(numbers.max) {
            Some((min, max)) => Cell::chart(Chart::Span(Span {
                low: place(min),
                high: place(max),
                core: numbers.core().map(|(low, high)| (place(low), place(high))),
                zero: Some(place(0.0)),
                ..Span::default()
            })),
            None => Cell::default(),
        });
        table.row(cells);
    }
    let verdict = match looked.dead {
        0 => (Tone::Good, "none dead".to_owned()),
        dead => (Tone::Warning, format!("{dead} dead")),
    };
    Ok(Report::new(looked)?
        .toned_line([
            (Tone::Plain, format!("{} of ", counted(looked.channels.len(), "channel"))),
            (Tone::Name, looked.tensor.name.clone()),
            (
                Tone::Plain,
                format!(
                    " ({} {}, axis {}): ",
                    looked.tensor.dtype,
                    shape_text(&looked.tensor.shape),
                    looked.axis
                ),
            ),
            verdict,
        ])
        .table(table))
}
