//! `sensitivity`: how quantizing each layer alone changes the output.

use super::arguments::evidence::{Choice, Evidence};
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::capture::sensitivity::{Measured, Outcome};
use crate::capture::switched::{OutputChange, Switched};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::Playground;
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// `sensitivity REF CAND`
pub(super) struct Sensitivity;

/// The arguments of `sensitivity`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reference, an ONNX model
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The candidate, of any backend
    #[arg(value_name = "MODEL")]
    candidate: String,
    #[command(flatten)]
    evidence: Choice,
    /// Measure what this layer computes instead of the output
    #[arg(long, value_name = "LAYER")]
    at: Option<String>,
    /// Show at most this many rows
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
}

struct SensitivityReport<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    /// The layer whose value is measured; `None` for the first output.
    at: Option<&'a str>,
    samples: u64,
    /// More than `samples` if the command was stopped.
    samples_wanted: u64,
    has_labels: bool,
    ran: Ran,
    /// With every layer that can be emulated quantized.
    all: Outcome,
    candidate_itself: Outcome,
    reference_accuracy: Option<f64>,
    layers: Vec<LayerSensitivity<'a>>,
    left_out: Vec<LeftOut<'a>>,
}

struct LayerSensitivity<'a> {
    layer: &'a str,
    value: &'a str,
    /// The layer, or the value if it is not the layer's first.
    label: &'a str,
    op_type: &'a str,
    only: Outcome,
    all_but: Outcome,
    gain_db: Option<f64>,
    /// `only.sqnr_db` as a share of the highest one.
    bar: Option<f64>,
}

struct LeftOut<'a> {
    layer: &'a str,
    error: Error,
}

impl Record for SensitivityReport<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The reference", |found| found.reference),
            Self::field("candidate", Unit::Name, "The candidate", |found| found.candidate),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input),
            Self::field(
                "at",
                Unit::Name,
                "The layer whose value was measured; null for the model's first output",
                |found| found.at,
            ),
            Self::field("samples", Unit::Count, "Samples that were measured", |found| found.samples),
            Self::field(
                "samples_wanted",
                Unit::Count,
                "Samples that were requested: more than `samples` if the command was stopped",
                |found| found.samples_wanted,
            ),
            Self::field("has_labels", Unit::Flag, "Whether the samples have labels", |found| {
                found.has_labels
            }),
            Self::flat(Ran::fields(), |found| Some(&found.ran)).always(),
            Self::object(
                "all",
                "The output with every layer that can be emulated quantized, against the reference",
                |found| Some(&found.all),
            )
            .always(),
            Self::object(
                "candidate_itself",
                "The output that the candidate itself computes, against the reference",
                |found| Some(&found.candidate_itself),
            )
            .always(),
            Self::field(
                "reference_accuracy",
                Unit::Share,
                "Top-1 accuracy of the reference; null without labels",
                |found| found.reference_accuracy,
            ),
            Self::list("layers", "The layers, the most sensitive first", |found| &found.layers),
            Self::list(
                "left_out",
                "Layers that the candidate quantizes but that could not be emulated",
                |found| &found.left_out,
            ),
        ]
    }
}

impl Record for LayerSensitivity<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer of the reference", |row| row.layer)
                .title("layer")
                .text(|row| row.label.to_owned()),
            Self::field("value", Unit::Name, "The value of the reference that was quantized", |row| row.value),
            Self::field("op_type", Unit::Text, "Its operator or class", |row| row.op_type)
                .title("type")
                .rank(4),
            Self::nested("only", "The output with only this layer quantized", Outcome::fields(), |row| {
                Some(&row.only)
            })
            .always()
            .change("sqnr_db", |sqnr| {
                sqnr.title("only this dB").means(
                    "SQNR of the output with only this layer quantized: the lower, the more sensitive the layer",
                )
            })
            .change("changed", |changed| {
                changed
                    .title("changed")
                    .means("Samples whose class changes with only this layer quantized")
                    .rank(3)
                    .after("gain_db")
            })
            .change("accuracy_drop_pp", |drop| {
                drop.title("accuracy lost")
                    .means("Percentage points of top-1 accuracy lost with only this layer quantized")
                    .text(|row| number::signed(row.only.accuracy_drop_pp, " pp"))
                    .hidden_if_missing()
                    .after("only.changed")
            }),
            Self::chart("Bar of the SQNR with only this layer quantized, relative to the highest", |row| {
                row.bar.map(|share| Chart::Bar(share / 2.0))
            })
            .rank(1)
            .tone(|_| Tone::Good),
            Self::nested(
                "all_but",
                "The output with every layer quantized but this one",
                Outcome::fields(),
                |row| Some(&row.all_but),
            )
            .always()
            .change("sqnr_db", |sqnr| {
                sqnr.title("all but this dB")
                    .means("SQNR of the output with every layer quantized but this one")
            }),
            Self::field(
                "gain_db",
                Unit::Decibels,
                "How much the output's SQNR rises when this layer alone is put back to float",
                |row| row.gain_db,
            )
            .title("gain dB")
            .rank(2)
            .text(|row| number::signed(row.gain_db, "")),
        ]
    }
}

impl Record for Outcome {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "sqnr_db",
                Unit::Decibels,
                "SQNR of the output against the reference's; inf if both are equal",
                |outcome| outcome.sqnr_db,
            ),
            Self::field(
                "changed",
                Unit::Count,
                "Samples whose class differs from the reference's",
                |outcome| outcome.changed,
            ),
            Self::field(
                "accuracy_drop_pp",
                Unit::Decimals(2),
                "Top-1 accuracy lost against the reference, in percentage points; null without labels",
                |outcome| outcome.accuracy_drop_pp,
            )
            .symbol("pp"),
        ]
    }
}

impl Record for LeftOut<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer of the reference", |left_out| left_out.layer),
            Self::error("error", "Why it could not be emulated", |left_out| Some(&left_out.error)),
        ]
    }
}

impl Command for Sensitivity {
    type Arguments = Arguments;
    const NAME: &'static str = "sensitivity";
    const SUMMARY: &'static str = "Rank layers by how much quantizing each one alone changes the output";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "sensitivity resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 32",
            shows: "the most sensitive layer first",
        },
        Example {
            line: "input digits.npz:images[0:16]; sensitivity resnet8.onnx resnet8_uint8.onnx --at fc --top 3",
            shows: "the same, measured on the scores before the softmax",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<SensitivityReport<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let evidence = Evidence::gather(
            playground,
            &arguments.reference,
            &arguments.candidate,
            &arguments.evidence,
            &task,
        )?;
        let at = arguments.at.as_deref().map(|layer| evidence.pair_of(layer)).transpose()?;
        let (reference, candidate) = (evidence.reference(), evidence.candidate());
        let values = evidence.pairs(&reference, &candidate, &task)?;
        let at = at.map(|path| {
            values.pairs.iter().find(|pair| pair.reference.path == path).ok_or_else(|| {
                Error::not_found(format!("`{path}` has no match in `{}`", evidence.candidate_model.id))
            })
        });
        let at = at.transpose()?;
        let value = at.map(|pair| pair.reference_value.name);
        let switched = Switched::new(&reference, &candidate, &values.pairs, value, &task)?;
        let batches = evidence.batches(&[&reference, &candidate])?;
        let wanted = batches.samples();
        let own = (&candidate, at.map(|pair| &pair.candidate_value));
        let (measured, stop) = Measured::of(&switched, own, batches, evidence.labels.as_deref(), &task);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || measured.samples == 0)
        {
            return Err(error.clone());
        }
        drop(task);
        let outcome = |change: &OutputChange| measured.outcome(change);
        let all = outcome(&measured.all);
        let mut rows: Vec<LayerSensitivity<'_>> = switched
            .layers
            .iter()
            .enumerate()
            .map(|(place, index)| {
                let all_but = outcome(&measured.all_but[place]);
                LayerSensitivity {
                    layer: &values.pairs[*index].reference.path,
                    value: values.pairs[*index].reference_value.name,
                    label: values.pairs[*index].reference.label_of(values.pairs[*index].reference_value.name),
                    op_type: &values.pairs[*index].reference.op_type,
                    only: outcome(&measured.only[place]),
                    gain_db: all_but.sqnr_db.zip(all.sqnr_db).map(|(with, without)| with - without),
                    all_but,
                    bar: None,
                }
            })
            .collect();
        let sqnr = |row: &LayerSensitivity<'_>| row.only.sqnr_db.unwrap_or(f64::INFINITY);
        rows.sort_by(|left, right| sqnr(left).total_cmp(&sqnr(right)));
        rows.truncate(arguments.top.unwrap_or(usize::MAX));
        let highest = rows.iter().filter_map(|row| row.only.sqnr_db).filter(|sqnr| sqnr.is_finite());
        let highest = highest.fold(1.0, f64::max);
        for row in &mut rows {
            row.bar = row.only.sqnr_db.map(|sqnr| (sqnr / highest).clamp(0.0, 1.0));
        }
        let left_out = switched.obstacles().map(|(index, error)| LeftOut {
            layer: &values.pairs[index].reference.path,
            error: error.clone(),
        });
        let found = SensitivityReport {
            reference: &evidence.reference_model.id,
            candidate: &evidence.candidate_model.id,
            input: &evidence.input.source,
            at: at.map(|pair| pair.reference.path.as_str()),
            samples: measured.samples,
            samples_wanted: wanted,
            has_labels: evidence.labels.is_some(),
            ran: measured.report.clone().map(Ran::from).unwrap_or_default(),
            candidate_itself: outcome(&measured.candidate),
            reference_accuracy: measured.reference_accuracy(),
            all,
            layers: rows,
            left_out: left_out.collect(),
        };
        let report = lay_out(&found);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the numbers above cover {} of {wanted} samples", found.samples)),
            )),
            None => report,
        })
    }
}

fn lay_out(found: &SensitivityReport<'_>) -> Report {
    let what = match found.at {
        Some(layer) => format!("`{layer}`"),
        None => "the output".to_owned(),
    };
    let mut report = Report::of(found)
        .toned_line([
            (Tone::Name, found.candidate.to_owned()),
            (Tone::Plain, " in ".to_owned()),
            (Tone::Name, found.reference.to_owned()),
            (
                Tone::Plain,
                format!(
                    ", layer by layer, on {} of {}: SQNR of {what}",
                    counted(found.samples as usize, "sample"),
                    found.input
                ),
            ),
        ])
        .toned_line([(Tone::Dim, found.ran.text())]);
    if let Some(worst) = found.layers.first() {
        let sqnr = worst.only.sqnr_db.map_or_else(|| "no SQNR".to_owned(), number::decibels);
        report = report.toned_line([
            (Tone::Plain, "most sensitive: ".to_owned()),
            (Tone::Name, worst.layer.to_owned()),
            (Tone::Plain, format!(" ({sqnr} when quantized alone)")),
        ]);
    }
    let text = |outcome: &Outcome| {
        let sqnr = outcome.sqnr_db.map_or_else(|| "–".to_owned(), number::decibels);
        let lost = outcome.accuracy_drop_pp.map(|points| format!(", {points:+.2} pp of accuracy lost"));
        format!("{sqnr}, {} changed{}", outcome.changed, lost.unwrap_or_default())
    };
    report = report.line(format!(
        "all layers quantized: {}; the candidate itself: {}",
        text(&found.all),
        text(&found.candidate_itself)
    ));
    if let Some(accuracy) = found.reference_accuracy {
        report = report.line(format!("accuracy of the reference: {:.2} %", accuracy * 100.0));
    }
    report = report.table(Table::of(&found.layers));
    for left_out in &found.left_out {
        report = report.toned_line([
            (Tone::Warning, "not emulated: ".to_owned()),
            (Tone::Name, left_out.layer.to_owned()),
            (Tone::Plain, format!(": {}", left_out.error.one_line())),
        ]);
    }
    report
}
