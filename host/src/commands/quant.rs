//! `quant`: the quantization parameters of a model's tensors, and what is suspicious about them.

use super::inspection::find_layer;
use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::error::Result;
use crate::inspect::Elements;
use crate::inspect::range::code_range;
use crate::inspect::suspicion::{Wiring, zero_channels};
use crate::model::{ModelInfo, QuantizationParameters, TensorRole, ValueOrigin};
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use qp_analysis::{AffineList, CodeUsage, Reason, ScaleSummary, Suspicion, Thresholds};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// `quant [LAYER]`
pub(super) struct Quant;

/// The arguments of `quant`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this layer's tensors; without it, all of the model's
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A row for each channel or block
    #[arg(long)]
    channels: bool,
    /// Only what is suspicious
    #[arg(long)]
    suspicious: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    model: &'a str,
    /// The layer asked for; none for all.
    layer: Option<&'a str>,
    precision: &'a str,
    /// Tensors looked at, those left out by `--suspicious` included.
    total: usize,
    tensors: Vec<Row<'a>>,
    suspicious: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: Kind,
    layers: Vec<&'a str>,
    granularity: String,
    #[serde(flatten)]
    parameters: &'a QuantizationParameters,
    is_symmetric: Option<bool>,
    /// The real values of the smallest and the largest code; of all channels together.
    range: Option<(f64, f64)>,
    /// For stored codes: how many different ones occur.
    codes_used: Option<u32>,
    suspicions: Vec<Suspected>,
}

#[derive(Serialize)]
struct Suspected {
    /// A name for machines, see [`Reason::code`](qp_analysis::Reason::code).
    reason: &'static str,
    text: String,
    /// At how many channels or blocks, and the first of them; 0 for the tensor as a whole.
    count: u64,
    first_index: u64,
    /// The scale, zero point, ratio or share in question.
    value: f64,
}

impl From<Suspicion> for Suspected {
    fn from(found: Suspicion) -> Self {
        let Suspicion { reason, count, first_index, value } = found;
        Self { reason: reason.code(), text: found.to_string(), count, first_index, value }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Weight,
    Activation,
}

impl Command for Quant {
    type Arguments = Arguments;
    const NAME: &'static str = "quant";
    const SUMMARY: &'static str = "Show scales, zero points and what is suspicious about them";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "quant --model resnet8_int8.onnx", shows: "every quantized weight and activation" },
        Example {
            line: "quant layer1.conv1 --model resnet8_int8.pt --channels",
            shows: "each channel's scale",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        let layer = match &arguments.layer {
            Some(text) => Some(find_layer(text, model.info())?.path.as_str()),
            None => None,
        };
        let mut tensors = rows(&model, layer, &task)?;
        drop(task);
        let total = tensors.len();
        let suspicious = tensors.iter().filter(|row| !row.suspicions.is_empty()).count();
        if arguments.suspicious {
            tensors.retain(|row| !row.suspicions.is_empty());
        }
        report(
            &Found {
                model: &model.id,
                layer,
                precision: &model.info().precision,
                total,
                tensors,
                suspicious,
            },
            arguments.channels,
        )
    }
}

fn rows<'a>(model: &'a Loaded, layer: Option<&str>, progress: &dyn Progress) -> Result<Vec<Row<'a>>> {
    let info = model.info();
    let users = Users::of(info);
    let thresholds = Thresholds::default();
    let mut seen_together = Wiring::of(info).suspicions(info, &thresholds);
    let is_wanted = |layers: &[&str]| layer.is_none_or(|layer| layers.contains(&layer));
    let mut rows = Vec::new();
    // Scales that are codes themselves are no weights.
    let stored: Vec<_> = info
        .tensors
        .iter()
        .filter(|tensor| tensor.role != TensorRole::Quantization)
        .filter_map(|tensor| Some((tensor, tensor.quantization.as_ref()?)))
        .collect();
    for (index, (tensor, parameters)) in stored.iter().enumerate() {
        progress.update("reading codes", index as u64, stored.len() as u64);
        let mut layers = users.of_name(&tensor.name);
        layers.extend(tensor.layer.as_deref().filter(|layer| !layers.contains(layer)));
        if !is_wanted(&layers) {
            continue;
        }
        // Real numbers that the graph rounds are codes as it rounds them.
        let elements = if tensor.dtype.is_float() {
            Elements::values(model, tensor, progress)
        } else {
            Elements::stored(model, tensor)
        };
        let usage = match elements {
            Ok(elements) => elements.code_usage(progress)?,
            Err(_) => None,
        };
        let owner = tensor.layer.as_deref().or(layers.first().copied()).and_then(|path| info.layer(path));
        let mut suspicions = seen_together.remove(tensor.name.as_str()).unwrap_or_default();
        let zeros = zero_channels(model, owner, tensor, &thresholds, progress)?;
        let has_zeros = zeros.is_some();
        suspicions.extend(zeros);
        let mut row = row(&tensor.name, Kind::Weight, layers, parameters, usage, suspicions);
        // Channels of zeros have any scale: they say nothing of the others.
        row.suspicions.retain(|suspected| !(has_zeros && suspected.reason == Reason::ScaleSpread.code()));
        rows.push(row);
    }
    let mut listed = repeated(info);
    listed.extend(rows.iter().map(|row| row.name));
    let values = info.inputs.iter().chain(&info.values).chain(&info.outputs);
    let values = values.filter(|value| value.origin != ValueOrigin::Constant);
    for (value, parameters) in values.filter_map(|value| Some((value, value.quantization.as_ref()?))) {
        let layers = users.of_name(&value.name);
        if is_wanted(&layers) && listed.insert(&value.name) {
            let suspicions = seen_together.remove(value.name.as_str()).unwrap_or_default();
            rows.push(row(&value.name, Kind::Activation, layers, parameters, None, suspicions));
        }
    }
    Ok(rows)
}

/// The values that are the middle or the end of a pair of layers that quantize and dequantize, or a stored
/// tensor made real: they have the parameters of what the pair began with, which is listed already.
fn repeated(info: &ModelInfo) -> BTreeSet<&str> {
    let values = info.inputs.iter().chain(&info.values).chain(&info.outputs);
    let quantized: BTreeSet<&str> = values
        .filter(|value| value.quantization.is_some())
        .map(|value| value.name.as_str())
        .chain(
            info.tensors
                .iter()
                .filter(|tensor| tensor.quantization.is_some())
                .map(|tensor| tensor.name.as_str()),
        )
        .collect();
    info.layers
        .iter()
        .filter(|layer| layer.kind.is_plumbing())
        .filter(|layer| layer.inputs.first().is_some_and(|source| quantized.contains(source.as_str())))
        .flat_map(|layer| layer.outputs.iter().map(String::as_str))
        .collect()
}

/// Which layers read or compute a name.
struct Users<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Users<'a> {
    fn of(info: &'a ModelInfo) -> Self {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for layer in &info.layers {
            for name in layer.inputs.iter().chain(&layer.outputs).chain(&layer.tensors) {
                let layers = users.entry(name).or_default();
                if layers.last() != Some(&layer.path.as_str()) {
                    layers.push(&layer.path);
                }
            }
        }
        Self(users)
    }

    fn of_name(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

fn row<'a>(
    name: &'a str,
    kind: Kind,
    layers: Vec<&'a str>,
    parameters: &'a QuantizationParameters,
    usage: Option<CodeUsage>,
    seen_together: Vec<Suspicion>,
) -> Row<'a> {
    let codes = code_range(parameters);
    let list = AffineList::new(&parameters.scales, &parameters.zero_points);
    let thresholds = Thresholds::default();
    let mut suspicions: Vec<Suspicion> =
        list.as_ref().map(|list| thresholds.of_parameters(*list, codes)).unwrap_or_default();
    suspicions.extend(usage.as_ref().and_then(|usage| thresholds.of_codes(usage)));
    suspicions.extend(seen_together);
    suspicions.sort_by_key(|suspicion| suspicion.reason);
    let mut suspected: Vec<Suspected> = suspicions.into_iter().map(Suspected::from).collect();
    suspected.extend(list.as_ref().err().map(|mismatch| Suspected {
        reason: "count-mismatch",
        text: format!("{} scales and {} zero points", mismatch.expected, mismatch.found),
        count: 1,
        first_index: 0,
        value: mismatch.found as f64,
    }));
    let range = list.ok().zip(codes).and_then(|(list, codes)| list.representable_range(codes));
    Row {
        name,
        kind,
        layers,
        granularity: granularity_text(parameters),
        parameters,
        is_symmetric: parameters.is_symmetric(),
        range: range.map(|range| (range.low(), range.high())),
        codes_used: usage.map(|usage| usage.used_count()),
        suspicions: suspected,
    }
}

/// `per-tensor`, `per-channel 0`, `per-block 1×32`.
fn granularity_text(parameters: &QuantizationParameters) -> String {
    let word = parameters.granularity();
    match (parameters.axis, parameters.block_size) {
        (Some(axis), Some(block_size)) => format!("{word}, axis {axis}, {block_size} elements"),
        (Some(axis), None) => format!("{word}, axis {axis}"),
        (None, _) => word.to_string(),
    }
}

fn report(found: &Found<'_>, shows_channels: bool) -> Result<Report> {
    let mut table = Table::new([
        Column::text("tensor"),
        Column::text("kind").rank(3),
        Column::text("dtype"),
        Column::text("granularity").rank(4),
        Column::text("scale"),
        Column::text("zero point"),
        Column::text("range").rank(2),
        Column::number("codes").rank(5),
        Column::text("suspicious").rank(1),
    ]);
    for row in &found.tensors {
        let suspicions = if row.suspicions.is_empty() {
            Cell::missing()
        } else {
            let texts: Vec<_> = row.suspicions.iter().map(|suspected| suspected.text.as_str()).collect();
            Cell::text(texts.join("; ")).tone(Tone::Warning)
        };
        table.row([
            Cell::name(row.name),
            Cell::text(if row.kind == Kind::Weight { "weight" } else { "activation" }),
            Cell::text(row.parameters.dtype.to_string()),
            Cell::text(row.granularity.clone()),
            scale_cell(row.parameters),
            zero_point_cell(row.parameters),
            Cell::option(row.range, |(low, high)| Cell::text(range_text(low, high))),
            Cell::option(row.codes_used, |used| Cell::count(u64::from(used))),
            suspicions,
        ]);
        if shows_channels && row.parameters.scales.len() > 1 {
            for (index, scale) in row.parameters.scales.iter().enumerate() {
                let mut cells = vec![Cell::text(format!("  {index}")).tone(Tone::Dim)];
                cells.extend([Cell::text(""), Cell::text(""), Cell::text(""), Cell::real(*scale)]);
                cells.extend([
                    Cell::real(row.parameters.zero_point(index)),
                    Cell::text(""),
                    Cell::text(""),
                    Cell::text(""),
                ]);
                table.row(cells);
            }
        }
    }
    let verdict = match found.suspicious {
        0 if found.total == 0 && found.layer.is_none() => (Tone::Plain, format!("it is {}", found.precision)),
        0 if found.total == 0 => (Tone::Plain, "this layer is not quantized".to_owned()),
        0 => (Tone::Good, "nothing suspicious".to_owned()),
        count => (Tone::Warning, format!("{} suspicious", counted(count, "tensor"))),
    };
    let report = Report::new(found)?.toned_line([
        (Tone::Plain, format!("{} in ", counted(found.total, "quantized tensor"))),
        (Tone::Name, found.model.to_owned()),
        (Tone::Plain, ": ".to_owned()),
        verdict,
    ]);
    Ok(if found.tensors.is_empty() { report } else { report.table(table) })
}

/// The scale, or the smallest, the median and the largest of several.
fn scale_cell(parameters: &QuantizationParameters) -> Cell {
    match (&parameters.scales[..], parameters.is_dynamic) {
        (_, true) => Cell::text("for each input").tone(Tone::Dim),
        ([], _) => Cell::text(format!("{} scales", number::count(parameters.scale_count))),
        ([scale], _) => Cell::real(*scale),
        (scales, _) => match ScaleSummary::of(scales) {
            Some(summary) => Cell::text(format!(
                "{} / {} / {}",
                number::real(summary.min),
                number::real(summary.median),
                number::real(summary.max)
            )),
            None => Cell::text("none is valid").tone(Tone::Bad),
        },
    }
}

fn zero_point_cell(parameters: &QuantizationParameters) -> Cell {
    match &parameters.zero_points[..] {
        _ if parameters.is_dynamic => Cell::missing(),
        [] if parameters.zero_point_name.is_some() => {
            Cell::text(format!("{} zero points", parameters.scale_count))
        }
        [] => Cell::real(0.0),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Cell::real(*first),
        several => {
            let smallest = several.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = several.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Cell::text(format!("{} to {}", number::real(smallest), number::real(largest)))
        }
    }
}

fn range_text(low: f64, high: f64) -> String {
    // Four digits place a range; the JSON has all.
    let short = |value: f64| {
        let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
        number::real((value / 10f64.powf(digits - 3.0)).round() * 10f64.powf(digits - 3.0))
    };
    format!("{} to {}", short(low), short(high))
}
