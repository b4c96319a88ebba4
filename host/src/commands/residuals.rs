//! `residuals`: where two branches meet, and what their scales cost.

use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::inspect::residual::{Branch, Residual, residuals};
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

/// `residuals [NAME]`
pub(super) struct Residuals;

/// The arguments of `residuals`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// In the order of the layers, not the largest mismatch first
    #[arg(long)]
    graph_order: bool,
    /// Mark mismatches from this ratio on
    #[arg(long, value_name = "RATIO", default_value_t = 2.0)]
    threshold: f64,
}

#[derive(Serialize)]
struct Found<'a> {
    model: &'a str,
    threshold: f64,
    /// The largest ratio of two branches' scales.
    max_ratio: Option<f64>,
    /// How many are at the threshold or above.
    above: usize,
    residuals: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    layer: &'a str,
    fork: Option<&'a str>,
    branches: [ShownBranch<'a>; 2],
    output_scale: Option<f64>,
    /// max / min of the two scales.
    ratio: Option<f64>,
    /// log2 of the ratio: bits that the finer branch loses.
    bits_lost: Option<f64>,
    /// Which branch is the finer one; none where the scales are equal.
    finer: Option<usize>,
}

#[derive(Serialize)]
struct ShownBranch<'a> {
    value: &'a str,
    layers: Vec<&'a str>,
    dtype: Option<String>,
    scale: Option<f64>,
    zero_point: Option<f64>,
}

impl Command for Residuals {
    type Arguments = Arguments;
    const NAME: &'static str = "residuals";
    const SUMMARY: &'static str = "Show where two branches are added, and how far their scales are apart";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "residuals resnet8_int8.onnx", shows: "the largest mismatch first" },
        Example {
            line: "residuals resnet8_int8.pt --graph-order",
            shows: "additions of a TorchScript model",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        drop(task);
        let mut rows: Vec<Row<'_>> = residuals(model.info()).iter().map(row).collect();
        if rows.is_empty() {
            return Err(Error::not_found(format!("`{}` adds no two branches", model.id))
                .with_hint("See `graph` for how its layers are connected."));
        }
        if !arguments.graph_order {
            let ratio = |row: &Row<'_>| row.ratio.unwrap_or(0.0);
            rows.sort_by(|left, right| ratio(right).total_cmp(&ratio(left)));
        }
        let is_above = |row: &&Row<'_>| row.ratio.is_some_and(|ratio| ratio >= arguments.threshold);
        report(&Found {
            model: &model.id,
            threshold: arguments.threshold,
            max_ratio: rows.iter().filter_map(|row| row.ratio).reduce(f64::max),
            above: rows.iter().filter(is_above).count(),
            residuals: rows,
        })
    }
}

fn row<'a>(residual: &Residual<'a>) -> Row<'a> {
    let branch = |branch: &Branch<'a>| ShownBranch {
        value: branch.value,
        layers: branch.layers.clone(),
        dtype: branch.quantization.map(|codes| codes.dtype.to_string()),
        scale: branch.scale(),
        zero_point: branch.quantization.map(|codes| codes.zero_point(0)),
    };
    let mismatch = residual.mismatch();
    Row {
        layer: &residual.layer.path,
        fork: residual.fork,
        branches: [branch(&residual.branches[0]), branch(&residual.branches[1])],
        output_scale: residual.output.and_then(|codes| match codes.scales[..] {
            [scale] => Some(scale),
            _ => None,
        }),
        ratio: mismatch.map(|mismatch| mismatch.ratio()),
        bits_lost: mismatch.map(|mismatch| mismatch.bits_lost()),
        finer: residual.finer(),
    }
}

fn report(found: &Found<'_>) -> Result<Report> {
    let mut table = Table::new([
        Column::text("addition"),
        Column::text("fork").rank(3),
        Column::text("branch").rank(1),
        Column::number("scale"),
        Column::text("other branch").rank(1),
        Column::number("scale"),
        Column::number("sum's scale").rank(2),
        Column::number("ratio"),
        Column::number("bits lost"),
    ]);
    for row in &found.residuals {
        let branch = |place: usize| match row.branches[place].layers[..] {
            [] => Cell::text("straight").tone(Tone::Dim),
            [only] => Cell::text(only),
            [first, .., last] => Cell::text(format!("{first} … {last}")),
        };
        let scale = |place: usize| {
            let tone = if row.finer == Some(place) { Tone::Warning } else { Tone::Plain };
            Cell::option(row.branches[place].scale, Cell::real).tone(tone)
        };
        let tone = match row.ratio {
            Some(ratio) if ratio >= found.threshold => Tone::Bad,
            _ => Tone::Plain,
        };
        let decimals = |value: f64| Cell { text: format!("{value:.2}"), ..Cell::real(value) };
        table.row([
            Cell::name(row.layer),
            Cell::option(row.fork, Cell::text),
            branch(0),
            scale(0),
            branch(1),
            scale(1),
            Cell::option(row.output_scale, Cell::real),
            Cell::option(row.ratio, decimals).tone(tone),
            Cell::option(row.bits_lost, decimals).tone(tone),
        ]);
    }
    let verdict = match (found.max_ratio, found.above) {
        (None, _) => (Tone::Plain, "none is quantized".to_owned()),
        (Some(_), 0) => (Tone::Good, format!("all below a mismatch of {}", found.threshold)),
        (Some(_), above) => {
            (Tone::Warning, format!("{above} with scales {} times apart or more", found.threshold))
        }
    };
    Ok(Report::new(found)?
        .toned_line([
            (Tone::Plain, format!("{} in ", counted(found.residuals.len(), "residual addition"))),
            (Tone::Name, found.model.to_owned()),
            (Tone::Plain, ": ".to_owned()),
            verdict,
        ])
        .table(table))
}
