//! `drift`: whether one file gives the same answer under other settings of the runtime.

use super::arguments::number::integer_in;
use super::arguments::samples::Samples;
use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, Progress, RunOptions, RunReport};
use crate::capture::batch::Batches;
use crate::capture::follow::{Followed, Follower, Partner};
use crate::capture::real::Real;
use crate::capture::scores::{classes, first};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ModelInfo, Property, Tensor};
use crate::playground::{Loaded, Playground};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// Batch size, unless the user says otherwise.
const BATCH: u64 = 32;
/// The levels of optimization, the least first.
const LEVELS: [&str; 4] = ["disable", "basic", "extended", "all"];

/// `drift [NAME]`
pub(super) struct Drift;

/// The arguments of `drift`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    #[command(flatten)]
    samples: Samples,
    /// The numbers of threads to try, as in 1,2,8, up to 1024; without them 1 and all cores
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', value_parser = integer_in::<u32>(0..=4096))]
    threads: Vec<u32>,
    /// The engines of PyTorch's quantized operators to try, as in x86,fbgemm,onednn,qnnpack
    #[arg(long, value_name = "ENGINES", value_delimiter = ',')]
    qengine: Vec<String>,
    /// The precisions of PyTorch's float computations to try, as in float64,float32,bfloat16
    #[arg(long, value_name = "DTYPES", value_delimiter = ',')]
    precision: Vec<String>,
}

struct Found<'a> {
    model: &'a str,
    input: &'a str,
    samples: u64,
    runtime: String,
    runtime_version: String,
    /// The last value that is rounded to codes, and one step of them.
    at: Option<&'a str>,
    step: Option<f64>,
    /// Whether all settings give the same bits.
    is_same: bool,
    rows: Vec<Row>,
}

struct Row {
    /// What was asked for.
    variation: Variation,
    /// What took effect.
    settings: Vec<Property>,
    /// Elements that differ from those of the first row.
    differing: u64,
    elements: u64,
    max_abs_difference: f64,
    /// The largest difference of the last value that is rounded to codes, in their steps.
    max_steps: Option<f64>,
    /// Samples whose class changed.
    changed: u64,
}

/// Settings of one run.
#[derive(Clone, Debug)]
struct Variation {
    optimization: Option<&'static str>,
    threads: u32,
    qengine: Option<String>,
    precision: Option<String>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input),
            Self::field("samples", Unit::Count, "Samples that each row ran on", |found| found.samples),
            Self::field("runtime", Unit::Text, "The runtime that executed the model", |found| {
                found.runtime.clone()
            }),
            Self::field("runtime_version", Unit::Text, "Its version", |found| found.runtime_version.clone()),
            Self::field("at", Unit::Name, "The last value that is rounded to codes", |found| found.at),
            Self::field("step", Unit::Real, "One step of those codes", |found| found.step),
            Self::field("is_same", Unit::Flag, "Whether all settings give the same bits", |found| {
                found.is_same
            }),
            Self::list("rows", "One row for each combination of settings", |found| &found.rows),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(Variation::fields(), |row| Some(&row.variation)).always(),
            Self::list("settings", "The settings that took effect", |row| &row.settings),
            Self::field("differing", Unit::Count, "Elements that differ from the first row's", |row| {
                row.differing
            }),
            Self::field(
                "differing_share",
                Unit::Share,
                "Share of elements that differ from the first row's",
                |row| row.differing as f64 / row.elements.max(1) as f64,
            )
            .title("differing")
            .rank(1),
            Self::field("elements", Unit::Count, "Elements of the output", |row| row.elements),
            Self::field(
                "max_abs_difference",
                Unit::Real,
                "Largest absolute difference of an output element from the first row's",
                |row| row.max_abs_difference,
            )
            .title("largest difference"),
            Self::field(
                "max_steps",
                Unit::Decimals(2),
                "Largest difference of the last value that is rounded to codes, in steps of these codes",
                |row| row.max_steps,
            )
            .symbol("steps")
            .title("steps of codes"),
            Self::field("changed", Unit::Count, "Samples that changed class", |row| row.changed)
                .title("changed classes")
                .tone(|row| if row.changed > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    }
}

impl Record for Variation {
    fn fields() -> Vec<Field<Self>> {
        vec![
            // A backend that always runs the graph as written has no levels.
            Self::field("optimization", Unit::Name, "Level of graph optimization", |asked| {
                asked.optimization
            })
            .title("optimization")
            .hidden_if_missing(),
            Self::field("threads", Unit::Count, "Threads that were asked for", |asked| asked.threads)
                .title("threads")
                .after("precision"),
            Self::field("qengine", Unit::Text, "Engine of PyTorch's quantized operators", |asked| {
                asked.qengine.clone()
            })
            .title("qengine")
            .hidden_if_missing(),
            Self::field("precision", Unit::Text, "Type that PyTorch computes floats in", |asked| {
                asked.precision.clone()
            })
            .title("precision")
            .hidden_if_missing(),
        ]
    }
}

impl Command for Drift {
    type Arguments = Arguments;
    const NAME: &'static str = "drift";
    const SUMMARY: &'static str = "Compare a model with itself under other settings of the runtime";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "input digits.npz:images[0:64]; drift resnet8_int8.onnx",
            shows: "each level of optimization with 1 thread and with all",
        },
        Example {
            line: "input digits.npz:images[0:64]; drift resnet8_int8.pt --threads 1 --qengine fbgemm,x86,onednn",
            shows: "whether PyTorch's engines give the same codes",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        model.runnable()?;
        let input = playground.chosen_input()?;
        let sibling = playground.outspoken_sibling(&model, &task);
        let variations = variations(&model, &arguments)?;
        let batch = arguments.samples.batch.unwrap_or(BATCH);
        let feed = Feed { batch, ..arguments.samples.of(&input) };
        let is_captured = model.session.plugin().has_feature("capture");
        let codes = last_codes(model.info()).filter(|_| is_captured);
        let scale = codes.as_ref().and_then(|value| value.quantization?.scales.first().copied());
        let mut rows: Vec<Row> = Vec::new();
        let mut baseline: Vec<Batch> = Vec::new();
        let (mut samples, mut report, mut stopped) = (0, None, None);
        for (place, variation) in variations.iter().enumerate() {
            let side = Side::new(&model, sibling.clone(), options(variation, &model));
            let batches = feed.batches(&[&side])?;
            let total = batches.samples() * variations.len() as u64;
            samples = batches.samples();
            task.update("running with other settings", samples * place as u64, total);
            match outputs(&side, batches, codes.as_ref(), &task) {
                Ok((outputs, last)) => {
                    if place == 0 {
                        baseline.clone_from(&outputs);
                    }
                    rows.push(row(&baseline, &outputs, variation.clone(), last.as_ref(), scale)?);
                    report = last;
                }
                Err(error) if error.kind() == ErrorKind::Cancelled && place > 1 => {
                    stopped = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        drop(task);
        let (runtime, runtime_version) =
            report.map(|report| (report.runtime, report.runtime_version)).unwrap_or_default();
        let report = lay_out(&Found {
            model: &model.id,
            input: &input.source,
            samples,
            runtime,
            runtime_version,
            at: codes.as_ref().map(|value| value.name),
            step: scale,
            is_same: rows.iter().all(|row| row.differing == 0),
            rows,
        });
        Ok(match stopped {
            Some(error) => report.effect(Effect::Fail(error)),
            None => report,
        })
    }
}

/// The settings to try: the graph as written with one thread comes first.
fn variations(model: &Loaded, arguments: &Arguments) -> Result<Vec<Variation>> {
    let all = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let mut counts = arguments.threads.clone();
    if counts.is_empty() {
        counts = vec![1, all.max(2)];
    }
    counts.dedup();
    let plugin = model.session.plugin();
    if !plugin.has_feature("threads") {
        if !arguments.threads.is_empty() {
            return Err(Error::usage(format!("{} does not support `--threads`", plugin.name))
                .with_hint("Leave `--threads` out."));
        }
        // The same setting twice shows what differs from run to run.
        counts = vec![1, 1];
    }
    let listed = |name: &str, values: &[String]| match values {
        [] => Ok(vec![None]),
        values if plugin.option(name).is_some() => Ok(values.iter().cloned().map(Some).collect()),
        _ => Err(Error::usage(format!("{} does not support `--{name}`", plugin.name))
            .with_hint(format!("Leave `--{name}` out."))),
    };
    let engines = listed("qengine", &arguments.qengine)?;
    let precisions = listed("precision", &arguments.precision)?;
    let levels: Vec<Option<&'static str>> =
        if plugin.has_feature("optimization") { LEVELS.map(Some).to_vec() } else { vec![None] };
    let mut variations = Vec::new();
    for optimization in levels {
        for qengine in &engines {
            for precision in &precisions {
                let (qengine, precision) = (qengine.clone(), precision.clone());
                variations.extend(counts.iter().map(|threads| Variation {
                    optimization,
                    threads: *threads,
                    qengine: qengine.clone(),
                    precision: precision.clone(),
                }));
            }
        }
    }
    Ok(variations)
}

fn options(variation: &Variation, model: &Loaded) -> RunOptions {
    let mut options = RunOptions::new();
    if model.session.plugin().has_feature("threads") {
        options.insert("threads".to_owned(), variation.threads.to_string());
    }
    let optimization = variation.optimization.map(str::to_owned);
    let named = [
        ("optimization", optimization),
        ("qengine", variation.qengine.clone()),
        ("precision", variation.precision.clone()),
    ];
    options.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    options
}

/// What a model computes for one batch: its first output, and the real values of what is rounded to codes.
#[derive(Clone)]
struct Batch {
    output: Tensor,
    rounded: Vec<f64>,
}

/// The first output of every batch, and the value that is rounded to codes.
fn outputs(
    side: &Side<'_>,
    batches: Batches<'_>,
    codes: Option<&Followed<'_>>,
    progress: &dyn Progress,
) -> Result<(Vec<Batch>, Option<RunReport>)> {
    let name = side.model.info().outputs.first().map(|output| output.name.clone());
    let name = name.ok_or_else(|| Error::state("the model does not describe its outputs"))?;
    let names = std::iter::once(name.as_str()).chain(codes.map(|value| value.name));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.dedup();
    let fetch = if names.len() > 1 { Fetch::Named(names) } else { Fetch::Outputs };
    let (mut outputs, mut report) = (Vec::new(), None);
    for (_, batch) in batches {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let outcome = side.run(&batch, &fetch, progress)?;
        let last = outcome.tensors.last().zip(codes);
        let rounded = last.map(|(tensor, value)| {
            let codes = tensor.quantization.as_ref().or(value.quantization);
            Ok(Real::of(tensor, codes)?.to_vec())
        });
        let rounded = rounded.transpose()?.unwrap_or_default();
        outputs.push(Batch { output: first(outcome.tensors, side)?, rounded });
        report = Some(outcome.report);
    }
    Ok((outputs, report))
}

/// The last value that is rounded to codes of a single scale, if any: the output, or what comes before its
/// softmax.
fn last_codes(info: &ModelInfo) -> Option<Followed<'_>> {
    let follower = Follower::new(info, &[]);
    let output = info.outputs.first()?;
    let followed = info.layers.iter().rev().filter_map(|layer| follower.follow(layer, &Partner::default()));
    followed
        .filter(|value| value.quantization.is_some_and(|codes| codes.scales.len() == 1 && !codes.is_dynamic))
        .find(|value| value.name != output.name || output.quantization.is_some())
}

fn row(
    baseline: &[Batch],
    outputs: &[Batch],
    variation: Variation,
    report: Option<&RunReport>,
    step: Option<f64>,
) -> Result<Row> {
    let mut row = Row {
        variation,
        settings: report.map(|report| report.settings.clone()).unwrap_or_default(),
        differing: 0,
        elements: 0,
        max_abs_difference: 0.0,
        max_steps: None,
        changed: 0,
    };
    let mut largest = 0.0_f64;
    for (expected, found) in baseline.iter().zip(outputs) {
        let pairs = expected.rounded.iter().zip(&found.rounded);
        largest = pairs.map(|(expected, found)| (expected - found).abs()).fold(largest, f64::max);
        let (expected, found) = (&expected.output, &found.output);
        let real = |tensor| Real::of(tensor, None);
        let (expected_codes, found_codes) = match (&expected.quantization, &found.quantization) {
            (Some(ours), Some(theirs)) => (Real::of(expected, Some(ours))?, Real::of(found, Some(theirs))?),
            _ => (real(expected)?, real(found)?),
        };
        expected_codes.each_pair(&found_codes, |expected, found| {
            for (expected, found) in expected.iter().zip(found) {
                row.elements += 1;
                let is_same = expected == found || (expected.is_nan() && found.is_nan());
                row.differing += u64::from(!is_same);
                let difference = (expected - found).abs();
                row.max_abs_difference =
                    if is_same { row.max_abs_difference } else { row.max_abs_difference.max(difference) };
            }
        });
        let (ours, theirs) = (classes(expected)?, classes(found)?);
        row.changed += ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count() as u64;
    }
    row.max_steps = step.map(|step| largest / step);
    Ok(row)
}

fn lay_out(found: &Found<'_>) -> Report {
    let verdict = if found.is_same {
        (Tone::Good, "the same to the last bit under all settings".to_owned())
    } else {
        let worst = found.rows.iter().map(|row| row.changed).max().unwrap_or(0);
        let tone = if worst > 0 { Tone::Bad } else { Tone::Warning };
        let classes = match worst {
            0 => "and no class".to_owned(),
            worst => format!("and the class of {}", counted(worst as usize, "sample")),
        };
        (tone, format!("settings change the output, {classes}"))
    };
    Report::of(found)
        .toned_line([
            (Tone::Name, found.model.to_owned()),
            (Tone::Plain, format!(" on {} of {}: ", counted(found.samples as usize, "sample"), found.input)),
            verdict,
        ])
        .toned_line([(
            Tone::Dim,
            format!(
                "{} {}; differences from the first row{}",
                found.runtime,
                found.runtime_version,
                found.at.map(|value| format!("; steps are those of `{value}`")).unwrap_or_default()
            ),
        )])
        .table(Table::of(&found.rows))
}
