//! `drift`: whether one file gives the same answer under other settings of the runtime.

mod declaration;
mod runtimes;

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
use crate::model::{ModelInfo, Tensor};
use crate::playground::{Loaded, Playground};
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use declaration::{Found, Row, Variation};
use runtimes::{difference, layers, on_runtimes};

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
    /// The native runtimes to try, each a library or its folder, as in ort-1.19/,ort-1.31/; the first is what the others are held against
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    runtime: Vec<String>,
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
        let others = on_runtimes(&model, &arguments.runtime, playground, &task)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut baseline: Vec<Batch> = Vec::new();
        let (mut samples, mut report, mut stopped) = (0, None, None);
        let mut versions: Vec<String> = Vec::new();
        for (place, variation) in variations.iter().enumerate() {
            let of_runtime = others.iter().find(|(name, _)| Some(name) == variation.runtime.as_ref());
            let used = of_runtime.map_or(&*model, |(_, other)| other);
            let side = Side::new(used, sibling.clone(), options(variation, used));
            let batches = feed.batches(&[&side])?;
            let total = batches.samples() * variations.len() as u64;
            samples = batches.samples();
            task.update("running samples with other settings", samples * place as u64, total);
            match outputs(&side, batches, codes.as_ref(), &task) {
                Ok((outputs, last)) => {
                    if place == 0 {
                        baseline.clone_from(&outputs);
                    }
                    rows.push(row(&baseline, &outputs, variation.clone(), last.as_ref(), scale)?);
                    let version = last.as_ref().map(|report| report.runtime_version.clone());
                    versions.extend(version.filter(|version| !versions.contains(version)));
                    report = last;
                }
                Err(error) if error.kind() == ErrorKind::Cancelled && place > 1 => {
                    stopped = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let layers = if stopped.is_none() { layers(&others, feed, &task)? } else { Vec::new() };
        drop(task);
        let runtime = report.map(|report| report.runtime).unwrap_or_default();
        let runtime_version = versions.join(", ");
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
            layers,
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
        counts = if arguments.runtime.is_empty() { vec![1, all.max(2)] } else { vec![1] };
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
    let runtimes: Vec<Option<&String>> = match &arguments.runtime[..] {
        [] => vec![None],
        named => named.iter().map(Some).collect(),
    };
    let mut variations = Vec::new();
    for (optimization, runtime) in
        levels.iter().flat_map(|level| runtimes.iter().map(move |runtime| (*level, *runtime)))
    {
        for qengine in &engines {
            for precision in &precisions {
                let (qengine, precision) = (qengine.clone(), precision.clone());
                variations.extend(counts.iter().map(|threads| Variation {
                    runtime: runtime.cloned(),
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
        let difference = difference(&expected_codes, &found_codes);
        row.elements += difference.elements;
        row.differing += difference.differing;
        row.max_abs_difference = row.max_abs_difference.max(difference.largest);
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
    let report = Report::of(found)
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
        .table(Table::of(&found.rows));
    match found.layers.is_empty() {
        true => report,
        false => report.table(Table::of(&found.layers)),
    }
}
