//! `quantize`: make a quantized model of a float one.

mod arguments;
mod declaration;

use super::arguments::evidence::Choice;
use super::arguments::target::require_target;
use super::{Command, Example, Group, Scope};
use crate::backend::Session;
use crate::capture::{Execution, Feed, can_be_captured};
use crate::error::{Error, Result};
use crate::file;
use crate::model::Activations;
use crate::playground::{Loaded, Playground};
use crate::quantization::{Gain, quantize};
use crate::render::number;
use crate::render::record::ReportShape;
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use arguments::Arguments;
use declaration::{QuantizeReport, Row};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// `quantize [NAME]`
pub(super) struct Quantize;

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
            line: "quantize resnet8.onnx --dynamic --out new_dynamic.onnx --force",
            shows: "int8 weights, activations rounded at each run; needs no samples",
        },
        Example {
            line: "quantize resnet8.onnx --weight-only --block-size 16 --out new_blocks.onnx --force",
            shows: "weights of matrix products in blocks of 16 codes of 4 bits, all else in float",
        },
        Example {
            line: "input digits.npz:images[0:16]; quantize resnet8.onnx --activation-type uint8 --calibrate-method percentile --out new_uint8_int8.onnx --force",
            shows: "other codes and ranges, calibrated on the current input",
        },
        Example {
            line: "quantize resnet8.pt --data digits.npz --samples 16 --per-channel --out new_int8.pt2 --force",
            shows: "a float graph module of PyTorch, as an exported program",
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
        let mut out = arguments.out(&model, &options, playground);
        if arguments.out.is_none() && model.session.plugin().formats.len() > 1 {
            // A change of nothing tells in which form a changed model is.
            let formed = model.session.edit(Vec::new(), &task);
            out = formed.map(|formed| in_its_form(&out, &model, &formed)).unwrap_or(out);
        }
        refuse(&model, &out, arguments.force)?;
        let input = if options.needs_samples() {
            can_be_captured(&model)?;
            arguments.running.check(&[&model])?;
            let choice = Choice {
                data: arguments.data.clone(),
                labels: None,
                samples: arguments.samples.clone(),
                running: arguments.running.clone(),
            };
            Some(choice.read(playground)?.input)
        } else {
            None
        };
        let side = arguments.running.side(&model, Execution::AsWritten, playground, &task);
        // One at a time, as calibration in Python does, the ranges have the same bits; larger batches are no faster.
        let feed = input
            .as_ref()
            .map(|input| Feed { batch: arguments.samples.batch.unwrap_or(1), ..arguments.samples.of(input) });
        let results = Some(&playground.kept_results).filter(|_| !arguments.fresh);
        let made = quantize(&side, feed, &options, results, &task)?;
        if arguments.out.is_none() {
            out = in_its_form(&out, &model, &made.session);
            refuse(&model, &out, arguments.force)?;
        }
        let files = file::keep_all(&out, arguments.force, |place| made.session.export(place, &task))?;
        playground.list_written(&out, &task)?;
        let written = playground.model(Some(&out.to_string_lossy()), &task)?;
        drop(task);
        let source = input.map(|input| input.source.clone());
        let report =
            QuantizeReport::new((&model, &written), source, &made, &options, &files, start.elapsed());
        Ok(lay_out(&report, arguments.top as usize))
    }
}

/// Before any work is done: a model that is quantized, and a file that may not be written.
fn refuse(model: &Loaded, out: &Path, may_replace: bool) -> Result<()> {
    if let Some(scheme) = &model.info().scheme {
        return Err(Error::invalid_input(format!("`{}` is quantized already: {scheme}", model.id))
            .with_hint("Give the float model that it was made of."));
    }
    require_target(model, out, may_replace)
}

/// The file with the extension of the form that the result has, if that is not the model's.
fn in_its_form(out: &Path, model: &Loaded, made: &Session) -> PathBuf {
    let format = &made.info().format;
    let forms = made.plugin().formats.iter();
    let form = forms.filter(|_| *format != model.info().format).find(|form| form.name == *format);
    match form.and_then(|form| form.extensions.first()) {
        Some(extension) => out.with_extension(extension),
        None => out.to_owned(),
    }
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

/// What became codes, and where the ranges come from.
fn said_in_all(report: &QuantizeReport, quantized: usize) -> String {
    let layers = format!("{quantized} of {} quantized", counted(report.layers.len(), "layer"));
    let weights = counted(report.tensors, "weight");
    let biases = if report.biases == 1 { "1 bias".to_owned() } else { format!("{} biases", report.biases) };
    let blocks = match report.block_size {
        Some(size) => format!(" in blocks of {size}"),
        None => String::new(),
    };
    match report.method {
        Some(method) => format!(
            "{layers}; {}, {weights}, {biases}; ranges by {method} from {}{}",
            counted(report.values, "activation"),
            counted(report.samples as usize, "sample"),
            match report.kept_ranges {
                0 => String::new(),
                count => format!(" ({} known from an earlier calibration)", counted(count, "range")),
            },
        ),
        None if report.activations == Activations::Dynamic => {
            format!("{layers}; {weights}; activations get their scales at each run")
        }
        None => format!("{layers}; {weights} of {}{blocks}; activations stay float", report.weight_type),
    }
}

/// The layers that nothing was done to, by the reason: few by name, of many how many of which operator.
fn left_as_they_are(layers: &[Row], top: usize) -> Vec<String> {
    const FEW: usize = 3;
    let mut reasons: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in layers {
        let reason = match (row.reason.as_deref(), row.detail.as_deref()) {
            (None, _) => continue,
            (Some("operator"), _) => "other operators",
            (Some(_), detail) => detail.unwrap_or_default(),
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, rows)) => rows.push(row),
            None => reasons.push((reason, vec![row])),
        }
    }
    let line = |(reason, rows): (&str, Vec<&Row>)| {
        if rows.len() <= FEW && reason != "other operators" {
            let names: Vec<&str> = rows.iter().map(|row| row.layer.as_str()).collect();
            return format!("left as they are ({reason}): {}", names.join(", "));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.operator.as_str()).or_insert(0) += 1);
        let mut counts: Vec<(usize, &str)> = counts.into_iter().map(|(kind, count)| (count, kind)).collect();
        counts.sort_by_key(|(count, kind)| (Reverse(*count), *kind));
        let shown: Vec<String> =
            counts.iter().take(top.max(1)).map(|(count, kind)| format!("{count} {kind}")).collect();
        let more = counts.len() - shown.len();
        let more = if more > 0 { format!(", and {more} kinds more") } else { String::new() };
        format!("left as they are ({reason}): {}{more}", shown.join(", "))
    };
    reasons.into_iter().map(line).collect()
}

fn lay_out(report: &QuantizeReport, top: usize) -> Report {
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
        .line(said_in_all(report, report.layers.len() - left));
    for gain in &report.gains {
        laid = laid.line(said(gain));
    }
    let shown: Vec<Row> =
        report.layers.iter().filter(|row| row.weight.is_some()).take(top).cloned().collect();
    if !shown.is_empty() {
        laid = laid.table(Table::of(&shown));
    }
    for line in left_as_they_are(&report.layers, top) {
        laid = laid.line(line);
    }
    laid
}
