//! `capture`: what every layer computes, over all samples.

use super::arguments::number::{BUDGET, size};
use super::arguments::running::Running;
use super::arguments::samples::Samples;
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::array_file::ArrayWriter;
use crate::backend::Progress;
use crate::capture::real::Real;
use crate::capture::side::{BUDGET_OPTION, budgeted};
use crate::capture::streaming::{each_tensor, groups};
use crate::capture::{Execution, Side, can_be_captured};
use crate::error::{Error, Result};
use crate::inspect::range::{Beyond, representable};
use crate::inspect::{Summary, graph::Graph};
use crate::model::{LayerInfo, ModelInfo, QuantizationParameters, shape_text};
use crate::playground::{Loaded, Playground};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::spelling::matches_pattern;
use qp_analysis::{GrowingHistogram, RangeCount, Statistics, ValueRange};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Bins of the histogram kept for each value.
const BINS: usize = 128;
/// The columns of a histogram in a table.
const COLUMNS: usize = 16;

/// `capture [NAME…]`
pub(super) struct Capture;

/// The arguments of `capture`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The models; without any, the current one
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// Only layers whose path matches a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    #[command(flatten)]
    samples: Samples,
    /// Memory for captured values: more are captured piece by piece, or in several passes if the backend cannot do
    /// that
    #[arg(long, value_name = "SIZE", default_value = BUDGET, value_parser = size)]
    budget: u64,
    /// Run the graph as the runtime optimizes it, not as written
    #[arg(long)]
    optimized: bool,
    /// Also layers that only quantize and dequantize
    #[arg(long)]
    all: bool,
    /// Keep codes, not dequantized
    #[arg(long)]
    raw: bool,
    /// Write the captured values to FILE.npz or FILE.safetensors
    #[arg(long, value_name = "PATH")]
    save: Option<String>,
    /// Replace an existing file
    #[arg(long, requires = "save")]
    force: bool,
    #[command(flatten)]
    running: Running,
}

struct CaptureReport {
    input: String,
    models: Vec<Captured>,
    /// The file that was written.
    saved: Option<String>,
}

struct Captured {
    model: String,
    samples: u64,
    batch: u64,
    groups: usize,
    is_optimized: bool,
    ran: Ran,
    layers: Vec<CapturedValue>,
}

struct CapturedValue {
    layer: String,
    op_type: String,
    value: String,
    dtype: String,
    /// Of one batch.
    shape: Vec<u64>,
    statistics: Summary,
    edges: Vec<f64>,
    counts: Vec<u64>,
    clipped_share: Option<f64>,
    rectified_share: Option<f64>,
    sketch: Vec<f64>,
    /// The layer's path for the first value that it computes, the value's own name for others.
    label: String,
}

impl Record for CaptureReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input.clone()),
            Self::list("models", "The models that were captured", |found| &found.models),
            Self::field("saved", Unit::Text, "The file that was written", |found| found.saved.clone()),
        ]
    }
}

impl Record for Captured {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |captured| captured.model.clone()),
            Self::field("samples", Unit::Count, "Samples that were captured", |captured| captured.samples),
            Self::field("batch", Unit::Count, "Samples that ran together", |captured| captured.batch),
            Self::field(
                "groups",
                Unit::Count,
                "Passes that were needed to fit the values of one batch into `--budget`",
                |captured| captured.groups,
            ),
            Self::field(
                "is_optimized",
                Unit::Flag,
                "Whether the runtime optimized the graph, instead of running it as written",
                |captured| captured.is_optimized,
            ),
            Self::flat(Ran::fields(), |captured| Some(&captured.ran)).always(),
            Self::list("layers", "The values that were captured, in the order of the layers", |captured| {
                &captured.layers
            }),
        ]
    }
}

impl Record for CapturedValue {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |row| row.layer.clone())
                .title("layer")
                .text(|row| row.label.clone())
                .tone(|row| if row.statistics.non_finite() > 0 { Tone::Bad } else { Tone::Name }),
            Self::field("op_type", Unit::Text, "Its operator or class", |row| row.op_type.clone())
                .title("type")
                .rank(3),
            Self::field("value", Unit::Name, "The value that was captured", |row| row.value.clone()),
            Self::field("dtype", Unit::Text, "Its element type", |row| row.dtype.clone()),
            Self::field("shape", Unit::Count, "Its shape in one batch", |row| row.shape.clone()),
            Self::field("", Unit::Text, "Element type and shape of the value in one batch", |row| {
                format!("{} {}", row.dtype, shape_text(&row.shape))
            })
            .title("value of one batch")
            .rank(4)
            .tone(|_| Tone::Dim),
            Self::flat(Summary::fields(), |row| Some(&row.statistics))
                .always()
                .for_machines()
                .change("min", |min| min.title("min"))
                .change("max", |max| max.title("max"))
                .change("mean", |mean| mean.title("mean").rank(2))
                .change("standard_deviation", |deviation| deviation.title("std").rank(2))
                .change("zero_share", |zeros| zeros.title("zeros").rank(5)),
            Self::field(
                "",
                Unit::Text,
                "Histogram of the values from their minimum to their maximum",
                |row| sketch(&row.sketch),
            )
            .title("from min to max")
            .rank(1)
            .tone(|_| Tone::Good),
            Self::field(
                "edges",
                Unit::Real,
                "Edges of the histogram's bins, each a power of two wide, in the unit of the values",
                |row| row.edges.clone(),
            ),
            Self::field("counts", Unit::Count, "Values in each bin", |row| row.counts.clone()),
            Self::field(
                "clipped_share",
                Unit::Share,
                "Share of the values outside the range that the codes after the layer can represent",
                |row| row.clipped_share,
            )
            .title("clipped")
            .rank(1)
            .tone(|row| {
                if row.clipped_share.is_some_and(|share| share > 0.0) { Tone::Warning } else { Tone::Plain }
            }),
            Self::field(
                "rectified_share",
                Unit::Share,
                "Share of the values that these codes cut off on purpose, as a ReLU does; null if none are",
                |row| row.rectified_share,
            ),
        ]
    }
}

/// What is gathered for one value.
struct Gathered<'a> {
    layer: &'a LayerInfo,
    codes: Option<&'a QuantizationParameters>,
    range: Option<ValueRange>,
    dtype: String,
    shape: Vec<u64>,
    statistics: Statistics,
    histogram: GrowingHistogram,
    within: RangeCount,
}

impl Command for Capture {
    type Arguments = Arguments;
    const NAME: &'static str = "capture";
    const SUMMARY: &'static str = "Capture what every layer computes on the current input";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8_int8.onnx; input digits.npz:images[0:32]; capture",
            shows: "statistics and a histogram of every layer's values",
        },
        Example {
            line: "input digits.npz:images[0:8]; capture resnet8.onnx resnet8_traced.pt --match layer1*",
            shows: "some layers of two models",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<CaptureReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let models: Vec<Arc<Loaded>> = match &arguments.names[..] {
            [] => vec![playground.model(None, &task)?],
            names => names.iter().map(|name| playground.model(Some(name), &task)).collect::<Result<_>>()?,
        };
        models.iter().try_for_each(|model| can_be_captured(model))?;
        arguments.running.check(&models.iter().map(|model| &**model).collect::<Vec<_>>())?;
        let input = playground.chosen_input()?;
        let mut writer = match &arguments.save {
            Some(path) => Some(ArrayWriter::new(&playground.path(path), arguments.force)?),
            None => None,
        };
        let (mut captured, mut stopped) = (Vec::new(), None);
        for model in &models {
            let execution = Execution::new(arguments.optimized);
            let mut side = arguments.running.side(model, execution, playground, &task);
            side.options = budgeted(side.options, model, arguments.budget);
            let prefix = if models.len() > 1 { format!("{}/", model.id) } else { String::new() };
            let one = one(&side, &arguments, &input, (&mut writer, &prefix), &task)?;
            captured.push(one.0);
            stopped = one.1;
            if stopped.is_some() {
                break;
            }
        }
        drop(task);
        let saved = match (writer, &arguments.save) {
            (Some(writer), Some(path)) => {
                writer.finish()?;
                Some(path.clone())
            }
            _ => None,
        };
        let report = lay_out(&CaptureReport { input: input.source.clone(), models: captured, saved });
        Ok(match stopped {
            Some(error) => report.effect(Effect::Fail(error)),
            None => report,
        })
    }
}

/// Captures one model.
fn one(
    side: &Side<'_>,
    arguments: &Arguments,
    input: &crate::input::Input,
    (writer, prefix): (&mut Option<ArrayWriter>, &str),
    progress: &dyn Progress,
) -> Result<(Captured, Option<Error>)> {
    let info = side.model.info();
    let mut wanted = computing(info);
    wanted.retain(|(layer, _)| arguments.all || !layer.kind.is_plumbing());
    if let Some(pattern) = &arguments.pattern {
        wanted.retain(|(layer, _)| matches_pattern(pattern, &layer.path));
    }
    if wanted.is_empty() {
        return Err(Error::not_found(format!("no layer of `{}` matches", side.model.id))
            .with_hint("List its layers with `layers`."));
    }
    let names: Vec<String> = wanted.iter().map(|(_, value)| (*value).to_owned()).collect();
    let graph = Graph::of(info, false);
    let mut gathered: HashMap<&str, Gathered<'_>> =
        wanted.iter().map(|(layer, value)| (*value, Gathered::new(layer, value, &graph))).collect();
    // One pass if the backend frees what it has delivered.
    let is_one_pass = side.options.contains_key(BUDGET_OPTION);
    let feed = arguments.samples.of(input);
    let groups = if is_one_pass { vec![names] } else { groups(side, &names, feed.batch, arguments.budget) };
    let streamed = each_tensor(side, &groups, feed, progress, &mut |tensor| {
        let Some(one) = gathered.get_mut(tensor.name.as_str()) else { return Ok(()) };
        let codes = tensor.quantization.as_ref().or(one.codes).filter(|_| tensor.dtype.is_integer());
        if let Some(writer) = writer {
            let (dtype, bytes) = Real::kept(tensor, codes, arguments.raw, |dtype| writer.takes(dtype))?;
            writer.append(&format!("{prefix}{}", tensor.name), dtype, &tensor.shape, &bytes)?;
        }
        one.dtype = tensor.dtype.to_string();
        one.shape.clone_from(&tensor.shape);
        // Values that are not real numbers have no statistics.
        let Ok(real) = Real::of(tensor, codes.filter(|_| !arguments.raw)) else { return Ok(()) };
        let range = one.range.filter(|_| !arguments.raw);
        real.each(&mut |values| {
            one.statistics.add(values);
            one.histogram.add(values);
            range.into_iter().for_each(|range| one.within.add(values, range));
        });
        Ok(())
    })?;
    let rows = wanted.iter().filter_map(|(_, value)| gathered.remove(value).map(|one| one.row(value)));
    let captured = Captured {
        model: side.model.id.clone(),
        samples: streamed.samples,
        batch: feed.batch,
        groups: streamed.groups,
        is_optimized: arguments.optimized,
        ran: streamed.report.map(Ran::from).unwrap_or_default(),
        layers: rows.collect(),
    };
    Ok((captured, streamed.stopped))
}

/// The values that layers compute, each with its layer; a layer inside a node has none that can leave it.
fn computing(info: &ModelInfo) -> Vec<(&LayerInfo, &str)> {
    let values = info.values_by_name();
    let stored: HashSet<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let is_tensor =
        |name: &str| values.get(name).is_none_or(|value| value.type_name.is_none()) && !stored.contains(name);
    info.layers
        .iter()
        .filter(|layer| !layer.is_inner)
        .flat_map(|layer| layer.outputs.iter().map(move |value| (layer, value.as_str())))
        .filter(|(_, value)| !value.is_empty() && is_tensor(value))
        .collect()
}

impl<'a> Gathered<'a> {
    fn new(layer: &'a LayerInfo, value: &str, graph: &Graph<'a>) -> Self {
        let codes = graph.value(value).and_then(|value| value.quantization.as_ref());
        let after = || graph.outgoing(graph.producer(value)?).find_map(|edge| edge.quantization);
        let range = codes
            .or_else(after)
            .filter(|codes| codes.scales.len() == 1)
            .and_then(representable)
            .and_then(|(low, high)| ValueRange::new(low, high));
        Self {
            layer,
            codes,
            range,
            dtype: String::new(),
            shape: Vec::new(),
            statistics: Statistics::new(),
            histogram: GrowingHistogram::new(BINS),
            within: RangeCount::new(),
        }
    }

    fn row(self, value: &str) -> CapturedValue {
        let (edges, counts) = self.histogram.bins();
        let ends = self.statistics.min().zip(self.statistics.max());
        let beyond = self.range.map(|range| Beyond::new(range, &self.within));
        CapturedValue {
            label: self.layer.label_of(value).to_owned(),
            layer: self.layer.path.clone(),
            op_type: self.layer.op_type.clone(),
            value: value.to_owned(),
            dtype: self.dtype,
            shape: self.shape,
            sketch: ends.map(|(min, max)| self.histogram.parts(min, max, COLUMNS)).unwrap_or_default(),
            edges,
            counts: counts.to_vec(),
            clipped_share: beyond.and_then(|beyond| beyond.clipped_share),
            rectified_share: beyond.and_then(|beyond| beyond.rectified_share),
            statistics: Summary::from(&self.statistics),
        }
    }
}

/// A one-line histogram; the fullest bin has the height of the line.
fn sketch(parts: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = parts.iter().copied().fold(0.0, f64::max);
    let level = |part: &f64| match *part {
        part if part <= 0.0 => ' ',
        part => LEVELS[((part / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    parts.iter().map(level).collect::<String>().trim_end().to_owned()
}

fn lay_out(found: &CaptureReport) -> Report {
    let mut report = Report::of(found);
    for captured in &found.models {
        let how = if captured.is_optimized { "as the runtime executes it" } else { "graph as written" };
        let passes =
            if captured.groups > 1 { format!(", in {} passes", captured.groups) } else { String::new() };
        report = report
            .toned_line([
                (Tone::Name, captured.model.clone()),
                (
                    Tone::Plain,
                    format!(
                        " on {} of {}, {how}{passes}",
                        counted(captured.samples as usize, "sample"),
                        found.input
                    ),
                ),
            ])
            .toned_line([(Tone::Dim, captured.ran.text())])
            .table(Table::of(&captured.layers));
    }
    if let Some(path) = &found.saved {
        report = report.toned_line([(Tone::Good, "written: ".to_owned()), (Tone::Name, path.clone())]);
    }
    report
}
