//! `convert`: a model in another form, held against what it was.

use super::arguments::evidence::Choice;
use super::arguments::number::integer_in;
use super::{Command, Example, Group, Scope};
use crate::backend::{Edit, Fetch, Progress};
use crate::capture::Side;
use crate::capture::real::Real;
use crate::commands::arguments::target::require_target;
use crate::error::{Error, Result};
use crate::file;
use crate::input::Input;
use crate::model::Tensor;
use crate::playground::{Loaded, Playground};
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::ErrorMetrics;
use std::path::{Path, PathBuf};

/// `convert MODEL --to FORM`
pub(super) struct Convert;

/// A form of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Operators of real numbers between `QuantizeLinear` and `DequantizeLinear`
    Qdq,
    /// Operators of codes: `QLinearConv` and the like
    Qoperator,
    /// Real numbers only: nothing is rounded any more, weights stay as their codes were
    Float,
    /// Activations as uint8 (U8S8): what x86 processors have kernels for
    Uint8,
    /// Activations as int8 (S8S8)
    Int8,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Qdq => "qdq",
            Self::Qoperator => "qoperator",
            Self::Float => "float",
            Self::Uint8 => "uint8",
            Self::Int8 => "int8",
        }
    }

    /// Whether the same codes are computed: then outputs may differ by what kernels round, a step.
    fn keeps_codes(self) -> bool {
        self != Self::Float
    }
}

/// The arguments of `convert`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The form
    #[arg(long, value_name = "FORM", required_unless_present = "opset", conflicts_with = "opset")]
    to: Option<Form>,
    /// The same with the operators of a newer opset of ONNX; float models too
    #[arg(long, value_name = "VERSION", value_parser = integer_in::<u32>(1..=1000))]
    opset: Option<u32>,
    /// The file to write; without it, the model's name with the form behind it
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    evidence: Choice,
}

/// What a model is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Form(Form),
    Opset(u32),
}

impl Goal {
    fn of(arguments: &Arguments) -> Result<Self> {
        match (arguments.to, arguments.opset) {
            (Some(form), _) => Ok(Self::Form(form)),
            (None, Some(opset)) => Ok(Self::Opset(opset)),
            (None, None) => Err(Error::usage("`convert` needs `--to FORM` or `--opset VERSION`")),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Form(form) => form.word(),
            Self::Opset(_) => "opset",
        }
    }

    /// Behind the name of the model in that of its file.
    fn suffix(self) -> String {
        match self {
            Self::Form(form) => form.word().to_owned(),
            Self::Opset(opset) => format!("opset{opset}"),
        }
    }

    fn edit(self) -> Edit {
        let argument = match self {
            Self::Form(form) => ("to".to_owned(), form.word().to_owned()),
            Self::Opset(opset) => ("opset".to_owned(), opset.to_string()),
        };
        Edit { action: "convert", arguments: vec![argument], ..Edit::default() }
    }
}

struct Converted {
    model: String,
    goal: Goal,
    files: Vec<String>,
    bytes: u64,
    bytes_before: u64,
    layers: usize,
    layers_before: usize,
    data: Option<String>,
    samples: u64,
    outputs: Vec<OutputRow>,
}

/// How one output of the converted model differs from the same of the source.
struct OutputRow {
    name: String,
    elements: u64,
    equal: u64,
    max_error: Option<f64>,
    /// The scale of the output, if it is rounded.
    step: Option<f64>,
    sqnr_db: Option<f64>,
}

impl OutputRow {
    fn steps(&self) -> Option<f64> {
        Some(self.max_error? / self.step?)
    }
}

impl Record for Converted {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The source", |found| found.model.clone()),
            Self::field("to", Unit::Text, "The form, or opset for a newer one", |found| found.goal.word())
                .choices(&["qdq", "qoperator", "float", "uint8", "int8", "opset"]),
            Self::field("opset", Unit::Count, "The new opset; null for a form", |found| match found.goal {
                Goal::Opset(opset) => Some(opset),
                Goal::Form(_) => None,
            }),
            Self::field("files", Unit::Name, "The files that were written, the model's last", |found| {
                found.files.clone()
            }),
            Self::field("bytes", Unit::Bytes, "Their size together", |found| found.bytes),
            Self::field("bytes_before", Unit::Bytes, "The size of the source", |found| found.bytes_before),
            Self::field("layers", Unit::Count, "Layers", |found| found.layers),
            Self::field("layers_before", Unit::Count, "Layers of the source", |found| found.layers_before),
            Self::field("data", Unit::Text, "What both were run on; null if nothing was", |found| {
                found.data.clone()
            }),
            Self::field("samples", Unit::Count, "Samples that both were run on", |found| found.samples),
            Self::list("outputs", "The outputs, against the source's", |found| &found.outputs),
        ]
    }
}

impl Record for OutputRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The output", |row| row.name.clone()).title("output"),
            Self::field("elements", Unit::Count, "Elements that were compared", |row| row.elements)
                .title("elements"),
            Self::field("equal", Unit::Count, "Elements that are equal, bit by bit", |row| row.equal)
                .title("equal"),
            Self::field("max_error", Unit::Real, "The largest difference", |row| row.max_error)
                .title("max error"),
            Self::field(
                "step",
                Unit::Real,
                "The scale that the output is rounded with; null if it is not rounded",
                |row| row.step,
            ),
            Self::field("steps", Unit::Real, "The largest difference in steps of that scale", |row| {
                row.steps()
            })
            .title("steps")
            .hidden_if_missing(),
            Self::field("sqnr_db", Unit::Decibels, "SQNR against the source's output", |row| row.sqnr_db)
                .title("SQNR dB"),
        ]
    }
}

impl Command for Convert {
    type Arguments = Arguments;
    const NAME: &'static str = "convert";
    const SUMMARY: &'static str = "Write a model in another form or opset, and prove that it is the same";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "convert resnet8_int8.onnx --to uint8 --out resnet8_u8s8.onnx --force --data digits.npz --samples 32; kernels resnet8_u8s8.onnx",
            shows: "the same numbers, with the kernels that x86 has",
        },
        Example {
            line: "convert resnet8_int8.onnx --to float --out stripped.onnx --force --data digits.npz --samples 32",
            shows: "the rounded weights without any rounding of activations",
        },
        Example {
            line: "convert resnet8.onnx --opset 21 --out newer.onnx --force --data digits.npz --samples 32",
            shows: "the same network with the operators of opset 21",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Converted>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let goal = Goal::of(&arguments)?;
        let model = playground.model(arguments.model.as_deref(), &task)?;
        model.session.require_edits()?;
        let path = match &arguments.out {
            Some(path) => playground.path(path),
            None => default_path(&model, goal),
        };
        require_target(&model, &path, arguments.force)?;
        task.update("converting", 0, 0);
        let converted = model.session.edit(vec![goal.edit()], &task)?;
        let result = playground.in_memory(&model, converted, &path);
        let input = match (&arguments.evidence.data, playground.input.is_some()) {
            (None, false) => None,
            _ => Some(arguments.evidence.read(playground)?.input),
        };
        // Before anything is written: what the runtime refuses is no result.
        let compared = match &input {
            Some(input) if model.runnable().is_ok() => {
                compare(&model, &result, input, &arguments.evidence, playground, &task)?
            }
            _ => (Vec::new(), 0),
        };
        let files = file::keep_all(&path, arguments.force, |place| result.session.export(place, &task))?;
        playground.list_written(&path, &task)?;
        drop(task);
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(report(&Converted {
            model: model.id.clone(),
            goal,
            bytes: files.iter().map(size).sum(),
            files: files.iter().map(|path| path.display().to_string()).collect(),
            bytes_before: model.bytes,
            layers: result.info().layers.len(),
            layers_before: model.info().layers.len(),
            data: input.as_ref().map(|input| input.source.clone()).filter(|_| compared.1 > 0),
            samples: compared.1,
            outputs: compared.0,
        }))
    }
}

/// `resnet8_int8.onnx` as `resnet8_int8_qdq.onnx`, beside it.
fn default_path(model: &Loaded, goal: Goal) -> PathBuf {
    let path = Path::new(&model.path);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().trim_end_matches('*').to_owned();
    path.with_file_name(format!("{stem}_{}.{extension}", goal.suffix()))
}

/// Runs both on the same samples, as their runtime runs them.
fn compare(
    source: &Loaded,
    result: &Loaded,
    input: &Input,
    choice: &Choice,
    playground: &Playground,
    progress: &dyn Progress,
) -> Result<(Vec<OutputRow>, u64)> {
    let sides =
        [source, result].map(|model| Side::of(model, choice.running.options(model), playground, progress));
    let batches = choice.samples.for_outputs(input).batches(&sides.iter().collect::<Vec<_>>())?;
    let total = batches.samples();
    let mut rows: Vec<(OutputRow, ErrorMetrics)> = Vec::new();
    for (done, (_, batch)) in batches.enumerate() {
        progress.update("comparing outputs", done as u64, total);
        let outputs = sides
            .iter()
            .map(|side| side.run(&batch, &Fetch::Outputs, progress).map(|outcome| outcome.tensors))
            .collect::<Result<Vec<_>>>()?;
        let [expected, found] = &outputs[..] else {
            return Err(Error::internal("two models gave other outputs"));
        };
        for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
            if rows.len() <= index {
                let rounded =
                    source.info().value(&expected.name).and_then(|value| value.quantization.as_ref());
                let step = rounded.and_then(|codes| codes.scales.first().copied());
                let row = OutputRow {
                    name: expected.name.clone(),
                    elements: 0,
                    equal: 0,
                    max_error: None,
                    step,
                    sqnr_db: None,
                };
                rows.push((row, ErrorMetrics::new()));
            }
            let (row, errors) = &mut rows[index];
            let real = |tensor: &Tensor| Real::of(tensor, None).map(|real| real.to_vec());
            let (expected, found) = (real(expected)?, real(found)?);
            row.elements += expected.len() as u64;
            row.equal += expected.iter().zip(&found).filter(|(one, other)| one == other).count() as u64;
            errors.add(&expected, &found).map_err(|mismatch| Error::internal(mismatch.to_string()))?;
        }
    }
    let rows = rows.into_iter().map(|(row, errors)| {
        let metrics = errors.metrics();
        OutputRow { max_error: metrics.max_abs_error, sqnr_db: metrics.sqnr_db, ..row }
    });
    Ok((rows.collect(), total))
}

fn report(found: &Converted) -> Report {
    let mut report = Report::of(found).toned_line([
        (Tone::Name, found.model.clone()),
        (
            Tone::Plain,
            match found.goal {
                Goal::Form(form) => format!(" as {} written to ", form.word()),
                Goal::Opset(opset) => format!(" with opset {opset} written to "),
            },
        ),
        (Tone::Name, found.files.join(", ")),
        (
            Tone::Plain,
            format!(
                " ({}, was {}; {}, were {})",
                number::bytes(found.bytes),
                number::bytes(found.bytes_before),
                counted(found.layers, "layer"),
                found.layers_before
            ),
        ),
    ]);
    if found.outputs.is_empty() {
        return report.line("not compared with its source: choose an `input`, or give `--data FILE`");
    }
    report = report
        .line(format!(
            "on {} of {}:",
            counted(usize::try_from(found.samples).unwrap_or(usize::MAX), "sample"),
            found.data.as_deref().unwrap_or("–")
        ))
        .table(Table::of(&found.outputs));
    let is_same = found.outputs.iter().all(|row| row.equal == row.elements);
    let verdict = match (is_same, found.goal) {
        (true, _) => (Tone::Good, "both compute the same, bit by bit".to_owned()),
        (false, Goal::Opset(_)) => (
            Tone::Plain,
            "the runtime merges other operators of the newer opset and rounds sums differently".to_owned(),
        ),
        (false, Goal::Form(form)) if form.keeps_codes() => (
            Tone::Plain,
            "kernels of other types round sums differently: steps are those of the output's codes".to_owned(),
        ),
        (false, Goal::Form(_)) => {
            (Tone::Plain, "the difference is what rounding the activations did".to_owned())
        }
    };
    report.toned_line([verdict])
}
