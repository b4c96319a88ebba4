//! `weights`: statistics and histogram of a layer's stored tensor.

use super::inspection::{code_usage, find_layer};
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::input::{element_type, shape_text};
use crate::model::{ModelInfo, QuantizationParameters, TensorChunk, TensorInfo, TensorRole};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{
    AffineList, Bins, ElementType, Granularity, Histogram, ParameterMap, RangeCount, Statistics, ValueRange,
};
use serde::Serialize;

/// Columns of the longest bar.
const BAR_WIDTH: f64 = 40.0;

/// `weights [LAYER]`
pub(super) struct Weights;

/// The arguments of `weights`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer; without it, the current one
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Which of the layer's tensors, by its name or the end of it; without it, the largest
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Bars of the histogram
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=200))]
    bins: u16,
    /// The integer codes in place of the real values
    #[arg(long)]
    raw: bool,
    /// Count what is within these bounds
    #[arg(long, num_args = 2, value_names = ["MIN", "MAX"], allow_negative_numbers = true)]
    range: Option<Vec<f64>>,
}

#[derive(Serialize)]
struct Looked<'a> {
    model: &'a str,
    tensor: &'a TensorInfo,
    is_raw: bool,
    statistics: Numbers,
    /// As `numpy.histogram` gives them for float64 values; none without a finite value.
    edges: Vec<f64>,
    counts: Vec<u64>,
    range: Option<Within>,
    codes: Option<Codes>,
}

#[derive(Serialize)]
struct Numbers {
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    /// Of the population: NumPy's `std` with its default `ddof` of 0.
    standard_deviation: Option<f64>,
    zeros: u64,
    nan: u64,
    positive_infinities: u64,
    negative_infinities: u64,
}

#[derive(Serialize)]
struct Within {
    min: f64,
    max: f64,
    inside: u64,
    share: Option<f64>,
}

#[derive(Serialize)]
struct Codes {
    used: u32,
    available: u32,
    smallest: Option<i64>,
    largest: Option<i64>,
    effective_bits: Option<f64>,
}

impl Command for Weights {
    type Arguments = Arguments;
    const NAME: &'static str = "weights";
    const SUMMARY: &'static str = "Show statistics and a histogram of a layer's weights";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "weights layer1.conv1 --model resnet8_int8.onnx", shows: "the dequantized weights" },
        Example {
            line: "weights layer1.conv1 --model resnet8_int8.pt --raw --bins 16",
            shows: "the int8 codes",
        },
        Example { line: "weights fc --model resnet8.onnx --range -0.1 0.1", shows: "how many are small" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        let layer = arguments.layer.as_ref().or(playground.layer.as_ref()).ok_or_else(|| {
            Error::usage("`weights` needs a layer").with_hint("Name one, or choose one with `layer PATH`.")
        })?;
        let tensor = choose(layer, arguments.tensor.as_deref(), model.info())?;
        let looked = look(&model, tensor, &arguments, &task)?;
        drop(task);
        report(&looked)
    }
}

/// The largest parameter that belongs to the layer or that it reads, or the one that is named.
fn choose<'a>(layer: &str, name: Option<&str>, info: &'a ModelInfo) -> Result<&'a TensorInfo> {
    let layer = find_layer(layer, info)?;
    let mut stored: Vec<&TensorInfo> = layer
        .tensors
        .iter()
        .chain(&layer.inputs)
        .filter_map(|name| info.tensor(name))
        .filter(|tensor| tensor.role != TensorRole::Quantization)
        .collect();
    // The largest first, of equal ones the first named.
    stored.sort_by_key(|tensor| std::cmp::Reverse(tensor.element_count()));
    stored.dedup_by_key(|tensor| &tensor.name);
    let names = || stored.iter().map(|tensor| format!("`{}`", tensor.name)).collect::<Vec<_>>().join(", ");
    let fits =
        |tensor: &&&TensorInfo| name.is_none_or(|name| tensor.name == name || tensor.name.ends_with(name));
    match (stored.iter().find(fits), name) {
        (Some(tensor), _) => Ok(tensor),
        (None, Some(name)) if !stored.is_empty() => {
            Err(Error::not_found(format!("`{}` has no tensor `{name}`", layer.path))
                .with_hint(format!("Choose one of {}.", names())))
        }
        (None, _) => Err(Error::not_found(format!("`{}` has no stored tensor", layer.path))
            .with_hint("See the column `parameters` of `layers` for those that have.")),
    }
}

/// How the elements of one tensor become the numbers to look at.
struct Reader<'a> {
    model: &'a Loaded,
    tensor: &'a TensorInfo,
    element: ElementType,
    /// `None` for the values or codes as stored.
    dequantization: Option<(ParameterMap, &'a QuantizationParameters)>,
}

impl<'a> Reader<'a> {
    fn new(model: &'a Loaded, tensor: &'a TensorInfo, is_raw: bool) -> Result<Self> {
        let element = element_type(tensor.dtype).ok_or_else(|| {
            Error::new(
                ErrorKind::UnsupportedOp,
                format!("`{}` holds {}, no real numbers", tensor.name, tensor.dtype),
            )
        })?;
        let dequantization = match &tensor.quantization {
            Some(parameters) if !is_raw => Some((parameter_map(tensor, parameters)?, parameters)),
            _ => None,
        };
        Ok(Self { model, tensor, element, dequantization })
    }

    /// Hands the numbers on, block by block.
    fn each_block(&self, progress: &dyn Progress, receive: &mut dyn FnMut(&[f64])) -> Result<()> {
        let mut numbers = Vec::new();
        let list = match &self.dequantization {
            Some((_, parameters)) => Some(affine_list(parameters)?),
            None => None,
        };
        let mut take = |chunk: TensorChunk<'_>| {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            let count = usize::try_from(chunk.elements).unwrap_or(usize::MAX);
            numbers.clear();
            numbers.extend(self.element.decode(chunk.bytes, count));
            if let (Some((map, _)), Some(list)) = (&self.dequantization, list) {
                map.dequantize_in_place(chunk.first_element, &mut numbers, list)
                    .map_err(|mismatch| unfit(self.tensor, &mismatch.to_string()))?;
            }
            receive(&numbers);
            Ok(())
        };
        self.model.session.read_tensor(&self.tensor.name, &mut take, progress)
    }
}

fn affine_list(parameters: &QuantizationParameters) -> Result<AffineList<'_>> {
    AffineList::new(&parameters.scales, &parameters.zero_points)
        .map_err(|mismatch| Error::new(ErrorKind::CorruptFile, mismatch.to_string()))
}

fn parameter_map(tensor: &TensorInfo, parameters: &QuantizationParameters) -> Result<ParameterMap> {
    if parameters.scales.is_empty() {
        return Err(unfit(tensor, "its scales are not listed in the file's description")
            .with_hint("Look at the codes with `--raw`."));
    }
    let granularity = match (parameters.axis, parameters.block_size) {
        (Some(axis), Some(block_size)) => Granularity::PerBlock { axis, block_size },
        (Some(axis), None) => Granularity::PerChannel { axis },
        (None, _) => Granularity::PerTensor,
    };
    ParameterMap::new(&tensor.shape, granularity).map_err(|error| unfit(tensor, &error.to_string()))
}

fn unfit(tensor: &TensorInfo, cause: &str) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` cannot be dequantized", tensor.name))
        .with_cause(cause)
        .with_hint("Look at the codes with `--raw`.")
}

fn look<'a>(
    model: &'a Loaded,
    tensor: &'a TensorInfo,
    arguments: &Arguments,
    progress: &dyn Progress,
) -> Result<Looked<'a>> {
    let reader = Reader::new(model, tensor, arguments.raw)?;
    let bounds = match arguments.range.as_deref() {
        Some([min, max]) => Some(ValueRange::new(*min, *max).ok_or_else(|| {
            Error::usage(format!("there is nothing between {min} and {max}"))
                .with_hint("Write the smaller first.")
        })?),
        _ => None,
    };
    let (mut statistics, mut within) = (Statistics::new(), RangeCount::new());
    reader.each_block(progress, &mut |numbers| {
        statistics.add(numbers);
        if let Some(bounds) = bounds {
            within.add(numbers, bounds);
        }
    })?;
    let histogram = match (statistics.min(), statistics.max()) {
        (Some(min), Some(max)) => {
            let bins = Bins::of_extremes(min, max, usize::from(arguments.bins), EdgePrecision::Float64);
            match bins {
                Ok(bins) => {
                    let mut histogram = Histogram::new(bins);
                    reader.each_block(progress, &mut |numbers| histogram.add(numbers))?;
                    Some(histogram)
                }
                // Numbers too close for so many bins.
                Err(_) => None,
            }
        }
        _ => None,
    };
    Ok(Looked {
        model: &model.id,
        tensor,
        is_raw: arguments.raw || tensor.quantization.is_none(),
        statistics: Numbers {
            count: statistics.count(),
            min: statistics.min(),
            max: statistics.max(),
            mean: statistics.mean(),
            standard_deviation: statistics.standard_deviation(),
            zeros: statistics.zero_count(),
            nan: statistics.nan_count(),
            positive_infinities: statistics.positive_infinity_count(),
            negative_infinities: statistics.negative_infinity_count(),
        },
        edges: histogram.as_ref().map(|histogram| histogram.bins().edges().to_vec()).unwrap_or_default(),
        counts: histogram.map(|histogram| histogram.counts().to_vec()).unwrap_or_default(),
        range: bounds.map(|bounds| Within {
            min: bounds.low(),
            max: bounds.high(),
            inside: within.inside(),
            share: within.inside_share(),
        }),
        codes: codes(model, tensor, progress)?,
    })
}

/// The codes that occur in a quantized tensor.
fn codes(model: &Loaded, tensor: &TensorInfo, progress: &dyn Progress) -> Result<Option<Codes>> {
    if tensor.quantization.is_none() {
        return Ok(None);
    }
    Ok(code_usage(model, tensor, progress)?.map(|usage| {
        let extremes = usage.extremes();
        Codes {
            used: usage.used_count(),
            available: usage.available_count(),
            smallest: extremes.map(|(smallest, _)| smallest),
            largest: extremes.map(|(_, largest)| largest),
            effective_bits: usage.effective_bits(),
        }
    }))
}

fn report(looked: &Looked<'_>) -> Result<Report> {
    let (tensor, numbers) = (looked.tensor, &looked.statistics);
    let what = match (&tensor.quantization, looked.is_raw) {
        (Some(_), true) => "integer codes",
        (Some(_), false) => "dequantized values",
        (None, _) => "values",
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
        ("type", Cell::text(format!("{} {}, {what}", tensor.dtype, shape_text(&tensor.shape)))),
        ("count", Cell::count(numbers.count)),
        ("min", Cell::option(numbers.min, Cell::real)),
        ("max", Cell::option(numbers.max, Cell::real)),
        ("mean", Cell::option(numbers.mean, Cell::real)),
        ("std", Cell::option(numbers.standard_deviation, Cell::real)),
        ("zeros", share(numbers.zeros)),
    ];
    for (name, count) in
        [("NaN", numbers.nan), ("+inf", numbers.positive_infinities), ("-inf", numbers.negative_infinities)]
    {
        if count > 0 {
            fields.push((name, share(count).tone(Tone::Bad)));
        }
    }
    if let Some(codes) = &looked.codes {
        let bits =
            codes.effective_bits.map_or_else(String::new, |bits| format!(", {bits:.2} effective bits"));
        let extremes = codes
            .smallest
            .zip(codes.largest)
            .map_or_else(String::new, |(smallest, largest)| format!(", {smallest} to {largest}"));
        fields.push((
            "codes",
            Cell::text(format!("{} of {} used{extremes}{bits}", codes.used, codes.available)),
        ));
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
    let report = Report::new(looked)?.fields(fields);
    Ok(if looked.counts.is_empty() { report } else { report.table(histogram_table(looked)) })
}

fn histogram_table(looked: &Looked<'_>) -> Table {
    let most = looked.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut table =
        Table::new([Column::number("from"), Column::number("to"), Column::number("count"), Column::text("")]);
    for (edges, count) in looked.edges.windows(2).zip(&looked.counts) {
        // What a range highlights is green.
        let is_within =
            looked.range.as_ref().is_none_or(|range| range.min <= edges[0] && edges[1] <= range.max);
        table.row([
            Cell::real(edges[0]),
            Cell::real(edges[1]),
            Cell::count(*count),
            Cell::text(bar(*count as f64 / most * BAR_WIDTH)).tone(if is_within {
                Tone::Good
            } else {
                Tone::Dim
            }),
        ]);
    }
    table
}

/// A bar of that many columns, to an eighth of one.
fn bar(columns: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (columns * 8.0).round() as usize;
    // Something is never nothing.
    let eighths = if columns > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_drawn_to_an_eighth_and_something_is_never_nothing() {
        assert_eq!([bar(2.5), bar(0.001), bar(0.0), bar(1.0)], ["██▌", "▏", "", "█"]);
    }
}
