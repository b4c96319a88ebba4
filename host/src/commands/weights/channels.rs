//! A row for each channel of a tensor.

use super::Subject;
use crate::backend::Progress;
use crate::error::Result;
use crate::inspect::{CodeSummary, Elements, Summary};
use crate::model::{TensorInfo, shape_text};
use crate::render::chart::{Chart, Span};
use crate::render::record::{Field, Record, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

pub(super) struct Looked<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    tensor: &'a TensorInfo,
    axis: i64,
    /// Channels of which all values are zero.
    dead: usize,
    channels: Vec<Row>,
}

struct Row {
    index: usize,
    numbers: Summary,
    /// If the channel has its own.
    scale: Option<f64>,
    zero_point: Option<f64>,
    is_dead: bool,
    codes: Option<CodeSummary>,
    /// Its range, on an axis of all channels.
    chart: Option<Chart>,
}

impl Row {
    fn note(&self) -> Option<String> {
        match self.numbers.non_finite() {
            _ if self.is_dead => Some("dead".to_owned()),
            0 => None,
            count => Some(format!("{count} NaN or inf")),
        }
    }

    fn draw(&mut self, place: &impl Fn(f64) -> f64) {
        let numbers = &self.numbers;
        self.chart = numbers.min.zip(numbers.max).map(|(min, max)| {
            Chart::Span(Span {
                low: place(min),
                high: place(max),
                core: numbers.core().map(|(low, high)| (place(low), place(high))),
                zero: Some(place(0.0)),
                ..Span::default()
            })
        });
    }
}

impl Record for Looked<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |looked| looked.model),
            Self::field("layer", Unit::Name, "The layer; null if only a tensor is named", |looked| {
                looked.layer
            }),
            Self::object("tensor", "The stored tensor", |looked| Some(looked.tensor)).always(),
            Self::field("axis", Unit::Index, "Axis of the channels", |looked| looked.axis),
            Self::field("dead", Unit::Count, "Channels whose values are all zero", |looked| looked.dead),
            Self::list("channels", "The channels", |looked| &looked.channels),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("index", Unit::Count, "Index of the channel", |row| row.index).title("channel"),
            Self::flat(Summary::fields(), |row| Some(&row.numbers))
                .always()
                .for_machines()
                .change("min", |min| min.title("min").after("zero_point"))
                .change("max", |max| max.title("max").after("min"))
                .change("standard_deviation", |deviation| deviation.title("std").rank(4).after("max")),
            Self::field("scale", Unit::Real, "Scale of the channel, if it has its own", |row| row.scale)
                .title("scale")
                .rank(2)
                .hidden_if_missing(),
            Self::field("zero_point", Unit::Real, "Zero point of the channel, if it has its own", |row| {
                row.zero_point
            })
            .title("zero point")
            .rank(3)
            .hidden_if_missing(),
            Self::field("is_dead", Unit::Flag, "Whether all its values are zero", |row| row.is_dead),
            Self::nested("codes", "Codes in use; null for a float tensor", CodeSummary::fields(), |row| {
                row.codes.as_ref()
            })
            .change("used", |used| used.title("codes").rank(1).hidden_if_missing())
            .change("effective_bits", |bits| bits.title("bits").shown_if(|row| row.codes.is_some())),
            Self::field(
                "",
                Unit::Text,
                "dead: all values are zero; or how many are NaN or infinite",
                |row| row.note(),
            )
            .title("note")
            .text(|row| row.note().unwrap_or_default())
            .tone(|row| if row.is_dead { Tone::Warning } else { Tone::Bad })
            .shown_if(|row| row.note().is_some()),
            Self::chart(
                "Range of the channel on an axis of all channels, ━ within 3 σ of the mean",
                |row| row.chart.clone(),
            ),
        ]
    }
}

/// Reads the tensor and computes the statistics of each channel.
///
/// # Errors
/// Those of the backend; `InvalidInput` for an axis that does not exist.
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
    let mut channels: Vec<Row> = statistics
        .iter()
        .enumerate()
        .map(|(index, statistics)| Row {
            index,
            numbers: Summary::from(statistics),
            scale: own.and_then(|parameters| parameters.scales.get(index).copied()),
            zero_point: own.map(|parameters| parameters.zero_point(index)),
            is_dead: statistics.count() > 0 && statistics.zero_count() == statistics.count(),
            codes: usages.as_ref().and_then(|usages| usages.get(index)).map(CodeSummary::from),
            chart: None,
        })
        .collect();
    let limits = channels.iter().filter_map(|row| row.numbers.min.zip(row.numbers.max));
    let (low, high) = limits.fold((0f64, 0f64), |(low, high), (min, max)| (low.min(min), high.max(max)));
    let place = |value: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
    channels.iter_mut().for_each(|row| row.draw(&place));
    Ok(lay_out(&Looked {
        model: &model.id,
        layer: subject.layer.map(|layer| layer.path.as_str()),
        tensor,
        axis,
        dead: channels.iter().filter(|row| row.is_dead).count(),
        channels,
    }))
}

fn lay_out(looked: &Looked<'_>) -> Report {
    let verdict = match looked.dead {
        0 => (Tone::Good, "none dead".to_owned()),
        dead => (Tone::Warning, format!("{dead} dead")),
    };
    Report::of(looked)
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
        .table(Table::of(&looked.channels))
}
