//! `run`: compute a model's outputs on the current input.

mod declaration;
mod measured;
mod side_by_side;

use super::arguments::number::integer_in;
use super::arguments::running::Running;
use super::{Command, Example, Group, Scope};
use crate::array_file::ArrayWriter;
use crate::backend::RunOptions;
use crate::capture::Side;
use crate::capture::real::Real;
use crate::capture::scores::scores;
use crate::error::{Error, Result};
use crate::model::{Property, Tensor, element_count, shape_text};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use measured::{Measured, repeated};
use side_by_side::{Scored, side_by_side};
use std::time::Duration;

/// Values of one output that the result value holds.
const MAX_VALUES: usize = 1_000;
/// Values of one output that are printed if they are not class scores.
const SHOWN_VALUES: usize = 8;
/// Classes that are printed.
const TOP: usize = 5;

/// Samples that are printed when several models are run.
const SHOWN_SAMPLES: usize = 20;

/// `run [NAME…]`
pub(super) struct Run;

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The models; without any, the current one
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// How many times to run; the latency is the median, after a warm-up run
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = integer_in::<u32>(1..=100_000))]
    repeat: u32,
    /// Samples to run together; without it, as many as take 1 MiB, but at least 32
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u64>(1..=1_000_000))]
    batch: Option<u64>,
    /// A setting of the runtime, as in threads=1; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Write the outputs to FILE.npz or FILE.safetensors
    #[arg(long, value_name = "PATH")]
    save: Option<String>,
    /// Replace an existing file
    #[arg(long, requires = "save")]
    force: bool,
    #[command(flatten)]
    running: Running,
}

/// Several models on one input.
struct SideBySide {
    models: Vec<Ran>,
}

struct Ran {
    model: String,
    input: String,
    steps: Vec<String>,
    runtime: String,
    runtime_version: String,
    settings: Vec<Property>,
    runs: usize,
    latency: Duration,
    outputs: Vec<Output>,
    /// The scores of the first samples, if the first output holds some.
    scores: Vec<Vec<f64>>,
    /// How many samples have scores.
    scored: usize,
}

struct Output {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    /// The first values, dequantized; none for strings.
    values: Vec<f64>,
    is_truncated: bool,
    /// For an output of shape `1×classes`: the classes with the highest scores.
    top: Vec<Class>,
    not_finite: usize,
}

struct Class {
    class: usize,
    score: f64,
    /// The score's share of the highest.
    share: f64,
}

impl Command for Run {
    type Arguments = Arguments;
    const NAME: &'static str = "run";
    const SUMMARY: &'static str = "Compute a model's outputs on the current input";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8.onnx; input digits.npz:images[0]; run",
            shows: "the five most likely classes",
        },
        Example {
            line: "input digits.npz:images[0:4]; run resnet8.onnx resnet8_int8.onnx resnet8_int8.pt",
            shows: "the classes that three models predict, side by side",
        },
        Example {
            line: "use resnet8.onnx; input random; run resnet8_int8.onnx --repeat 20",
            shows: "the median latency of 20 runs",
        },
        Example {
            line: "input digits.npz:images[0:4]; run resnet8_int8.pt --qengine fbgemm --threads 1",
            shows: "the classes that one of PyTorch's engines predicts",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Ran>(1).when("of one model"),
            ReportShape::of::<SideBySide>(1)
                .when("of several models")
                .draws::<Scored>("scores", "The predictions, two columns for each model"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let own_options = options(&arguments.settings)?;
        let task = scope.ui.task(scope.cancel);
        let models: Vec<_> = match &arguments.names[..] {
            [] => vec![playground.model(None, &task)?],
            names => names.iter().map(|name| playground.model(Some(name), &task)).collect::<Result<_>>()?,
        };
        models.iter().try_for_each(|model| model.runnable())?;
        arguments.running.check(&models.iter().map(|model| &**model).collect::<Vec<_>>())?;
        let input = playground.chosen_input()?;
        let mut writer = match &arguments.save {
            Some(path) => Some(ArrayWriter::new(&playground.path(path), arguments.force)?),
            None => None,
        };
        let mut ran = Vec::new();
        for model in &models {
            let mut options = arguments.running.options(model);
            options.extend(own_options.clone());
            let side = Side::of(model, options, playground, &task);
            let prefix = if models.len() > 1 { format!("{}/", model.id) } else { String::new() };
            let mut receive = |tensor: &Tensor| match &mut writer {
                Some(writer) => save(writer, &prefix, tensor),
                None => Ok(()),
            };
            let how = (arguments.repeat, arguments.batch);
            let measured = repeated(&side, &input, how, &mut receive, &task)?;
            ran.push(described(&model.id, input.source.clone(), measured));
        }
        drop(task);
        if let Some(writer) = writer {
            writer.finish()?;
        }
        let report = if ran.len() == 1 { push_ran(Report::of(&ran[0]), &ran[0]) } else { side_by_side(ran) };
        Ok(match arguments.save {
            Some(path) => report.toned_line([(Tone::Good, "written: ".to_owned()), (Tone::Name, path)]),
            None => report,
        })
    }
}

fn save(writer: &mut ArrayWriter, prefix: &str, tensor: &Tensor) -> Result<()> {
    let (dtype, bytes) =
        Real::kept(tensor, tensor.quantization.as_ref(), false, |dtype| writer.takes(dtype))?;
    writer.append(&format!("{prefix}{}", tensor.name), dtype, &tensor.shape, &bytes)
}

fn options(settings: &[String]) -> Result<RunOptions> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::usage(format!("`{text}` is not a setting"))
            .with_hint("Write NAME=VALUE, as in threads=1.")),
    };
    settings.iter().map(pair).collect()
}

fn described(model: &str, input: String, measured: Measured) -> Ran {
    let Measured { steps, outputs, report, mut latencies } = measured;
    latencies.sort();
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    Ran {
        model: model.to_owned(),
        input,
        steps,
        runtime: report.runtime,
        runtime_version: report.runtime_version,
        settings: report.settings,
        runs: latencies.len(),
        latency: median,
        outputs: outputs.list,
        scores: outputs.scores,
        scored: outputs.scored,
    }
}

/// The scores of each sample, for an output of shape `samples×classes`.
fn scores_of(output: &Tensor) -> Vec<Vec<f64>> {
    let is_scores = matches!(output.shape[..], [_, classes] if classes > 1);
    if is_scores { scores(output).unwrap_or_default() } else { Vec::new() }
}

fn head(ran: &Ran) -> [(Tone, String); 3] {
    let how_often = match ran.runs {
        1 => "1 run".to_owned(),
        runs => format!("median of {runs} runs"),
    };
    [
        (Tone::Name, ran.model.clone()),
        (Tone::Plain, format!(" on {}: {} ", ran.input, number::duration(ran.latency))),
        (Tone::Dim, format!("({how_often}, {} {})", ran.runtime, ran.runtime_version)),
    ]
}

fn push_ran(report: Report, ran: &Ran) -> Report {
    let mut report = report.toned_line(head(ran));
    if !ran.steps.is_empty() {
        report = report.toned_line([(Tone::Dim, format!("  input fitted: {}", ran.steps.join(", ")))]);
    }
    ran.outputs.iter().fold(report, push_output)
}

fn push_output(report: Report, output: &Output) -> Report {
    let head = [
        (Tone::Plain, "  ".to_owned()),
        (Tone::Name, output.name.clone()),
        (Tone::Dim, format!(" {} {}", output.dtype, shape_text(&output.shape))),
    ];
    let mut report = report;
    if output.not_finite > 0 {
        report = report.toned_line([(
            Tone::Bad,
            format!("  {} values of `{}` are NaN or infinite", output.not_finite, output.name),
        )]);
    }
    if output.top.is_empty() {
        let shown: Vec<String> =
            output.values.iter().take(SHOWN_VALUES).map(|value| number::real(*value)).collect();
        let rest = if output.values.len() > SHOWN_VALUES || output.is_truncated { ", …" } else { "" };
        return report.toned_line(head).line(format!("    {}{rest}", shown.join(", ")));
    }
    report.toned_line(head).table(Table::of(&output.top))
}

impl Output {
    /// Appends the next batch's part of it.
    fn extend(&mut self, tensor: &Tensor) {
        let more = output(tensor);
        if let (Some(count), Some(samples)) = (self.shape.first_mut(), tensor.shape.first()) {
            *count += samples;
        }
        self.not_finite += more.not_finite;
        self.is_truncated |= more.is_truncated || self.values.len() + more.values.len() > MAX_VALUES;
        let room = MAX_VALUES.saturating_sub(self.values.len());
        self.values.extend(more.values.into_iter().take(room));
        self.top.clear();
    }
}

fn output(tensor: &Tensor) -> Output {
    let values = real_values(tensor);
    let is_scores =
        matches!(tensor.shape[..], [_] | [1, _]) && (2..=MAX_VALUES * 100).contains(&values.len());
    let mut ranked: Vec<Class> = if is_scores {
        values.iter().enumerate().map(|(class, &score)| Class { class, score, share: 0.0 }).collect()
    } else {
        Vec::new()
    };
    ranked.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.class.cmp(&other.class)));
    ranked.truncate(TOP);
    let highest = ranked.first().map_or(0.0, |class| class.score);
    for class in &mut ranked {
        class.share = if highest > 0.0 { (class.score / highest).clamp(0.0, 1.0) } else { 0.0 };
    }
    Output {
        name: tensor.name.clone(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.clone(),
        not_finite: values.iter().filter(|value| !value.is_finite()).count(),
        is_truncated: values.len() > MAX_VALUES,
        values: values.into_iter().take(MAX_VALUES).collect(),
        top: ranked,
    }
}

/// The values, dequantized where the tensor says how; none for strings and unknown types.
fn real_values(tensor: &Tensor) -> Vec<f64> {
    let count = element_count(&tensor.shape).and_then(|count| usize::try_from(count).ok());
    let (Some(element), Some(count)) = (tensor.dtype.element_type(), count) else { return Vec::new() };
    let codes = element.decode(&tensor.bytes, count);
    match &tensor.quantization {
        Some(parameters) if parameters.scales.len() == 1 => {
            let (scale, zero_point) =
                (parameters.scales[0], parameters.zero_points.first().copied().unwrap_or(0.0));
            codes.map(|code| (code - zero_point) * scale).collect()
        }
        _ => codes.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, QuantizationParameters};

    fn tensor(dtype: DType, shape: &[u64], bytes: Vec<u8>) -> Tensor {
        Tensor { name: "y".into(), dtype, shape: shape.to_vec(), bytes, quantization: None }
    }

    #[test]
    fn the_highest_scores_come_first_and_equal_ones_in_order() {
        let bytes = [0.1f32, 0.7, 0.1, f32::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
        let output = output(&tensor(DType::FLOAT32, &[1, 4], bytes));
        let classes: Vec<usize> = output.top.iter().map(|class| class.class).collect();
        assert_eq!(classes, [3, 1, 0, 2]);
        assert_eq!(output.not_finite, 1);
    }

    #[test]
    fn quantized_outputs_are_dequantized() {
        let mut codes = tensor(DType::UINT8, &[3], vec![128, 130, 126]);
        codes.quantization = Some(QuantizationParameters::per_tensor(DType::UINT8, 0.5, 128.0));
        assert_eq!(real_values(&codes), [0.0, 1.0, -1.0]);
    }

    #[test]
    fn a_batch_is_no_list_of_scores() {
        let output = output(&tensor(DType::UINT8, &[2, 2], vec![1, 2, 3, 4]));
        assert!(output.top.is_empty());
        assert_eq!(output.values, [1.0, 2.0, 3.0, 4.0]);
    }
}
