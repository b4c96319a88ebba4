//! One tensor, or one channel of it: its statistics, its codes in use, its histogram.

use super::{Arguments, Subject};
use crate::backend::Progress;
use crate::error::Result;
use crate::inspect::{CodeSummary, Elements, Summary};
use crate::model::{TensorInfo, shape_text};
use crate::render::histogram::histogram_table;
use crate::render::number;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, RangeCount, Statistics, ValueRange};

pub(super) struct Looked<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    tensor: &'a TensorInfo,
    is_raw: bool,
    channel: Option<Channel>,
    statistics: Summary,
    edges: Vec<f64>,
    counts: Vec<u64>,
    range: Option<Within>,
    codes: Option<CodeSummary>,
}

#[derive(Clone, Copy)]
struct Channel {
    axis: i64,
    index: usize,
}

struct Within {
    min: f64,
    max: f64,
    inside: u64,
    share: Option<f64>,
}

impl Record for Looked<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |looked| looked.model),
            Self::field("layer", Unit::Name, "The layer; null if only a tensor is named", |looked| {
                looked.layer
            }),
            Self::object("tensor", "The stored tensor", |looked| Some(looked.tensor)).always(),
            Self::field(
                "is_raw",
                Unit::Flag,
                "Whether the numbers are stored codes or values instead of dequantized values",
                |looked| looked.is_raw,
            ),
            Self::object("channel", "The channel chosen with `--channel`", |looked| looked.channel.as_ref()),
            Self::object("statistics", "Statistics of the values", |looked| Some(&looked.statistics))
                .always(),
            Self::field(
                "edges",
                Unit::Real,
                "Edges of the bins, as numpy.histogram computes them for float64 values; empty without finite values",
                |looked| looked.edges.clone(),
            ),
            Self::field("counts", Unit::Count, "Values in each bin", |looked| looked.counts.clone()),
            Self::object("range", "Values within the bounds of `--range`", |looked| looked.range.as_ref()),
            Self::object("codes", "Codes in use; null for a float tensor", |looked| looked.codes.as_ref()),
        ]
    }
}

impl Record for Channel {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("axis", Unit::Index, "Axis of the channels", |channel| channel.axis),
            Self::field("index", Unit::Index, "Index along the axis", |channel| channel.index),
        ]
    }
}

impl Record for Within {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("min", Unit::Real, "Lower bound, included", |within| within.min),
            Self::field("max", Unit::Real, "Upper bound, included", |within| within.max),
            Self::field("inside", Unit::Count, "Values within the bounds", |within| within.inside),
            Self::field("share", Unit::Share, "Share of the values within the bounds", |within| within.share),
        ]
    }
}

/// Reads the tensor and computes its statistics.
///
/// # Errors
/// Those of the backend; `InvalidInput` for a channel that does not exist.
pub(super) fn report(
    subject: &Subject<'_>,
    arguments: &Arguments,
    bounds: Option<ValueRange>,
    progress: &dyn Progress,
) -> Result<Report> {
    let &Subject { model, tensor, .. } = subject;
    let elements = if arguments.raw {
        Elements::stored(model, tensor)?
    } else {
        Elements::values(model, tensor, progress)?
    };
    let channel = match arguments.channel {
        Some(index) => Some(Channel { axis: subject.channel_axis()?, index }),
        None => None,
    };
    let (statistics, within) = count(&elements, channel, bounds, progress)?;
    let histogram = histogram(&elements, channel, &statistics, usize::from(arguments.bins), progress)?;
    let usage = match (&tensor.quantization, channel) {
        (None, _) => None,
        (Some(_), None) => elements.code_usage(progress)?,
        (Some(_), Some(Channel { axis, index })) => {
            elements.channel_code_usage(axis, progress)?.and_then(|channels| channels.into_iter().nth(index))
        }
    };
    Ok(lay_out(&Looked {
        model: &model.id,
        layer: subject.layer.map(|layer| layer.path.as_str()),
        tensor,
        is_raw: !elements.are_dequantized(),
        channel,
        statistics: Summary::from(&statistics),
        edges: histogram.as_ref().map(|histogram| histogram.bins().edges().to_vec()).unwrap_or_default(),
        counts: histogram.map(|histogram| histogram.counts().to_vec()).unwrap_or_default(),
        range: bounds.map(|bounds| Within {
            min: bounds.low(),
            max: bounds.high(),
            inside: within.inside(),
            share: within.inside_share(),
        }),
        codes: usage.map(|usage| CodeSummary::from(&usage)),
    }))
}

fn count(
    elements: &Elements<'_>,
    channel: Option<Channel>,
    bounds: Option<ValueRange>,
    progress: &dyn Progress,
) -> Result<(Statistics, RangeCount)> {
    let (mut statistics, mut within) = (Statistics::new(), RangeCount::new());
    let mut add = |numbers: &[f64]| {
        statistics.add(numbers);
        if let Some(bounds) = bounds {
            within.add(numbers, bounds);
        }
    };
    match channel {
        Some(Channel { axis, index }) => {
            elements.each_block_of_channel(axis, index, progress, &mut add)?;
        }
        None if bounds.is_some() => elements.each_block(progress, &mut |_, numbers| {
            add(numbers);
            Ok(())
        })?,
        None => statistics = elements.statistics(progress)?,
    }
    Ok((statistics, within))
}

/// `None` without finite values, and for values too close together for this many bins.
fn histogram(
    elements: &Elements<'_>,
    channel: Option<Channel>,
    statistics: &Statistics,
    bins: usize,
    progress: &dyn Progress,
) -> Result<Option<Histogram>> {
    let Some((min, max)) = statistics.min().zip(statistics.max()) else { return Ok(None) };
    let Ok(bins) = Bins::of_extremes(min, max, bins, EdgePrecision::Float64) else { return Ok(None) };
    match channel {
        Some(Channel { axis, index }) => {
            let mut histogram = Histogram::new(bins);
            elements.each_block_of_channel(axis, index, progress, &mut |numbers| histogram.add(numbers))?;
            Ok(Some(histogram))
        }
        None => elements.histogram(bins, progress).map(Some),
    }
}

fn lay_out(looked: &Looked<'_>) -> Report {
    let (tensor, numbers) = (looked.tensor, &looked.statistics);
    let what = match (&tensor.quantization, &tensor.type_name, looked.is_raw) {
        (Some(_), _, true) => "integer codes",
        (Some(_), _, false) => "dequantized values",
        (None, Some(_), true) => "values as stored",
        (None, Some(_), false) => "real values",
        (None, None, _) => "values",
    };
    let share = |count: u64| {
        Cell::text(format!(
            "{} ({})",
            number::count(count),
            number::percent(count as f64 / numbers.count.max(1) as f64)
        ))
    };
    let mut fields = vec![
        ("tensor", Cell::name(tensor.name.clone())),
        ("model", Cell::text(looked.model)),
        ("type", Cell::text(format!("{} {}, {what}", tensor.dtype_name(), shape_text(&tensor.shape)))),
    ];
    if let Some(Channel { axis, index }) = looked.channel {
        fields.push(("channel", Cell::text(format!("{index} along axis {axis}"))));
    }
    fields.extend([
        ("count", Cell::count(numbers.count)),
        ("min", Cell::option(numbers.min, Cell::real)),
        ("max", Cell::option(numbers.max, Cell::real)),
        ("mean", Cell::option(numbers.mean, Cell::real)),
        ("std", Cell::option(numbers.standard_deviation, Cell::real)),
        ("zeros", share(numbers.zeros)),
    ]);
    for (name, count) in
        [("NaN", numbers.nan), ("+inf", numbers.positive_infinities), ("-inf", numbers.negative_infinities)]
    {
        if count > 0 {
            fields.push((name, share(count).tone(Tone::Bad)));
        }
    }
    if let Some(codes) = &looked.codes {
        fields.push(("codes", Cell::text(codes_text(codes))));
    }
    if let Some(within) = &looked.range {
        let share = within.share.map(number::percent).unwrap_or_default();
        fields.push((
            "within",
            Cell::text(format!(
                "{} to {}: {} ({share})",
                number::real(within.min),
                number::real(within.max),
                number::count(within.inside)
            )),
        ));
    }
    let report = Report::of(looked).fields(fields);
    if looked.counts.is_empty() {
        return report;
    }
    let is_within =
        |low: f64, high: f64| looked.range.as_ref().is_none_or(|range| range.min <= low && high <= range.max);
    report.table(histogram_table(&looked.edges, &looked.counts, is_within))
}

/// `164 of 256 used, -127 to 109, 7.36 effective bits`.
fn codes_text(codes: &CodeSummary) -> String {
    let bits = codes.effective_bits.map_or_else(String::new, |bits| format!(", {bits:.2} effective bits"));
    let extremes = codes
        .smallest
        .zip(codes.largest)
        .map_or_else(String::new, |(smallest, largest)| format!(", {smallest} to {largest}"));
    format!("{} of {} used{extremes}{bits}", codes.used, codes.available)
}
