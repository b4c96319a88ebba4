//! `saturation`: whether 8-bit products overflow on processors without VNNI.

use super::arguments::running::Running;
use super::arguments::samples::Samples;
use super::{Command, Example, Group, Scope};
use crate::capture::products::{Counted, Product, count, products};
use crate::capture::{Execution, can_be_captured};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
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
    #[command(flatten)]
    samples: Samples,
    #[command(flatten)]
    running: Running,
}

struct Found<'a> {
    model: &'a str,
    input: Option<&'a str>,
    samples: u64,
    verdict: Verdict,
    layers: Vec<Row<'a>>,
}

/// The verdict on the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// No sum can overflow.
    Safe,
    /// Some could, none did.
    Data,
    /// Some did.
    Overflows,
    /// Some could, and no input is chosen to count on.
    Possible,
}

impl Verdict {
    /// The words for [`Field::choices`].
    const WORDS: &'static [&'static str] = &["safe", "data", "overflows", "possible"];
}

struct Row<'a> {
    layer: &'a str,
    op_type: &'a str,
    /// Why no sum of the layer can overflow, whatever its bounds.
    exempt: Option<&'static str>,
    bounds: (i32, i32),
    fits: bool,
    channels_at_risk: usize,
    channels: usize,
    /// `None` if nothing was counted, like the four after it.
    sums: Option<u64>,
    saturated: Option<u64>,
    outputs: Option<u64>,
    wrong_outputs: Option<u64>,
    largest_error: Option<i64>,
    sqnr_db: Option<f64>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field(
                "input",
                Unit::Text,
                "Where the samples come from; null if nothing was counted",
                |found| found.input,
            ),
            Self::field("samples", Unit::Count, "Samples that overflows were counted on", |found| {
                found.samples
            }),
            Self::field(
                "verdict",
                Unit::Text,
                "safe: no sum can overflow; data: some could, none did; overflows: some did; possible: some could, \
                 and no input is chosen to count on",
                |found| word(found.verdict),
            )
            .choices(Verdict::WORDS),
            Self::list("layers", "The layers that multiply 8-bit codes by 8-bit weights", |found| {
                &found.layers
            }),
        ]
    }
}

impl Row<'_> {
    /// Blank where the layer is exempt, a dash where nothing was counted.
    fn text(&self, text: Option<String>) -> String {
        if self.exempt.is_some() { String::new() } else { text.unwrap_or_else(|| "–".to_owned()) }
    }

    fn risk_tone(&self) -> Tone {
        if self.fits { Tone::Plain } else { Tone::Warning }
    }

    fn overflow_tone(&self) -> Tone {
        if self.saturated.is_some_and(|count| count > 0) { Tone::Bad } else { Tone::Plain }
    }

    fn wrong_share(&self) -> Option<f64> {
        let (wrong, all) = self.wrong_outputs.zip(self.outputs)?;
        Some(wrong as f64 / all.max(1) as f64)
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |row| row.layer).title("layer"),
            Self::field("op_type", Unit::Text, "Its operator or class", |row| row.op_type)
                .title("type")
                .rank(4),
            Self::field(
                "exempt",
                Unit::Text,
                "Why no sum of this layer can overflow, whatever its bounds; null if one may",
                |row| row.exempt,
            ),
            Self::field(
                "bounds",
                Unit::Count,
                "The lowest and the highest sum of two products over all possible activations",
                |row| vec![i64::from(row.bounds.0), i64::from(row.bounds.1)],
            ),
            Self::field(
                "",
                Unit::Count,
                "Lowest sum of two products over all possible activations; 16 bits hold −32768 and above",
                |row| i64::from(row.bounds.0),
            )
            .title("lowest sum")
            .rank(3)
            .text(|row| row.text(Some(row.bounds.0.to_string())))
            .tone(Row::risk_tone),
            Self::field(
                "",
                Unit::Count,
                "Highest sum of two products over all possible activations; 16 bits hold up to 32767",
                |row| i64::from(row.bounds.1),
            )
            .title("highest sum")
            .text(|row| row.text(Some(row.bounds.1.to_string())))
            .tone(Row::risk_tone),
            Self::field("fits", Unit::Flag, "Whether every possible sum fits in 16 bits", |row| row.fits),
            Self::field(
                "channels_at_risk",
                Unit::Count,
                "Output channels with a possible sum that does not fit in 16 bits",
                |row| row.channels_at_risk,
            )
            .title("channels at risk")
            .rank(1)
            .text(|row| match row.exempt {
                Some(_) => "none".to_owned(),
                None => format!("{} of {}", row.channels_at_risk, row.channels),
            })
            .tone(|row| if row.exempt.is_some() { Tone::Dim } else { Tone::Plain }),
            Self::field("channels", Unit::Count, "Output channels", |row| row.channels),
            Self::field(
                "sums",
                Unit::Count,
                "Sums that were computed on the input, at evenly spaced output positions; null if none were",
                |row| row.sums,
            )
            .title("of sums")
            .rank(2)
            .text(|row| row.text(row.sums.map(number::count)))
            .after("saturated"),
            Self::field("saturated", Unit::Count, "Sums among them that do not fit in 16 bits", |row| {
                row.saturated
            })
            .title("overflows")
            .text(|row| row.text(row.saturated.map(number::count)))
            .tone(Row::overflow_tone),
            Self::field("outputs", Unit::Count, "Output values that were computed from these sums", |row| {
                row.outputs
            }),
            Self::field("wrong_outputs", Unit::Count, "Output values that an overflow changes", |row| {
                row.wrong_outputs
            }),
            Self::field(
                "",
                Unit::Share,
                "Share of the computed output values that an overflow changes",
                |row| row.wrong_share(),
            )
            .title("wrong outputs")
            .text(|row| row.text(row.wrong_share().map(number::percent)))
            .tone(Row::overflow_tone),
            Self::field(
                "largest_error",
                Unit::Count,
                "Error of the largest magnitude in an output's sum, in products of codes",
                |row| row.largest_error,
            )
            .title("largest error")
            .rank(2)
            .text(|row| row.text(row.largest_error.map(|error| error.to_string()))),
            Self::field(
                "sqnr_db",
                Unit::Decibels,
                "SQNR of the outputs of channels at risk with overflows as the only error; inf without any; null if nothing was counted",
                |row| row.sqnr_db,
            )
            .title("overflow dB")
            .rank(2)
            .text(|row| row.text(row.sqnr_db.map(number::decibels)))
            .hidden_if_missing(),
        ]
    }
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

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.name.as_deref(), &task)?;
        let products = products(&model, &task)?;
        if products.is_empty() {
            return Err(Error::state(format!("`{}` multiplies no 8-bit codes by 8-bit weights", model.id))
                .with_hint("See `quant` for how it is quantized."));
        }
        let mut counts: Vec<Option<Counted>> = vec![None; products.len()];
        let (mut samples, mut stopped) = (0, None);
        let input = playground.input.clone();
        let wanted: Vec<&Product<'_>> = products.iter().filter(|product| product.is_at_risk()).collect();
        if let Some(input) = input.as_ref().filter(|_| !wanted.is_empty()) {
            can_be_captured(&model)?;
            arguments.running.check(&[&model])?;
            let side = arguments.running.side(&model, Execution::AsWritten, playground, &task);
            let feed = arguments.samples.of(input);
            let streamed = count(&side, &products, &mut counts, feed, &task)?;
            (samples, stopped) = (streamed.samples, streamed.stopped);
        }
        drop(task);
        let rows: Vec<Row<'_>> =
            products.iter().zip(&counts).map(|(product, count)| row(product, count.as_ref())).collect();
        let verdict = match (wanted.is_empty(), samples > 0) {
            (true, _) => Verdict::Safe,
            (false, false) => Verdict::Possible,
            (false, true) if rows.iter().any(|row| row.saturated.is_some_and(|count| count > 0)) => {
                Verdict::Overflows
            }
            (false, true) => Verdict::Data,
        };
        let report = lay_out(&Found {
            model: &model.id,
            input: input.as_ref().filter(|_| samples > 0).map(|input| input.source.as_str()),
            samples,
            verdict,
            layers: rows,
        });
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
        sqnr_db: counted.and_then(Counted::sqnr_db),
    }
}

fn lay_out(found: &Found<'_>) -> Report {
    let (tone, verdict) = match found.verdict {
        Verdict::Safe => {
            (Tone::Good, "same results on every x86: no sum of two products can overflow 16 bits")
        }
        Verdict::Data => (Tone::Good, "some sums could overflow 16 bits, none does on this input"),
        Verdict::Overflows => {
            (Tone::Bad, "results differ on x86 without VNNI: sums of two products overflow 16 bits")
        }
        Verdict::Possible => (
            Tone::Warning,
            "some sums could overflow 16 bits on x86 without VNNI; choose an input to count them",
        ),
    };
    let data = match found.input {
        Some(input) => format!(", counted on {} of {input}", counted(found.samples as usize, "sample")),
        None => String::new(),
    };
    let limit = i16::MAX;
    let mut reasons: Vec<&str> = found.layers.iter().filter_map(|row| row.exempt).collect();
    reasons.dedup();
    let mut report = Report::of(found)
        .toned_line([
            (Tone::Name, found.model.to_owned()),
            (Tone::Plain, format!(": {}{data}: ", counted(found.layers.len(), "layer"))),
            (tone, verdict.to_owned()),
        ])
        .toned_line([(
            Tone::Dim,
            format!(
                "two products of 0 to 255 by -128 to 127 are added in 16 bits, which hold up to {}; errors in products of codes",
                number::count(u64::from(limit.unsigned_abs()))
            ),
        )])
        .table(Table::of(&found.layers));
    for reason in reasons {
        report = report.toned_line([(Tone::Dim, format!("none at risk: {reason}"))]);
    }
    report
}
