//! `saturation`: whether 8-bit products overflow on processors without VNNI.

use super::inspection::can_be_captured;
use super::listing::counted;
use super::number::integer_in;
use super::running::Running;
use super::{Command, Example, Group, Scope};
use crate::capture::products::{Counted, Product, products};
use crate::capture::streaming::each_tensor;
use crate::capture::{Execution, Side};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::number;
use crate::render::report::{Cell, Column, Effect, Report, Table};
use crate::render::style::Tone;
use qp_analysis::saturation::fits;
use serde::Serialize;

/// `saturation [NAME]`
pub(super) struct Saturation;

/// The arguments of `saturation`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model; without it, the current one
    #[arg(value_name = "MODEL")]
    name: Option<String>,
    /// Only the first samples of the input
    #[arg(long, value_name = "COUNT")]
    samples: Option<u64>,
    /// Samples that are run together
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = integer_in::<u64>(1..=4096))]
    batch: u64,
    #[command(flatten)]
    running: Running,
}

#[derive(Serialize)]
struct Found<'a> {
    model: &'a str,
    input: Option<&'a str>,
    samples: u64,
    /// `safe`: no sum can overflow; `data`: some could and none did; `overflows`: some did; `possible`: some could, and
    /// there is no input to count on.
    verdict: &'static str,
    layers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    layer: &'a str,
    op_type: &'a str,
    /// Why the layer is not concerned.
    exempt: Option<&'static str>,
    /// The lowest and the highest sum of two products for any activations.
    bounds: (i32, i32),
    /// Whether every sum fits 16 bits.
    fits: bool,
    channels_at_risk: usize,
    channels: usize,
    /// Sums looked at on the input, and those that do not fit; output positions are taken evenly.
    sums: Option<u64>,
    saturated: Option<u64>,
    outputs: Option<u64>,
    wrong_outputs: Option<u64>,
    largest_error: Option<i64>,
}

impl Command for Saturation {
    type Arguments = Arguments;
    const NAME: &'static str = "saturation";
    const SUMMARY: &'static str = "Show which products overflow 16 bits on x86 without VNNI";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "saturation resnet8_int8.onnx", shows: "what the weights alone allow" },
        Example {
            line: "input digits.npz:images[0:32]; saturation resnet8_int8.onnx",
            shows: "the same, counted on data",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let products = products(&model, &task)?;
        if products.is_empty() {
            return Err(Error::state(format!("`{}` multiplies no 8-bit codes by 8-bit weights", model.id))
                .with_hint("See `quant` for how it is quantized."));
        }
        let at_risk = |product: &&Product<'_>| product.exempt.is_none() && !fits(product.bounds);
        let mut counts: Vec<Option<Counted>> = vec![None; products.len()];
        let (mut samples, mut stopped) = (0, None);
        let input = playground.input.clone();
        let wanted: Vec<&Product<'_>> = products.iter().filter(at_risk).collect();
        if let Some(input) = input.as_ref().filter(|_| !wanted.is_empty()) {
            can_be_captured(&model)?;
            arguments.running.check(&[&model])?;
            let side = Side {
                model: &model,
                sibling: playground.outspoken_sibling(&model, &task),
                options: arguments.running.options_of(&model, Execution::AsWritten, None),
            };
            let mut names: Vec<String> = wanted.iter().map(|product| product.input.to_owned()).collect();
            names.sort_unstable();
            names.dedup();
            let feed = (&**input, arguments.samples, arguments.batch);
            let streamed = each_tensor(&side, &[names], feed, &task, &mut |tensor| {
                for (product, count) in products.iter().zip(&mut counts) {
                    if product.input == tensor.name && product.exempt.is_none() {
                        product.count(tensor, count.get_or_insert_default())?;
                    }
                }
                Ok(())
            })?;
            (samples, stopped) = (streamed.samples, streamed.stopped);
        }
        drop(task);
        let rows: Vec<Row<'_>> =
            products.iter().zip(&counts).map(|(product, count)| row(product, count.as_ref())).collect();
        let verdict = match (wanted.is_empty(), samples > 0) {
            (true, _) => "safe",
            (false, false) => "possible",
            (false, true) if rows.iter().any(|row| row.saturated.is_some_and(|count| count > 0)) => {
                "overflows"
            }
            (false, true) => "data",
        };
        let report = lay_out(&Found {
            model: &model.id,
            input: input.as_ref().filter(|_| samples > 0).map(|input| input.source.as_str()),
            samples,
            verdict,
            layers: rows,
        })?;
        Ok(match stopped {
            Some(error) => report.effect(Effect::Fail(error)),
            None => report,
        })
    }
}

fn row<'a>(product: &Product<'a>, counted: Option<&Counted>) -> Row<'a> {
    let (channels_at_risk, channels) = product.channels_at_risk();
    let bounds = product.bounds;
    Row {
        layer: &product.layer.path,
        op_type: &product.layer.op_type,
        exempt: product.exempt,
        bounds,
        fits: product.exempt.is_some() || fits(bounds),
        channels_at_risk: if product.exempt.is_some() { 0 } else { channels_at_risk },
        channels,
        sums: counted.map(|counted| counted.sums),
        saturated: counted.map(|counted| counted.saturated),
        outputs: counted.map(|counted| counted.outputs),
        wrong_outputs: counted.map(|counted| counted.wrong),
        largest_error: counted.map(|counted| counted.largest_error),
    }
}

fn lay_out(found: &Found<'_>) -> Result<Report> {
    let (tone, verdict) = match found.verdict {
        "safe" => (Tone::Good, "the same answer on every x86: no sum of two products can leave 16 bits"),
        "data" => (Tone::Good, "some sums could leave 16 bits, none does on this input"),
        "overflows" => (Tone::Bad, "another answer on x86 without VNNI: sums of two products leave 16 bits"),
        _ => (
            Tone::Warning,
            "some sums could leave 16 bits on x86 without VNNI; choose an input to count them",
        ),
    };
    let mut table = Table::new([
        Column::text("layer"),
        Column::text("type").rank(4),
        Column::number("lowest sum").rank(3),
        Column::number("highest sum"),
        Column::number("channels at risk").rank(1),
        Column::number("overflows"),
        Column::number("of sums").rank(2),
        Column::number("wrong outputs"),
        Column::number("largest error").rank(2),
    ]);
    for row in &found.layers {
        if row.exempt.is_some() {
            table.row([
                Cell::name(row.layer),
                Cell::text(row.op_type),
                Cell::default(),
                Cell::default(),
                Cell::text("none").tone(Tone::Dim),
                Cell::default(),
                Cell::default(),
                Cell::default(),
                Cell::default(),
            ]);
            continue;
        }
        let tone = if row.fits { Tone::Plain } else { Tone::Warning };
        let whole = |number: i32| Cell { text: number.to_string(), raw: number.into(), ..Cell::default() };
        let share = row.wrong_outputs.zip(row.outputs).map(|(wrong, all)| wrong as f64 / all.max(1) as f64);
        let bad = if row.saturated.is_some_and(|count| count > 0) { Tone::Bad } else { Tone::Plain };
        table.row([
            Cell::name(row.layer),
            Cell::text(row.op_type),
            whole(row.bounds.0).tone(tone),
            whole(row.bounds.1).tone(tone),
            Cell::text(format!("{} of {}", row.channels_at_risk, row.channels)),
            Cell::option(row.saturated, Cell::count).tone(bad),
            Cell::option(row.sums, Cell::count),
            Cell::option(share, Cell::percent).tone(bad),
            Cell::option(row.largest_error, |error| Cell {
                text: error.to_string(),
                raw: error.into(),
                ..Cell::default()
            }),
        ]);
    }
    let data = match found.input {
        Some(input) => format!(", counted on {} of {input}", counted(found.samples as usize, "sample")),
        None => String::new(),
    };
    let limit = i16::MAX;
    let mut reasons: Vec<&str> = found.layers.iter().filter_map(|row| row.exempt).collect();
    reasons.dedup();
    let mut report = Report::new(found)?
        .toned_line([
            (Tone::Name, found.model.to_owned()),
            (Tone::Plain, format!(": {}{data}: ", counted(found.layers.len(), "layer"))),
            (tone, verdict.to_owned()),
        ])
        .toned_line([(
            Tone::Dim,
            format!(
                "two products of 0 to 255 by -128 to 127 are added in 16 bits, which end at {}; errors in products of codes",
                number::count(u64::from(limit.unsigned_abs()))
            ),
        )])
        .table(table);
    for reason in reasons {
        report = report.toned_line([(Tone::Dim, format!("none at risk: {reason}"))]);
    }
    Ok(report)
}
