//! The values of the report.

use crate::model::{Activations, DType};
use crate::playground::Loaded;
use crate::quantization::{Gain, Method, Options, Parameters, Quantized};
use crate::render::record::{Field, Record, Unit};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

pub(super) struct QuantizeReport {
    pub(super) model: String,
    pub(super) file: String,
    variant: String,
    files: Vec<String>,
    pub(super) activations: Activations,
    activation_type: Option<DType>,
    pub(super) weight_type: DType,
    pub(super) block_size: Option<usize>,
    per_channel: bool,
    pub(super) method: Option<&'static str>,
    input: Option<String>,
    pub(super) samples: u64,
    pub(super) kept_ranges: usize,
    form: &'static str,
    runtime: Option<(String, String)>,
    pub(super) values: usize,
    pub(super) tensors: usize,
    pub(super) biases: usize,
    folded: usize,
    pub(super) bytes_before: u64,
    pub(super) bytes: u64,
    pub(super) elapsed_ms: f64,
    calibration_ms: f64,
    pub(super) gains: Vec<Gain>,
    pub(super) layers: Vec<Row>,
}

/// A layer.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) layer: String,
    pub(super) operator: String,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) weight: Option<String>,
    weight_type: Option<DType>,
    axis: Option<usize>,
    scales: Vec<f32>,
    output: Option<Parameters>,
}

impl QuantizeReport {
    pub(super) fn new(
        (model, written): (&Loaded, &Loaded),
        input: Option<String>,
        made: &Quantized,
        options: &Options,
        files: &[PathBuf],
        elapsed: Duration,
    ) -> Self {
        let operators: HashMap<&str, &crate::model::LayerInfo> =
            model.info().layers.iter().map(|layer| (layer.path.as_str(), layer)).collect();
        let weights: HashMap<&str, &str> = (made.plan.tensors.iter())
            .filter(|tensor| !tensor.is_operand)
            .flat_map(|tensor| tensor.layers.iter().map(|layer| (layer.as_str(), tensor.name.as_str())))
            .collect();
        let row = |planned: &crate::model::QuantizableLayer| {
            let layer = operators.get(planned.layer.as_str());
            let weight = weights.get(planned.layer.as_str()).filter(|_| planned.reason.is_none());
            let parameters = weight.and_then(|name| made.parameters.get(*name));
            let outputs = layer.into_iter().flat_map(|layer| &layer.outputs);
            Row {
                layer: planned.layer.clone(),
                operator: layer.map(|layer| layer.op_type.clone()).unwrap_or_default(),
                reason: planned.reason.as_ref().map(|reason| reason.code.clone()),
                detail: planned.reason.as_ref().map(|reason| reason.text.clone()),
                weight: weight.map(|name| (*name).to_owned()),
                weight_type: parameters.map(|parameters| parameters.dtype),
                axis: parameters.and_then(|parameters| parameters.axis),
                scales: parameters.map(|parameters| parameters.scales.clone()).unwrap_or_default(),
                output: outputs.filter_map(|name| made.parameters.get(name)).next().cloned(),
            }
        };
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self {
            model: model.id.clone(),
            file: files.last().map(|path| path.display().to_string()).unwrap_or_default(),
            variant: written.id.clone(),
            files: files.iter().map(|path| path.display().to_string()).collect(),
            activations: options.activations,
            activation_type: (options.activations != Activations::Float).then_some(options.activation),
            weight_type: options.weight,
            block_size: options.block_size,
            per_channel: options.per_channel,
            method: match options.method {
                _ if options.activations != Activations::Calibrated => None,
                Method::MinMax if options.moving_average => Some("moving average"),
                method => Some(method.word()),
            },
            input,
            samples: made.samples,
            kept_ranges: made.kept_ranges,
            form: if options.qoperator { "qoperator" } else { "qdq" },
            runtime: made.runtime.clone(),
            values: made.plan.values.len(),
            tensors: made.plan.tensors.len(),
            biases: made.plan.biases.len(),
            folded: made.plan.folded.len(),
            bytes_before: model.bytes,
            bytes: files.iter().map(size).sum(),
            elapsed_ms: elapsed.as_secs_f64() * 1e3,
            calibration_ms: made.calibrated_in.as_secs_f64() * 1e3,
            gains: made.gains.clone(),
            layers: made.plan.layers.iter().map(row).collect(),
        }
    }
}

impl Record for QuantizeReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The float model", |report| report.model.clone()),
            Self::field("file", Unit::Name, "The file that was written", |report| report.file.clone()),
            Self::field("variant", Unit::Name, "Its name in commands", |report| report.variant.clone()),
            Self::field("files", Unit::Name, "All files that were written, the model's last", |report| {
                report.files.clone()
            }),
            Self::field(
                "activations",
                Unit::Text,
                "When activations become codes: calibrated, dynamic (at each run) or float (never)",
                |report| match report.activations {
                    Activations::Calibrated => "calibrated",
                    Activations::Dynamic => "dynamic",
                    Activations::Float => "float",
                },
            ),
            Self::field(
                "activation_type",
                Unit::Text,
                "The codes of activations; null if they stay float",
                |report| report.activation_type.map(|dtype| dtype.to_string()),
            ),
            Self::field("weight_type", Unit::Text, "The codes of weights", |report| {
                report.weight_type.to_string()
            }),
            Self::field(
                "block_size",
                Unit::Count,
                "How many inputs of a product share a scale; null without blocks",
                |report| report.block_size,
            ),
            Self::field("format", Unit::Text, "The form of the graph: qdq or qoperator", |report| {
                report.form
            }),
            Self::field(
                "per_channel",
                Unit::Flag,
                "Whether weights have a scale for each channel",
                |report| report.per_channel,
            ),
            Self::field(
                "method",
                Unit::Text,
                "How the ranges of activations were chosen; null if they were not",
                |report| report.method,
            ),
            Self::field(
                "input",
                Unit::Text,
                "Where the samples come from; null if none was needed",
                |report| report.input.clone(),
            ),
            Self::field("samples", Unit::Count, "Samples that the model was calibrated on", |report| {
                report.samples
            }),
            Self::field(
                "kept_ranges",
                Unit::Count,
                "Ranges that were known from an earlier calibration",
                |report| report.kept_ranges,
            ),
            Self::field(
                "runtime",
                Unit::Text,
                "The runtime that calibrated; null if all ranges were known",
                |report| report.runtime.as_ref().map(|(name, _)| name.clone()),
            ),
            Self::field("runtime_version", Unit::Text, "Its version", |report| {
                report.runtime.as_ref().map(|(_, version)| version.clone())
            }),
            Self::field("values", Unit::Count, "Activations that are rounded to codes", |report| {
                report.values
            }),
            Self::field("tensors", Unit::Count, "Stored tensors that became codes", |report| report.tensors),
            Self::field("biases", Unit::Count, "Biases that became integers", |report| report.biases),
            Self::field("folded", Unit::Count, "Clamps that are part of the codes now", |report| {
                report.folded
            }),
            Self::field("bytes_before", Unit::Bytes, "Size of the float model's files", |report| {
                report.bytes_before
            }),
            Self::field("bytes", Unit::Bytes, "Size of the files that were written", |report| report.bytes),
            Self::field("elapsed_ms", Unit::Duration, "How long all of it took", |report| report.elapsed_ms),
            Self::field("calibration_ms", Unit::Duration, "How long calibration took", |report| {
                report.calibration_ms
            }),
            Self::list(
                "gains",
                "What each option that lifts accuracy gave, in the order in which they were applied",
                |report| &report.gains,
            ),
            Self::list("layers", "The layers, in the model's order", |report| &report.layers),
        ]
    }
}

impl Record for Gain {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("option", Unit::Text, "The option", |gain| gain.option),
            Self::field(
                "changed",
                Unit::Count,
                "How many weights, biases or pairs of layers it changed",
                |gain| gain.changed,
            ),
            Self::field(
                "sqnr_before_db",
                Unit::Decibels,
                "SQNR of the outputs on the samples of calibration against the float model, with the options before it",
                |gain| gain.before_db,
            ),
            Self::field("sqnr_after_db", Unit::Decibels, "The same with this option as well", |gain| {
                gain.after_db
            }),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "Path of the layer", |row| row.layer.clone()).title("layer"),
            Self::field("operator", Unit::Text, "Its operator", |row| row.operator.clone())
                .title("operator")
                .rank(2),
            Self::field("is_quantized", Unit::Flag, "Whether it is quantized", |row| row.reason.is_none()),
            Self::field("reason", Unit::Text, "Why it is not, as one word; null if it is", |row| {
                row.reason.clone()
            }),
            Self::field("detail", Unit::Text, "The same as a sentence", |row| row.detail.clone()),
            Self::field("weight", Unit::Name, "Its weight", |row| row.weight.clone()),
            Self::field("weight_type", Unit::Text, "The codes of its weight", |row| {
                row.weight_type.map(|dtype| dtype.to_string())
            })
            .title("weight")
            .rank(1),
            Self::field(
                "axis",
                Unit::Count,
                "The axis with a scale for each channel or block; null for one scale",
                |row| row.axis,
            ),
            Self::field("scales", Unit::Real, "The scales of its weight", |row| {
                row.scales.iter().map(|scale| f64::from(*scale)).collect::<Vec<_>>()
            })
            .title("scale")
            .text(|row| {
                let ends =
                    row.scales.iter().copied().fold((f32::INFINITY, 0.0_f32), |(low, high), scale| {
                        (low.min(scale), high.max(scale))
                    });
                match row.scales.len() {
                    0 => "–".to_owned(),
                    1 => crate::render::number::real(f64::from(ends.0)),
                    count => format!(
                        "{count}: {} to {}",
                        crate::render::number::real(f64::from(ends.0)),
                        crate::render::number::real(f64::from(ends.1))
                    ),
                }
            }),
            Self::field("output_scale", Unit::Real, "The scale of what it computes", |row| {
                row.output.as_ref().map(|output| f64::from(output.scales[0]))
            })
            .title("output scale"),
            Self::field("output_zero_point", Unit::Count, "The zero point of what it computes", |row| {
                row.output.as_ref().map(|output| i64::from(output.zero_points[0]))
            })
            .title("zero point"),
        ]
    }
}
