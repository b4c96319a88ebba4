//! `stats`: the statistics of all of a model's stored tensors.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::inspect::weight::{Stored, all_stored};
use crate::inspect::{Summary, survey};
use crate::model::{TensorRole, shape_text};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Direction, Field, NATURAL, Record, ReportShape, SortKey, Unit, sort_keys, word};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::spelling::matches_pattern;

/// `stats [NAME]`
pub(super) struct Stats;

/// The arguments of `stats`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Only tensors whose name, or whose layer's path, matches a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// The order of the rows
    #[arg(
        long,
        value_name = "KEY",
        value_parser = sort_keys::<Row<'_>>("The order of the layers"),
        default_value = NATURAL
    )]
    sort: SortKey,
    /// Show at most this many rows
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
}

struct Survey<'a> {
    model: &'a str,
    total: usize,
    elements: u64,
    bytes: u64,
    tensors: Vec<Row<'a>>,
}

struct Row<'a> {
    name: &'a str,
    layer: Option<&'a str>,
    role: TensorRole,
    dtype: String,
    shape: &'a [u64],
    bytes: u64,
    is_dequantized: bool,
    numbers: Option<Summary>,
    peak_sigmas: Option<f64>,
    error: Option<Error>,
}

impl Record for Survey<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |survey| survey.model),
            Self::field(
                "total",
                Unit::Count,
                "Tensors that were read, before `--top` cut the rows",
                |survey| survey.total,
            ),
            Self::field("elements", Unit::Count, "Their elements", |survey| survey.elements),
            Self::field("bytes", Unit::Bytes, "Their size as stored", |survey| survey.bytes),
            Self::list("tensors", "The stored tensors", |survey| &survey.tensors),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The tensor", |row| row.name)
                .title("tensor")
                .sort("name", Direction::Ascending),
            Self::field("layer", Unit::Text, "The layer that uses it", |row| row.layer)
                .title("layer")
                .rank(6),
            Self::field("role", Unit::Text, "What it is for", |row| word(row.role)).choices(&[
                "parameter",
                "buffer",
                "constant",
                "quantization",
            ]),
            Self::field("dtype", Unit::Text, "Its element type as stored", |row| row.dtype.clone())
                .title("type")
                .text(|row| format!("{} {}", row.dtype, shape_text(row.shape)))
                .rank(3),
            Self::field("shape", Unit::Index, "Its shape", |row| row.shape),
            Self::field("bytes", Unit::Bytes, "Its size as stored", |row| row.bytes),
            Self::field("is_dequantized", Unit::Flag, "Whether the values were dequantized", |row| {
                row.is_dequantized
            }),
            Self::flat(Summary::fields(), |row| row.numbers.as_ref()),
            Self::field(
                "peak_sigmas",
                Unit::Decimals(1),
                "Distance of the most extreme value from the mean, in standard deviations",
                |row| row.peak_sigmas,
            )
            .symbol("σ")
            .title("peak σ")
            .rank(2)
            .sort("peak", Direction::Descending)
            .after("standard_deviation"),
            Self::error("error", "Why it has no statistics", |row| row.error.as_ref()),
        ]
    }
}

impl Command for Stats {
    type Arguments = Arguments;
    const NAME: &'static str = "stats";
    const SUMMARY: &'static str = "Show the statistics of all stored tensors";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "stats resnet8.onnx", shows: "extremes, mean and deviation of every tensor" },
        Example {
            line: "stats resnet8_int8.onnx --sort peak --top 5",
            shows: "where outliers stretch the range, dequantized",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Survey<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let mut stored = all_stored(model.info());
        if let Some(pattern) = &arguments.pattern {
            stored.retain(|stored| {
                matches_pattern(pattern, &stored.tensor.name)
                    || stored.layer.is_some_and(|layer| matches_pattern(pattern, &layer.path))
            });
        }
        if stored.is_empty() {
            let what =
                arguments.pattern.map_or_else(String::new, |pattern| format!(" that matches `{pattern}`"));
            return Err(Error::not_found(format!("`{}` stores no tensor{what}", model.id))
                .with_hint("List its layers with `layers`."));
        }
        let tensors: Vec<_> = stored.iter().map(|stored| stored.tensor).collect();
        let summaries = survey::summaries(&model, &tensors, &task)?;
        drop(task);
        let mut rows: Vec<Row<'_>> =
            stored.iter().zip(summaries).map(|(stored, summary)| row(stored, summary)).collect();
        arguments.sort.apply(&mut rows);
        let total = rows.len();
        rows.truncate(arguments.top.unwrap_or(usize::MAX));
        Ok(report(&Survey {
            model: &model.id,
            total,
            elements: tensors.iter().map(|tensor| tensor.element_count()).fold(0, u64::saturating_add),
            bytes: tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add),
            tensors: rows,
        }))
    }
}

fn row<'a>(stored: &Stored<'a>, summary: Result<Summary>) -> Row<'a> {
    let tensor = stored.tensor;
    let (numbers, error) = match summary {
        Ok(numbers) => (Some(numbers), None),
        Err(error) => (None, Some(error)),
    };
    Row {
        name: &tensor.name,
        layer: stored.layer.map(|layer| layer.path.as_str()),
        role: tensor.role,
        dtype: tensor.dtype_name(),
        shape: &tensor.shape,
        bytes: tensor.bytes,
        is_dequantized: tensor.quantization.is_some() && numbers.is_some(),
        peak_sigmas: numbers.and_then(|numbers| numbers.peak_sigmas()),
        numbers,
        error,
    }
}

fn report(survey: &Survey<'_>) -> Report {
    let shown = match (survey.tensors.len(), survey.total) {
        (shown, total) if shown == total => counted(total, "tensor"),
        (shown, total) => format!("{shown} of {}", counted(total, "tensor")),
    };
    let size = format!(": {} elements, {}", number::count(survey.elements), number::bytes(survey.bytes));
    let mut report = Report::of(survey).toned_line([
        (Tone::Plain, format!("{shown} in ")),
        (Tone::Name, survey.model.to_owned()),
        (Tone::Plain, size),
    ]);
    report = report.table(Table::of(&survey.tensors));
    for row in &survey.tensors {
        if let Some(error) = &row.error {
            report = report.toned_line([
                (Tone::Name, row.name.to_owned()),
                (Tone::Plain, format!(": {}", error.one_line())),
            ]);
        }
    }
    report
}
