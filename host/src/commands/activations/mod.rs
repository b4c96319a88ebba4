//! `activations`: what a layer computes on the current input: statistics, histogram, and what its codes clip.

mod variants;

use super::arguments::running::Running;
use super::arguments::samples::Samples;
use super::{Command, Example, Group, Scope};
use crate::capture::survey::{Wanted, each_block};
use crate::capture::{Execution, can_be_captured};
use crate::commands::arguments::number::integer_in;
use crate::commands::fields::bins::SharedBin;
use crate::error::{Error, Result};
use crate::inspect::Summary;
use crate::inspect::graph::Graph;
use crate::inspect::range::{Beyond, representable};
use crate::model::{LayerInfo, Property, QuantizationParameters, find_layer};
use crate::playground::{Loaded, Playground};
use crate::render::histogram::{Bin, histogram_table};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, RangeCount, Statistics, ValueRange};

/// `activations [LAYER]`
pub(super) struct Activations;

/// The arguments of `activations`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The layer; without it, the current one
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    samples: Samples,
    /// How many bars the histogram has, from 2 to 200
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = integer_in::<u16>(2..=200))]
    bins: u16,
    /// Integer codes, not dequantized
    #[arg(long)]
    raw: bool,
    /// Show other variants on the same bins: these, or without a name every loaded one
    #[arg(long, value_name = "MODEL", num_args = 0..)]
    compare: Option<Vec<String>>,
    /// Run the graph as the runtime optimizes it, not as written
    #[arg(long)]
    optimized: bool,
    #[command(flatten)]
    running: Running,
}

struct Captured<'a> {
    model: &'a str,
    layer: &'a str,
    value: &'a str,
    input: &'a str,
    samples: u64,
    runtime: Option<String>,
    runtime_version: Option<String>,
    settings: Vec<Property>,
    statistics: Summary,
    /// As `numpy.histogram` gives them for float64 values; none without a finite value.
    edges: Vec<f64>,
    counts: Vec<u64>,
    /// The codes to which the value is rounded, or is.
    quantization: Option<&'a QuantizationParameters>,
    /// The real values of the smallest and the largest code, for a single scale.
    representable: Option<(f64, f64)>,
    /// The share of the values that lie outside.
    clipped_share: Option<f64>,
    rectified_share: Option<f64>,
}

impl Record for Captured<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |captured| captured.model),
            Self::field("layer", Unit::Name, "The layer", |captured| captured.layer),
            Self::field("value", Unit::Name, "The value that it computes", |captured| captured.value),
            Self::field("input", Unit::Text, "Where the samples come from", |captured| captured.input),
            Self::field("samples", Unit::Count, "Samples that the model ran on", |captured| captured.samples),
            Self::field("runtime", Unit::Text, "The runtime that executed the model", |captured| {
                captured.runtime.clone()
            }),
            Self::field("runtime_version", Unit::Text, "Its version", |captured| {
                captured.runtime_version.clone()
            }),
            Self::list("settings", "The settings that took effect", |captured| &captured.settings),
            Self::object("statistics", "Statistics of the values", |captured| Some(&captured.statistics))
                .always(),
            Self::field(
                "edges",
                Unit::Real,
                "Edges of the bins, as numpy.histogram computes them for float64 values; empty without finite values",
                |captured| captured.edges.clone(),
            ),
            Self::field("counts", Unit::Count, "Values in each bin", |captured| captured.counts.clone()),
            Self::object("quantization", "The codes that the values are, or are rounded to", |captured| {
                captured.quantization
            }),
            Self::field(
                "representable",
                Unit::Real,
                "The values of the smallest and the largest code; null unless there is one scale",
                |captured| captured.representable,
            ),
            Self::field(
                "clipped_share",
                Unit::Share,
                "Share of the values outside the range that the codes can represent",
                |captured| captured.clipped_share,
            ),
            Self::field(
                "rectified_share",
                Unit::Share,
                "Share of the values outside that a folded ReLU cuts off on purpose",
                |captured| captured.rectified_share,
            ),
        ]
    }
}

impl Command for Activations {
    type Arguments = Arguments;
    const NAME: &'static str = "activations";
    const SUMMARY: &'static str = "Show what a layer computes on the current input, and what its codes clip";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "input digits.npz:images[0:16]; activations layer1.conv2 --model resnet8_int8.onnx",
            shows: "values next to what the codes can represent",
        },
        Example {
            line: "input digits.npz:images[0:8]; activations stem --model resnet8.onnx --compare resnet8_int8.onnx resnet8_int8.pt",
            shows: "the same layer of three variants on the same bins",
        },
        Example {
            line: "input digits.npz:images[0]; activations fc --model resnet8.onnx --bins 8",
            shows: "the scores before the softmax",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Captured<'_>>(1)
                .when("without `--compare`")
                .draws::<Bin>("counts", "The histogram"),
            ReportShape::of::<variants::Found<'_>>(1)
                .when("with `--compare`")
                .draws::<SharedBin>("counts", "The histograms, one column for each variant"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        let text = arguments.layer.as_ref().or(playground.layer.as_ref()).ok_or_else(|| {
            Error::usage("`activations` needs a layer")
                .with_hint("Name one, or choose one with `layer PATH`.")
        })?;
        let layer = find_layer(text, model.info())?;
        can_be_captured(&model)?;
        let input = playground.chosen_input()?;
        if let Some(names) = &arguments.compare {
            let others = variants::others(names, &model, playground, &task)?;
            let all: Vec<&Loaded> = others.iter().chain([&model]).map(|model| &**model).collect();
            arguments.running.check(&all)?;
            return variants::run(&arguments, (&model, layer), &others, &input, playground, task);
        }
        arguments.running.check(&[&model])?;
        let (value, quantization) = value_of(layer, model.info())?;
        let wanted = Wanted { name: value, quantization: quantization.filter(|_| !arguments.raw) };
        let execution = Execution::new(arguments.optimized);
        let side = arguments.running.side(&model, execution, playground, &task);
        let feed = arguments.samples.of(&input);
        let range = quantization
            .filter(|codes| codes.scales.len() == 1 && !arguments.raw)
            .and_then(representable)
            .and_then(|(low, high)| ValueRange::new(low, high));
        let (mut statistics, mut within) = (Statistics::new(), RangeCount::new());
        let (samples, report) = each_block(&side, wanted, feed, &task, &mut |values| {
            statistics.add(values);
            if let Some(range) = range {
                within.add(values, range);
            }
        })?;
        // Once more, now that the ends are known: nothing of a sample is kept.
        let bins = statistics.min().zip(statistics.max()).and_then(|(min, max)| {
            Bins::of_extremes(min, max, usize::from(arguments.bins), EdgePrecision::Float64).ok()
        });
        let histogram = match bins {
            Some(bins) => {
                let mut histogram = Histogram::new(bins);
                each_block(&side, wanted, feed, &task, &mut |values| histogram.add(values))?;
                Some(histogram)
            }
            None => None,
        };
        drop(task);
        let beyond = range.map(|range| Beyond::new(range, &within));
        let (runtime, runtime_version, settings) = match report {
            Some(report) => (Some(report.runtime), Some(report.runtime_version), report.settings),
            None => (None, None, Vec::new()),
        };
        Ok(lay_out(&Captured {
            model: &model.id,
            layer: &layer.path,
            value,
            input: &input.source,
            samples,
            runtime,
            runtime_version,
            settings,
            statistics: Summary::from(&statistics),
            edges: histogram.as_ref().map(|histogram| histogram.bins().edges().to_vec()).unwrap_or_default(),
            counts: histogram.map(|histogram| histogram.counts().to_vec()).unwrap_or_default(),
            quantization,
            representable: range.map(|range| (range.low(), range.high())),
            clipped_share: beyond.and_then(|beyond| beyond.clipped_share),
            rectified_share: beyond.and_then(|beyond| beyond.rectified_share),
        }))
    }
}

/// The first value that a layer computes, and the codes that it is, or to which what is after it rounds it.
fn value_of<'a>(
    layer: &'a LayerInfo,
    info: &'a crate::model::ModelInfo,
) -> Result<(&'a str, Option<&'a QuantizationParameters>)> {
    let value = layer.outputs.iter().find(|name| !name.is_empty()).ok_or_else(|| {
        Error::not_found(format!("the file does not say what `{}` computes", layer.path))
            .with_hint("A traced or exported file says more.")
    })?;
    let own = info.value(value).and_then(|value| value.quantization.as_ref());
    let rounded = || {
        let graph = Graph::of(info, false);
        let node = graph.producer(value)?;
        graph.outgoing(node).find_map(|edge| edge.quantization)
    };
    Ok((value, own.or_else(rounded)))
}

fn lay_out(captured: &Captured<'_>) -> Report {
    let numbers = &captured.statistics;
    let mut fields = vec![
        ("layer", Cell::name(captured.layer)),
        ("model", Cell::text(captured.model)),
        ("value", Cell::text(captured.value)),
        ("samples", Cell::text(format!("{} of {}", number::count(captured.samples), captured.input))),
        ("count", Cell::count(numbers.count)),
        ("min", Cell::option(numbers.min, Cell::real)),
        ("max", Cell::option(numbers.max, Cell::real)),
        ("mean", Cell::option(numbers.mean, Cell::real)),
        ("std", Cell::option(numbers.standard_deviation, Cell::real)),
        ("zeros", Cell::count(numbers.zeros)),
    ];
    if numbers.non_finite() > 0 {
        fields.push(("NaN, inf", Cell::count(numbers.non_finite()).tone(Tone::Bad)));
    }
    if let Some((low, high)) = captured.representable {
        fields.push(("codes reach", Cell::text(format!("{} to {}", number::real(low), number::real(high)))));
    }
    if let Some(share) = captured.clipped_share {
        let tone = if share > 0.0 { Tone::Warning } else { Tone::Good };
        fields.push(("clipped", Cell::percent(share).tone(tone)));
    }
    if let Some(share) = captured.rectified_share {
        fields.push((
            "rectified",
            Cell {
                text: format!("{}, as a folded ReLU does", number::percent(share)),
                ..Cell::percent(share)
            },
        ));
    }
    if let (Some(runtime), Some(version)) = (&captured.runtime, &captured.runtime_version) {
        let settings: Vec<String> =
            captured.settings.iter().map(|setting| format!("{} {}", setting.name, setting.value)).collect();
        fields.push(("runtime", Cell::text(format!("{runtime} {version}: {}", settings.join(", ")))));
    }
    let report = Report::of(captured).fields(fields);
    if captured.counts.is_empty() {
        return report;
    }
    // What the codes cannot represent is not green.
    let is_representable =
        |low: f64, high: f64| captured.representable.is_none_or(|(least, most)| least <= high && low <= most);
    report.table(histogram_table(&captured.edges, &captured.counts, is_representable))
}
