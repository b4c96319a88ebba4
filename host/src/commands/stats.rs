//! `stats`: the statistics of all of a model's stored tensors.

use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::catalog::name::matches_pattern;
use crate::error::{Error, Result};
use crate::input::shape_text;
use crate::inspect::weight::{Stored, all_stored};
use crate::inspect::{Summary, survey};
use crate::model::TensorRole;
use crate::playground::Playground;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

/// `stats [NAME]`
pub(super) struct Stats;

/// The arguments of `stats`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Only tensors whose name, or whose layer's path, fits a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// The order of the rows
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    sort: SortKey,
    /// Only so many rows
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
}

/// What rows are sorted by, the largest first but for `graph` and `name`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SortKey {
    /// The order of the layers
    #[default]
    Graph,
    /// The name
    Name,
    /// The largest value less the smallest
    Width,
    /// The standard deviation
    Std,
    /// The most distant value from the mean, in standard deviations
    Peak,
    /// The share of zeros
    Zeros,
    /// The number of elements
    Count,
}

#[derive(Serialize)]
struct Survey<'a> {
    model: &'a str,
    /// Tensors that were read, rows left out by `--top` included.
    total: usize,
    /// Their elements and bytes.
    elements: u64,
    bytes: u64,
    tensors: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    layer: Option<&'a str>,
    role: TensorRole,
    dtype: String,
    shape: &'a [u64],
    bytes: u64,
    /// Whether the numbers are dequantized.
    is_dequantized: bool,
    #[serde(flatten)]
    numbers: Option<Summary>,
    peak_sigmas: Option<f64>,
    /// Why there are no numbers.
    error: Option<Error>,
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
                arguments.pattern.map_or_else(String::new, |pattern| format!(" that fits `{pattern}`"));
            return Err(Error::not_found(format!("`{}` stores no tensor{what}", model.id))
                .with_hint("See `layers` for what it holds."));
        }
        let tensors: Vec<_> = stored.iter().map(|stored| stored.tensor).collect();
        let summaries = survey::summaries(&model, &tensors, &task)?;
        drop(task);
        let mut rows: Vec<Row<'_>> =
            stored.iter().zip(summaries).map(|(stored, summary)| row(stored, summary)).collect();
        sort(&mut rows, arguments.sort);
        let total = rows.len();
        rows.truncate(arguments.top.unwrap_or(usize::MAX));
        report(&Survey {
            model: &model.id,
            total,
            elements: tensors.iter().map(|tensor| tensor.element_count()).fold(0, u64::saturating_add),
            bytes: tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add),
            tensors: rows,
        })
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

fn sort(rows: &mut [Row<'_>], key: SortKey) {
    let mut by = |value: fn(&Row<'_>) -> Option<f64>| {
        // What has no number comes last.
        rows.sort_by(|left, right| {
            let number = |row| value(row).unwrap_or(f64::NEG_INFINITY);
            number(right).total_cmp(&number(left))
        });
    };
    match key {
        SortKey::Graph => {}
        SortKey::Name => rows.sort_by(|left, right| left.name.cmp(right.name)),
        SortKey::Width => by(|row| row.numbers?.width()),
        SortKey::Std => by(|row| row.numbers?.standard_deviation),
        SortKey::Peak => by(|row| row.peak_sigmas),
        SortKey::Zeros => by(|row| Some(row.numbers?.zeros as f64 / row.numbers?.count.max(1) as f64)),
        SortKey::Count => by(|row| Some(row.numbers?.count as f64)),
    }
}

fn report(survey: &Survey<'_>) -> Result<Report> {
    let mut table = Table::new([
        Column::text("tensor"),
        Column::text("layer").rank(6),
        Column::text("type").rank(3),
        Column::number("count").rank(4),
        Column::number("min"),
        Column::number("max"),
        Column::number("mean").rank(1),
        Column::number("std"),
        Column::number("peak σ").rank(2),
        Column::number("zeros").rank(5),
        Column::number("NaN, inf").rank(7),
    ]);
    for row in &survey.tensors {
        let number = |value: fn(&Summary) -> Option<f64>| {
            Cell::option(row.numbers.as_ref().and_then(value), Cell::real)
        };
        let zeros = row.numbers.filter(|numbers| numbers.count > 0);
        let non_finite = row.numbers.map_or(0, |numbers| numbers.non_finite());
        table.row([
            Cell::name(row.name),
            Cell::option(row.layer, Cell::text),
            Cell::text(format!("{} {}", row.dtype, shape_text(row.shape))),
            Cell::option(row.numbers, |numbers| Cell::count(numbers.count)),
            number(|numbers| numbers.min),
            number(|numbers| numbers.max),
            number(|numbers| numbers.mean),
            number(|numbers| numbers.standard_deviation),
            Cell::option(row.peak_sigmas, |peak| Cell { text: format!("{peak:.1}"), ..Cell::real(peak) }),
            Cell::option(zeros, |numbers| Cell::percent(numbers.zeros as f64 / numbers.count as f64)),
            if non_finite > 0 { Cell::count(non_finite).tone(Tone::Bad) } else { Cell::missing() },
        ]);
    }
    let shown = match (survey.tensors.len(), survey.total) {
        (shown, total) if shown == total => counted(total, "tensor"),
        (shown, total) => format!("{shown} of {}", counted(total, "tensor")),
    };
    let size = format!(": {} elements, {}", number::count(survey.elements), number::bytes(survey.bytes));
    let mut report = Report::new(survey)?.toned_line([
        (Tone::Plain, format!("{shown} in ")),
        (Tone::Name, survey.model.to_owned()),
        (Tone::Plain, size),
    ]);
    report = report.table(table);
    for row in &survey.tensors {
        if let Some(error) = &row.error {
            report = report.toned_line([
                (Tone::Name, row.name.to_owned()),
                (Tone::Plain, format!(": {}", error.one_line())),
            ]);
        }
    }
    Ok(report)
}
