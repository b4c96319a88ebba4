//! `run`: compute a model's outputs on the current input.

use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, RunOptions, RunOutcome};
use crate::error::{Error, Result};
use crate::input::{element_type, shape_text};
use crate::model::{Property, Tensor, element_count};
use crate::playground::Playground;
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::time::Duration;

/// Values of one output that the result value holds.
const MAX_VALUES: usize = 1_000;
/// Values of one output that are printed when they are no class scores.
const SHOWN_VALUES: usize = 8;
/// Classes that are printed.
const TOP: usize = 5;

/// `run [NAME]`
pub(super) struct Run;

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// How many times; the latency is then the median, after one run that is not counted
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// A setting of the runtime, as in threads=1; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

#[derive(Serialize)]
struct Ran {
    model: String,
    input: String,
    steps: Vec<String>,
    runtime: String,
    runtime_version: String,
    settings: Vec<Property>,
    runs: usize,
    latency_ms: f64,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
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

#[derive(Serialize)]
struct Class {
    class: usize,
    score: f64,
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
            line: "use resnet8.onnx; input random; run resnet8_int8.onnx --repeat 20",
            shows: "the median latency of 20 runs",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let options = options(&arguments.settings)?;
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let Some(input) = playground.input.clone() else {
            return Err(Error::state("no input is chosen")
                .with_hint("Choose one with `input random` or `input FILE`."));
        };
        if let Some(obstacle) = &model.info().run_obstacle {
            return Err(obstacle.clone());
        }
        let sibling = playground.outspoken_sibling(&model, &task);
        let fitted = input.fit(model.info(), sibling.as_ref())?;
        let mut outcome = model.session.run(&fitted.tensors, &Fetch::Outputs, &options, &task)?;
        let mut latencies = vec![outcome.report.elapsed];
        if arguments.repeat > 1 {
            latencies.clear();
            for _ in 0..arguments.repeat {
                scope.cancel.check()?;
                outcome = model.session.run(&fitted.tensors, &Fetch::Outputs, &options, &task)?;
                latencies.push(outcome.report.elapsed);
            }
        }
        drop(task);
        report(&model.id, input.source, fitted.steps, outcome, latencies)
    }
}

fn options(settings: &[String]) -> Result<RunOptions> {
    let pair =
        |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Error::usage(format!("`{text}` is no setting"))
                .with_hint("Write NAME=VALUE, as in threads=1.")),
        };
    settings.iter().map(pair).collect()
}

fn report(
    model: &str,
    input: String,
    steps: Vec<String>,
    outcome: RunOutcome,
    mut latencies: Vec<Duration>,
) -> Result<Report> {
    latencies.sort();
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    let ran = Ran {
        model: model.to_owned(),
        input,
        steps,
        runtime: outcome.report.runtime,
        runtime_version: outcome.report.runtime_version,
        settings: outcome.report.settings,
        runs: latencies.len(),
        latency_ms: median.as_secs_f64() * 1e3,
        outputs: outcome.tensors.iter().map(output).collect(),
    };
    let how_often = match ran.runs {
        1 => "1 run".to_owned(),
        runs => format!("median of {runs} runs"),
    };
    let mut report = Report::new(&ran)?.toned_line([
        (Tone::Name, ran.model.clone()),
        (Tone::Plain, format!(" on {}: {} ", ran.input, number::duration(median))),
        (Tone::Dim, format!("({how_often}, {} {})", ran.runtime, ran.runtime_version)),
    ]);
    if !ran.steps.is_empty() {
        report = report.toned_line([(Tone::Dim, format!("  input fitted: {}", ran.steps.join(", ")))]);
    }
    for output in &ran.outputs {
        report = push_output(report, output);
    }
    Ok(report)
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
    let mut table = Table::new([Column::number("class"), Column::number("score"), Column::chart("")]);
    let highest = output.top.first().map_or(0.0, |class| class.score);
    for class in &output.top {
        let share = if highest > 0.0 { (class.score / highest).clamp(0.0, 1.0) } else { 0.0 };
        table.row([
            Cell { text: class.class.to_string(), raw: class.class.into(), ..Cell::default() },
            Cell::real(class.score),
            // A score needs no more than half of what a histogram does.
            Cell::chart(Chart::Bar(share / 2.0)).tone(Tone::Good),
        ]);
    }
    report.toned_line(head).table(table)
}

fn output(tensor: &Tensor) -> Output {
    let values = real_values(tensor);
    let is_scores =
        matches!(tensor.shape[..], [_] | [1, _]) && (2..=MAX_VALUES * 100).contains(&values.len());
    let mut ranked: Vec<Class> = if is_scores {
        values.iter().enumerate().map(|(class, &score)| Class { class, score }).collect()
    } else {
        Vec::new()
    };
    ranked.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.class.cmp(&other.class)));
    ranked.truncate(TOP);
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
    let (Some(element), Some(count)) = (element_type(tensor.dtype), count) else { return Vec::new() };
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
