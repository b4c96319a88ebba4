//! `quant`: the quantization parameters of a model's tensors, and which look wrong.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::inspect::quantized::{Kind, Quantized};
use crate::inspect::range::representable;
use crate::model::{QuantizationParameters, find_layer};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Cell, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::{Granularity, ScaleSummary, Suspicion};

/// `quant [LAYER]`
pub(super) struct Quant;

/// The arguments of `quant`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this layer's tensors; without it, all tensors of the model
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A row for each channel or block
    #[arg(long)]
    channels: bool,
    /// Only suspicious tensors
    #[arg(long)]
    suspicious: bool,
}

struct Found<'a> {
    model: &'a str,
    layer: Option<&'a str>,
    precision: &'a str,
    total: usize,
    tensors: Vec<Row<'a>>,
    suspicious: usize,
}

struct Row<'a> {
    name: &'a str,
    kind: Kind,
    layers: Vec<&'a str>,
    granularity: String,
    parameters: &'a QuantizationParameters,
    is_symmetric: Option<bool>,
    range: Option<(f64, f64)>,
    codes_used: Option<u32>,
    suspicions: Vec<Suspicion>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field("layer", Unit::Name, "The layer asked for; null for all", |found| found.layer),
            Self::field("precision", Unit::Text, "Numeric precision of the model", |found| found.precision),
            Self::field(
                "total",
                Unit::Count,
                "Quantized tensors, before `--suspicious` hides any",
                |found| found.total,
            ),
            Self::list("tensors", "The quantized tensors", |found| &found.tensors),
            Self::field("suspicious", Unit::Count, "Tensors that look wrong", |found| found.suspicious),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the stored tensor or activation", |row| row.name)
                .title("tensor"),
            Self::field("kind", Unit::Text, "weight (any stored tensor) or activation", |row| word(row.kind))
                .choices(&["weight", "activation"])
                .title("kind")
                .rank(3),
            Self::field("layers", Unit::Text, "Layers that read or compute it", |row| row.layers.clone()),
            Self::field(
                "granularity",
                Unit::Text,
                "What shares a scale: the tensor, a channel along the axis, or a block of elements",
                |row| row.granularity.clone(),
            )
            .title("granularity")
            .rank(4)
            .after("dtype"),
            Self::flat(QuantizationParameters::fields(), |row| Some(row.parameters))
                .always()
                .change("dtype", |dtype| dtype.title("dtype"))
                .change("scales", |scales| {
                    scales
                        .title("scale")
                        .means("Scale, or the smallest, median and largest of several: real = (code − zero point) · scale")
                        .text(|row| scale_text(row.parameters).1)
                        .tone(|row| scale_text(row.parameters).0)
                })
                .change("zero_points", |zero_points| {
                    zero_points
                        .title("zero point")
                        .means("Zero point, or the smallest and largest of several: the code of the real value 0")
                        .text(|row| zero_point_text(row.parameters))
                }),
            Self::field(
                "is_symmetric",
                Unit::Flag,
                "Whether every zero point is the middle of the codes",
                |row| row.is_symmetric,
            ),
            Self::field(
                "range",
                Unit::Text,
                "Real values of the smallest and the largest code, over all channels",
                |row| row.range,
            )
            .title("range")
            .rank(2)
            .text(|row| row.range.map_or_else(|| "–".to_owned(), |(low, high)| range_text(low, high))),
            Self::field("codes_used", Unit::Count, "Distinct codes that occur in a stored tensor", |row| {
                row.codes_used
            })
            .title("codes")
            .rank(5),
            Self::list("suspicions", "What looks wrong", |row| &row.suspicions),
            Self::field("", Unit::Text, "What looks wrong, with the numbers in question", |row| {
                let texts: Vec<String> =
                    row.suspicions.iter().map(ToString::to_string).collect();
                (!texts.is_empty()).then(|| texts.join("; "))
            })
            .title("suspicious")
            .rank(1)
            .tone(|_| Tone::Warning),
        ]
    }
}

impl Record for Suspicion {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reason", Unit::Text, "Kind of suspicion, for machines", |found| found.reason.code()),
            Self::field("text", Unit::Text, "What looks wrong", |found| found.to_string()),
            Self::field("count", Unit::Count, "Number of channels or blocks concerned", |found| found.count),
            Self::field(
                "first_index",
                Unit::Index,
                "First channel or block concerned; 0 for the whole tensor",
                |found| found.first_index,
            ),
            Self::field("value", Unit::Real, "Scale, zero point, ratio or share in question", |found| {
                found.value
            }),
        ]
    }
}

impl Command for Quant {
    type Arguments = Arguments;
    const NAME: &'static str = "quant";
    const SUMMARY: &'static str = "Show scales and zero points, and flag suspicious ones";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "quant --model resnet8_int8.onnx", shows: "every quantized weight and activation" },
        Example {
            line: "quant layer1.conv1 --model resnet8_int8.pt --channels",
            shows: "each channel's scale",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        let layer = match &arguments.layer {
            Some(text) => Some(find_layer(text, model.info())?.path.as_str()),
            None => None,
        };
        let mut tensors: Vec<Row<'_>> =
            Quantized::of(&model, layer, &task)?.into_iter().map(Row::from).collect();
        drop(task);
        let total = tensors.len();
        let suspicious = tensors.iter().filter(|row| !row.suspicions.is_empty()).count();
        if arguments.suspicious {
            tensors.retain(|row| !row.suspicions.is_empty());
        }
        Ok(report(
            &Found {
                model: &model.id,
                layer,
                precision: &model.info().precision,
                total,
                tensors,
                suspicious,
            },
            arguments.channels,
        ))
    }
}

impl<'a> From<Quantized<'a>> for Row<'a> {
    fn from(quantized: Quantized<'a>) -> Self {
        let Quantized { name, kind, layers, parameters, usage, suspicions } = quantized;
        Self {
            name,
            kind,
            layers,
            granularity: granularity_text(parameters),
            parameters,
            is_symmetric: parameters.is_symmetric(),
            range: representable(parameters),
            codes_used: usage.map(|usage| usage.used_count()),
            suspicions,
        }
    }
}

/// `per-tensor`, `per-channel 0`, `per-block 1×32`.
fn granularity_text(parameters: &QuantizationParameters) -> String {
    let granularity = parameters.granularity();
    match granularity {
        Granularity::PerTensor => granularity.to_string(),
        Granularity::PerChannel { axis } => format!("{granularity}, axis {axis}"),
        Granularity::PerBlock { axis, block_size } => {
            format!("{granularity}, axis {axis}, {block_size} elements")
        }
    }
}

fn report(found: &Found<'_>, shows_channels: bool) -> Report {
    let mut table = Table::of(&found.tensors);
    if shows_channels {
        let rows = std::mem::take(&mut table.rows);
        for (cells, row) in rows.into_iter().zip(&found.tensors) {
            table.rows.push(cells);
            push_channels(&mut table, row.parameters);
        }
    }
    let verdict = match found.suspicious {
        0 if found.total == 0 && found.layer.is_none() => (Tone::Plain, format!("it is {}", found.precision)),
        0 if found.total == 0 => (Tone::Plain, "this layer is not quantized".to_owned()),
        0 => (Tone::Good, "nothing suspicious".to_owned()),
        count => (Tone::Warning, format!("{} suspicious", counted(count, "tensor"))),
    };
    let report = Report::of(found).toned_line([
        (Tone::Plain, format!("{} in ", counted(found.total, "quantized tensor"))),
        (Tone::Name, found.model.to_owned()),
        (Tone::Plain, ": ".to_owned()),
        verdict,
    ]);
    if found.tensors.is_empty() { report } else { report.table(table) }
}

/// A row for each of several scales.
fn push_channels(table: &mut Table, parameters: &QuantizationParameters) {
    if parameters.scales.len() < 2 {
        return;
    }
    for (index, scale) in parameters.scales.iter().enumerate() {
        let cell = |key: &str| match key {
            "name" => Cell::text(format!("  {index}")).tone(Tone::Dim),
            "scales" => Cell::real(*scale),
            "zero_points" => Cell::real(parameters.zero_point(index)),
            _ => Cell::default(),
        };
        table.rows.push(table.columns.iter().map(|column| cell(&column.key)).collect());
    }
}

/// The scale, or the smallest, the median and the largest of several.
fn scale_text(parameters: &QuantizationParameters) -> (Tone, String) {
    match (&parameters.scales[..], parameters.is_dynamic) {
        (_, true) => (Tone::Dim, "per input".to_owned()),
        ([], _) => (Tone::Plain, format!("{} scales", number::count(parameters.scale_count))),
        ([scale], _) => (Tone::Plain, number::real(*scale)),
        (scales, _) => match ScaleSummary::of(scales) {
            Some(summary) => {
                (Tone::Plain, [summary.min, summary.median, summary.max].map(number::real).join(" / "))
            }
            None => (Tone::Bad, "none valid".to_owned()),
        },
    }
}

fn zero_point_text(parameters: &QuantizationParameters) -> String {
    match &parameters.zero_points[..] {
        _ if parameters.is_dynamic => "–".to_owned(),
        [] if parameters.zero_point_name.is_some() => {
            format!("{} zero points", number::count(parameters.scale_count))
        }
        [] => number::real(0.0),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => number::real(*first),
        several => {
            let smallest = several.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = several.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            format!("{} to {}", number::real(smallest), number::real(largest))
        }
    }
}

fn range_text(low: f64, high: f64) -> String {
    // The JSON has all digits.
    format!("{} to {}", number::short(low), number::short(high))
}
