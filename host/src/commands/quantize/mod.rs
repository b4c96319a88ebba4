//! `quantize`: make a quantized model of a float one.

mod declaration;

use super::arguments::evidence::Choice;
use super::arguments::number::integer_in;
use super::arguments::running::Running;
use super::arguments::samples::Samples;
use super::{Command, Example, Group, Scope};
use crate::capture::{Execution, Feed, can_be_captured};
use crate::error::{Error, Result};
use crate::file;
use crate::model::DType;
use crate::playground::{Loaded, Playground};
use crate::quantization::{Gain, Lift, Method, Options, Rounding, quantize};
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use clap::ValueEnum;
use declaration::{QuantizeReport, Row};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// `quantize [NAME]`
pub(super) struct Quantize;

/// The arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The float model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Samples to calibrate on: the name of a data set, or what `data` takes; without it, the current input
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    samples: Samples,
    /// The file to write; without it, one beside the model, with the types in its name
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// The codes of activations
    #[arg(long, value_name = "TYPE", default_value = "int8")]
    activation_type: ActivationType,
    /// The codes of weights
    #[arg(long, value_name = "TYPE", default_value = "int8")]
    weight_type: WeightType,
    /// A scale for each channel of a weight
    #[arg(long)]
    per_channel: bool,
    /// One bit less for weights, for processors whose sums of products saturate
    #[arg(long)]
    reduce_range: bool,
    /// How the ranges of activations are chosen
    #[arg(long, value_name = "METHOD", default_value = "minmax")]
    calibrate_method: CalibrateMethod,
    /// For `percentile`: how much of the values a range contains, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.999)]
    calib_percentile: f64,
    /// For `minmax`: the mean of the batches' extremes instead of the extremes of all
    #[arg(long)]
    calib_moving_average: bool,
    /// Whether calibrated ranges have zero in the middle; without it, those of `percentile` have
    #[arg(long, value_name = "FLAG")]
    calib_tensor_range_symmetric: Option<bool>,
    /// Leave layers as they are whose name matches a pattern such as `head*`
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Only layers of these operators, as in Conv,MatMul
    #[arg(long, value_name = "OPERATORS", value_delimiter = ',')]
    op_types: Vec<String>,
    /// Codes of activations with zero in the middle; clamps such as ReLU then stay in the graph
    #[arg(long)]
    activation_symmetric: bool,
    /// Whether codes of weights have zero in the middle; without it, those of signed types have
    #[arg(long, value_name = "FLAG")]
    weight_symmetric: Option<bool>,
    /// The least width of a range
    #[arg(long, value_name = "WIDTH")]
    minimum_real_range: Option<f32>,
    /// Keep clamps such as ReLU in the graph even where the codes do the same
    #[arg(long)]
    keep_removable_activations: bool,
    /// Quantize layers that only move values, such as transpositions, even if what they read is not quantized
    #[arg(long)]
    force_quantize_no_input_check: bool,
    /// The form of the result: pairs of QuantizeLinear and DequantizeLinear, or operators that take codes
    #[arg(long, value_name = "FORM", default_value = "qdq")]
    quant_format: QuantFormat,
    /// Measure all ranges again, also those of an earlier calibration on the same samples
    #[arg(long)]
    fresh: bool,
    /// Quantize the graph as it is: no folding of batch normalizations and constants before
    #[arg(long)]
    as_is: bool,
    /// Scale channels between layers first, so that one scale fits them all
    #[arg(long)]
    equalize: bool,
    /// Ranges of weights: all their values, or those with the least mean squared error
    #[arg(long, value_name = "METHOD", default_value = "minmax")]
    weight_clip: WeightClip,
    /// How weights become codes
    #[arg(long, value_name = "METHOD", default_value = "nearest")]
    rounding: RoundingMethod,
    /// Take from the biases what quantization adds to the mean of each channel
    #[arg(long)]
    bias_correction: bool,
    /// How many layers to print
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = integer_in::<u32>(0..=1_000_000))]
    top: u32,
    #[command(flatten)]
    running: Running,
}

/// Codes of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ActivationType {
    Int8,
    Uint8,
    Int16,
    Uint16,
}

/// The form of a quantized graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum QuantFormat {
    Qdq,
    Qoperator,
}

/// Codes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightType {
    Int8,
    Uint8,
    Int4,
    Uint4,
    Int16,
    Uint16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CalibrateMethod {
    /// From the smallest to the largest value
    Minmax,
    /// Where the codes keep the distribution best
    Entropy,
    /// Nearly all values
    Percentile,
    /// Where the codes make the least mean squared error
    Mse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoundingMethod {
    /// Each weight to the nearest code
    Nearest,
    /// One after the other, later ones making up for the errors of earlier ones, by the layer's inputs
    Gptq,
    /// The same, and then on to where no change of one or two codes lowers the error
    Descent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightClip {
    /// From the smallest to the largest value
    Minmax,
    /// Where the codes make the least mean squared error
    Mse,
}

impl ActivationType {
    fn dtype(self) -> DType {
        match self {
            Self::Int8 => DType::INT8,
            Self::Uint8 => DType::UINT8,
            Self::Int16 => DType::INT16,
            Self::Uint16 => DType::UINT16,
        }
    }
}

impl WeightType {
    fn dtype(self) -> DType {
        match self {
            Self::Int8 => DType::INT8,
            Self::Uint8 => DType::UINT8,
            Self::Int4 => DType::INT4,
            Self::Uint4 => DType::UINT4,
            Self::Int16 => DType::INT16,
            Self::Uint16 => DType::UINT16,
        }
    }
}

impl Arguments {
    fn options(&self) -> Result<Options> {
        if !(self.calib_percentile > 0.0 && self.calib_percentile <= 100.0) {
            return Err(Error::usage("`--calib-percentile` takes a number above 0 and up to 100"));
        }
        if self.minimum_real_range.is_some_and(|width| !(width >= 0.0 && width.is_finite())) {
            return Err(Error::usage("`--minimum-real-range` takes a positive number"));
        }
        Ok(Options {
            activation: self.activation_type.dtype(),
            weight: self.weight_type.dtype(),
            weight_of: HashMap::new(),
            per_channel: self.per_channel,
            reduce_range: self.reduce_range,
            method: match self.calibrate_method {
                CalibrateMethod::Minmax => Method::MinMax,
                CalibrateMethod::Entropy => Method::Entropy,
                CalibrateMethod::Percentile => Method::Percentile,
                CalibrateMethod::Mse => Method::Mse,
            },
            percentile: self.calib_percentile,
            range_symmetric: self.calib_tensor_range_symmetric,
            moving_average: self.calib_moving_average,
            activation_symmetric: self.activation_symmetric,
            weight_symmetric: self.weight_symmetric,
            min_real_range: self.minimum_real_range,
            exclude: self.exclude.clone(),
            op_types: self.op_types.clone(),
            keep_clamps: self.keep_removable_activations,
            quantize_moves: self.force_quantize_no_input_check,
            prepare: !self.as_is,
            qoperator: self.quant_format == QuantFormat::Qoperator,
            lift: Lift {
                equalize: self.equalize,
                clip_weights: self.weight_clip == WeightClip::Mse,
                rounding: match self.rounding {
                    RoundingMethod::Nearest => Rounding::Nearest,
                    RoundingMethod::Gptq => Rounding::Gptq,
                    RoundingMethod::Descent => Rounding::Descent,
                },
                correct_biases: self.bias_correction,
            },
            adjust_for_bias: true,
        })
    }

    /// The file to write.
    fn out(&self, model: &Loaded, options: &Options, playground: &Playground) -> PathBuf {
        if let Some(out) = &self.out {
            return playground.path(out);
        }
        let stem = playground.backends.stem(&model.path);
        let types = if options.activation == options.weight {
            options.weight.to_string()
        } else {
            format!("{}_{}", options.activation, options.weight)
        };
        let channels = if options.per_channel { "_perchannel" } else { "" };
        let form = if options.qoperator { "_qoperator" } else { "" };
        let extension = model.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        model.path.with_file_name(format!("{stem}_{types}{channels}{form}.{extension}"))
    }
}

impl Command for Quantize {
    type Arguments = Arguments;
    const NAME: &'static str = "quantize";
    const SUMMARY: &'static str = "Make a quantized model of a float one, calibrated on samples";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "quantize resnet8.onnx --data digits.npz --samples 64 --out new_int8.onnx --force",
            shows: "a model with int8 weights and activations, its ranges from 64 samples",
        },
        Example {
            line: "quantize resnet8.onnx --data digits.npz --samples 16 --per-channel --exclude fc* --out new_int8.onnx --force",
            shows: "a scale for each channel, and the last layer as it was",
        },
        Example {
            line: "input digits.npz:images[0:16]; quantize resnet8.onnx --activation-type uint8 --calibrate-method percentile --out new_uint8_int8.onnx --force",
            shows: "other codes and ranges, calibrated on the current input",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<QuantizeReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let start = Instant::now();
        let task = scope.ui.task(scope.cancel);
        let options = arguments.options()?;
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let out = arguments.out(&model, &options, playground);
        refuse(&model, &out, arguments.force)?;
        can_be_captured(&model)?;
        arguments.running.check(&[&model])?;
        let choice = Choice {
            data: arguments.data.clone(),
            labels: None,
            samples: arguments.samples.clone(),
            running: arguments.running.clone(),
        };
        let input = choice.read(playground)?.input;
        let side = arguments.running.side(&model, Execution::AsWritten, playground, &task);
        // One at a time, as calibration in Python does, the ranges have the same bits; larger batches are no faster.
        let feed = Feed { batch: arguments.samples.batch.unwrap_or(1), ..arguments.samples.of(&input) };
        let results = Some(&playground.kept_results).filter(|_| !arguments.fresh);
        let made = quantize(&side, feed, &options, results, &task)?;
        let files = file::keep_all(&out, arguments.force, |place| made.session.export(place, &task))?;
        playground.list_written(&out, &task)?;
        let written = playground.model(Some(&out.to_string_lossy()), &task)?;
        drop(task);
        let report =
            QuantizeReport::new(&model, &written, &input.source, &made, &options, &files, start.elapsed());
        Ok(lay_out(&report, arguments.top as usize))
    }
}

/// Before any work is done: a model that is quantized, and a file that may not be written.
fn refuse(model: &Loaded, out: &Path, may_replace: bool) -> Result<()> {
    if let Some(scheme) = &model.info().scheme {
        return Err(Error::invalid_input(format!("`{}` is quantized already: {scheme}", model.id))
            .with_hint("Give the float model that it was made of."));
    }
    let is_own = |file: &PathBuf| matches!((file.canonicalize(), out.canonicalize()), (Ok(file), Ok(out)) if file == out);
    if model.files().iter().any(is_own) {
        return Err(Error::invalid_input(format!(
            "`{}` is the file that `{}` is read from",
            out.display(),
            model.id
        ))
        .with_hint("Give another name with `--out`."));
    }
    if out.exists() && !may_replace {
        return Err(file::exists(out));
    }
    Ok(())
}

/// What a step gave, as a line.
fn said(gain: &Gain) -> String {
    let level = |db: Option<f64>| db.map_or_else(|| "–".to_owned(), |db| format!("{db:.2}"));
    let difference = match (gain.before_db, gain.after_db) {
        (Some(before), Some(after)) => format!(" ({:+.2} dB)", after - before),
        _ => String::new(),
    };
    let changed = match gain.option {
        "equalize" => format!("{} of layers", counted(gain.changed, "pair")),
        "bias-correction" if gain.changed != 1 => format!("{} biases", gain.changed),
        "bias-correction" => "1 bias".to_owned(),
        "weight-clip" | "rounding" => counted(gain.changed, "weight"),
        _ => gain.changed.to_string(),
    };
    let (before, after) = (level(gain.before_db), level(gain.after_db));
    format!("--{} changed {changed}: SQNR of the output {before} → {after} dB{difference}", gain.option)
}

fn lay_out(report: &QuantizeReport, top: usize) -> Report {
    let biases = if report.biases == 1 { "1 bias".to_owned() } else { format!("{} biases", report.biases) };
    let left = report.layers.iter().filter(|row| row.reason.is_some()).count();
    let mut laid = Report::of(report)
        .preparation(true)
        .toned_line([
            (Tone::Name, report.model.clone()),
            (Tone::Plain, " quantized to ".to_owned()),
            (Tone::Name, report.file.clone()),
            (
                Tone::Plain,
                format!(
                    " ({} → {}, {} s)",
                    number::bytes(report.bytes_before),
                    number::bytes(report.bytes),
                    number::real(report.elapsed_ms / 1e3)
                ),
            ),
        ])
        .line(format!(
            "{} of {} quantized; {}, {}, {}; ranges by {} from {}{}",
            report.layers.len() - left,
            counted(report.layers.len(), "layer"),
            counted(report.values, "activation"),
            counted(report.tensors, "weight"),
            biases,
            report.method,
            counted(report.samples as usize, "sample"),
            match report.kept_ranges {
                0 => String::new(),
                count => format!(" ({} known from an earlier calibration)", counted(count, "range")),
            },
        ));
    for gain in &report.gains {
        laid = laid.line(said(gain));
    }
    let shown: Vec<Row> =
        report.layers.iter().filter(|row| row.weight.is_some()).take(top).cloned().collect();
    let kept: Vec<&Row> = report.layers.iter().filter(|row| row.reason.is_some()).take(top).collect();
    if !shown.is_empty() {
        laid = laid.table(Table::of(&shown));
    }
    if !kept.is_empty() {
        let names: Vec<String> = kept
            .iter()
            .map(|row| format!("{} ({})", row.layer, row.detail.as_deref().unwrap_or_default()))
            .collect();
        let more =
            if left > kept.len() { format!(", and {} more", left - kept.len()) } else { String::new() };
        laid = laid.line(format!("left as they are: {}{more}", names.join(", ")));
    }
    laid
}
