//! `sensitivity`: what the quantization of each layer alone does to the output.

use super::evidence::{Evidence, settings_line};
use super::{Command, Example, Group, Scope};
use crate::backend::{Progress, RunReport};
use crate::capture::batch::Batches;
use crate::capture::switched::{OutputChange, Switched, fetch, first, labelled};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::contrast::number_or_text;
use crate::model::Property;
use crate::playground::Playground;
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::report::{Cell, Column, Effect, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;

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
    evidence: super::evidence::Choice,
    /// Look at what this layer computes, in place of the output
    #[arg(long, value_name = "LAYER")]
    at: Option<String>,
    /// Only so many rows
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
}

#[derive(Serialize)]
struct Found<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    /// The value looked at; `None` for the first output.
    at: Option<&'a str>,
    samples: u64,
    /// Samples that were to be looked at: more if the command was stopped.
    samples_wanted: u64,
    has_labels: bool,
    runtime: String,
    runtime_version: String,
    settings: Vec<Property>,
    /// The output with every layer quantized that can be, against the reference.
    all: Outcome,
    /// The candidate's own output.
    candidate_itself: Outcome,
    /// The reference's accuracy.
    reference_accuracy: Option<f64>,
    layers: Vec<Row<'a>>,
    /// Layers that the candidate quantizes and that could not be emulated.
    left_out: Vec<LeftOut<'a>>,
}

#[derive(Serialize)]
struct Outcome {
    #[serde(serialize_with = "number_or_text")]
    sqnr_db: Option<f64>,
    /// Samples whose class is another than the reference's.
    changed: u64,
    /// Percentage points that are lost.
    accuracy_drop_pp: Option<f64>,
}

#[derive(Serialize)]
struct Row<'a> {
    layer: &'a str,
    /// What is replaced: a value of the reference.
    value: &'a str,
    /// The layer, or the value where it is not the layer's first.
    #[serde(skip)]
    label: &'a str,
    op_type: &'a str,
    /// With only this layer quantized.
    only: Outcome,
    /// With all but this layer quantized.
    all_but: Outcome,
    /// How many decibels the output wins when this layer is put back to float.
    #[serde(serialize_with = "number_or_text")]
    gain_db: Option<f64>,
}

#[derive(Serialize)]
struct LeftOut<'a> {
    layer: &'a str,
    error: Error,
}

/// What was measured so far.
#[derive(Clone)]
struct Measured {
    exact: OutputChange,
    all: OutputChange,
    candidate: OutputChange,
    only: Vec<OutputChange>,
    all_but: Vec<OutputChange>,
    samples: u64,
    report: Option<RunReport>,
}

impl Command for Sensitivity {
    type Arguments = Arguments;
    const NAME: &'static str = "sensitivity";
    const SUMMARY: &'static str = "Rank layers by what their quantization alone does to the output";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "sensitivity resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 32",
            shows: "the layer that costs most comes first",
        },
        Example {
            line: "input digits.npz:images[0:16]; sensitivity resnet8.onnx resnet8_uint8.onnx --at fc --top 3",
            shows: "the same for the scores before the softmax",
        },
    ];

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
                Error::not_found(format!("`{path}` has no partner in `{}`", evidence.candidate_model.id))
            })
        });
        let at = at.transpose()?;
        let value = at.map(|pair| pair.reference_value.name);
        let switched = Switched::new(&reference, &candidate, &values.pairs, value, &task)?;
        let batches = evidence.batches(&[&reference, &candidate])?;
        let wanted = batches.samples();
        let theirs = fetch(at.map(|pair| pair.candidate_value.name));
        let quantization = at.and_then(|pair| pair.candidate_value.quantization);
        let mut own = |batch: &_| -> Result<_> {
            let mut output = first(candidate.run(batch, &theirs, &task)?.tensors, &candidate)?;
            output.quantization = output.quantization.or_else(|| quantization.cloned());
            Ok(output)
        };
        let (measured, stop) = measure(&switched, batches, evidence.labels.as_deref(), &mut own, &task);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || measured.samples == 0)
        {
            return Err(error.clone());
        }
        drop(task);
        let has_labels = evidence.labels.is_some();
        let outcome = |change: &OutputChange| outcome(change, &measured, has_labels);
        let all = outcome(&measured.all);
        let mut rows: Vec<Row<'_>> = switched
            .layers
            .iter()
            .enumerate()
            .map(|(place, index)| {
                let all_but = outcome(&measured.all_but[place]);
                Row {
                    layer: &values.pairs[*index].reference.path,
                    value: values.pairs[*index].reference_value.name,
                    label: values.pairs[*index].reference.label_of(values.pairs[*index].reference_value.name),
                    op_type: &values.pairs[*index].reference.op_type,
                    only: outcome(&measured.only[place]),
                    gain_db: all_but.sqnr_db.zip(all.sqnr_db).map(|(with, without)| with - without),
                    all_but,
                }
            })
            .collect();
        let sqnr = |row: &Row<'_>| row.only.sqnr_db.unwrap_or(f64::INFINITY);
        rows.sort_by(|left, right| sqnr(left).total_cmp(&sqnr(right)));
        rows.truncate(arguments.top.unwrap_or(usize::MAX));
        let left_out = switched.obstacles().map(|(index, error)| LeftOut {
            layer: &values.pairs[index].reference.path,
            error: error.clone(),
        });
        let (runtime, runtime_version, settings) = match measured.report.clone() {
            Some(report) => (report.runtime, report.runtime_version, report.settings),
            None => Default::default(),
        };
        let found = Found {
            reference: &evidence.reference_model.id,
            candidate: &evidence.candidate_model.id,
            input: &evidence.input.source,
            at: at.map(|pair| pair.reference.path.as_str()),
            samples: measured.samples,
            samples_wanted: wanted,
            has_labels,
            runtime,
            runtime_version,
            settings,
            candidate_itself: outcome(&measured.candidate),
            reference_accuracy: has_labels.then(|| share(measured.exact.correct, measured.samples)),
            all,
            layers: rows,
            left_out: left_out.collect(),
        };
        let report = lay_out(&found)?;
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(error.with_cause(format!(
                "the numbers above are those of {} of {wanted} samples",
                found.samples
            )))),
            None => report,
        })
    }
}

/// Measures batch by batch, so that what is stopped has looked at every layer; returns why it was stopped, too.
fn measure(
    switched: &Switched<'_>,
    batches: Batches<'_>,
    labels: Option<&[i64]>,
    own: &mut dyn FnMut(&crate::input::Input) -> Result<crate::model::Tensor>,
    progress: &dyn Progress,
) -> (Measured, Option<Error>) {
    let layers = switched.layers.len();
    let mut measured = Measured {
        exact: OutputChange::default(),
        all: OutputChange::default(),
        candidate: OutputChange::default(),
        only: vec![OutputChange::default(); layers],
        all_but: vec![OutputChange::default(); layers],
        samples: 0,
        report: None,
    };
    let runs = 2 * layers as u64 + 3;
    let total = batches.samples() * runs;
    for (batch, labels, count) in labelled(batches, labels) {
        let mut next = measured.clone();
        let mut done = measured.samples * runs;
        let mut step = || -> Result<()> {
            let mut feed = switched.feed(&batch)?;
            let exact = switched.run(&mut feed, |_| false, progress)?.0;
            next.exact.add(&exact, &exact, labels)?;
            next.all.add(&exact, &switched.run(&mut feed, |_| true, progress)?.0, labels)?;
            next.candidate.add(&exact, &own(&batch)?, labels)?;
            // In the order of computing: what lies before a layer is one step further than for the layer before it.
            for (place, layer) in switched.layers.iter().enumerate() {
                if progress.is_cancelled() {
                    return Err(Error::cancelled());
                }
                progress.update("quantizing layer by layer", done, total);
                let only = switched.run(&mut feed, |index| index == *layer, progress)?.0;
                next.only[place].add(&exact, &only, labels)?;
                let (all_but, report) = switched.run(&mut feed, |index| index != *layer, progress)?;
                next.all_but[place].add(&exact, &all_but, labels)?;
                // The last one says how much was not computed again.
                next.report = Some(report);
                done += 2 * count;
            }
            Ok(())
        };
        match step() {
            Ok(()) => {
                next.samples += count;
                measured = next;
            }
            Err(error) => {
                // Only whole batches count: what was begun is dropped.
                return (measured, Some(error));
            }
        }
    }
    (measured, None)
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn outcome(change: &OutputChange, measured: &Measured, has_labels: bool) -> Outcome {
    let lost = share(measured.exact.correct, measured.samples) - share(change.correct, measured.samples);
    Outcome {
        sqnr_db: change.errors.metrics().sqnr_db,
        changed: change.changed,
        accuracy_drop_pp: has_labels.then_some(lost * 100.0),
    }
}

fn lay_out(found: &Found<'_>) -> Result<Report> {
    let mut columns = vec![
        Column::text("layer"),
        Column::text("type").rank(4),
        Column::number("only this dB"),
        Column::chart("").rank(1),
        Column::number("all but this dB"),
        Column::number("gain dB").rank(2),
        Column::number("changed").rank(3),
    ];
    if found.has_labels {
        columns.push(Column::number("accuracy lost"));
    }
    let mut table = Table::new(columns);
    let highest = found.layers.iter().filter_map(|row| row.only.sqnr_db).filter(|sqnr| sqnr.is_finite());
    let highest = highest.fold(1.0, f64::max);
    for row in &found.layers {
        let bar = row.only.sqnr_db.map(|sqnr| Chart::Bar((sqnr / highest).clamp(0.0, 1.0) / 2.0));
        let mut cells = vec![
            Cell::name(row.label),
            Cell::text(row.op_type),
            Cell::option(row.only.sqnr_db, Cell::decibels),
            bar.map_or_else(Cell::default, |bar| Cell::chart(bar).tone(Tone::Good)),
            Cell::option(row.all_but.sqnr_db, Cell::decibels),
            Cell::option(row.gain_db, |gain| Cell { text: format!("{gain:+.2}"), ..Cell::real(gain) }),
            Cell::count(row.only.changed),
        ];
        if found.has_labels {
            cells.push(Cell::option(row.only.accuracy_drop_pp, |points| Cell {
                text: format!("{points:+.2} pp"),
                ..Cell::real(points)
            }));
        }
        table.row(cells);
    }
    let what = match found.at {
        Some(layer) => format!("`{layer}`"),
        None => "the output".to_owned(),
    };
    let mut report = Report::new(found)?
        .toned_line([
            (Tone::Name, found.candidate.to_owned()),
            (Tone::Plain, " in ".to_owned()),
            (Tone::Name, found.reference.to_owned()),
            (
                Tone::Plain,
                format!(
                    ", layer by layer, on {} of {}: SQNR of {what}",
                    super::listing::counted(found.samples as usize, "sample"),
                    found.input
                ),
            ),
        ])
        .toned_line([(Tone::Dim, settings_line(&found.runtime, &found.runtime_version, &found.settings))]);
    if let Some(worst) = found.layers.first() {
        let sqnr = worst.only.sqnr_db.map_or_else(|| "no SQNR".to_owned(), number::decibels);
        report = report.toned_line([
            (Tone::Plain, "costs most: ".to_owned()),
            (Tone::Name, worst.layer.to_owned()),
            (Tone::Plain, format!(", {sqnr} when only it is quantized")),
        ]);
    }
    let text = |outcome: &Outcome| {
        let sqnr = outcome.sqnr_db.map_or_else(|| "–".to_owned(), number::decibels);
        let lost = outcome.accuracy_drop_pp.map(|points| format!(", {points:+.2} pp of accuracy lost"));
        format!("{sqnr}, {} changed{}", outcome.changed, lost.unwrap_or_default())
    };
    report = report.line(format!(
        "all layers together: {}; the candidate itself: {}",
        text(&found.all),
        text(&found.candidate_itself)
    ));
    if let Some(accuracy) = found.reference_accuracy {
        report = report.line(format!("accuracy of the reference: {:.2} %", accuracy * 100.0));
    }
    report = report.table(table);
    for left_out in &found.left_out {
        report = report.toned_line([
            (Tone::Warning, "not emulated: ".to_owned()),
            (Tone::Name, left_out.layer.to_owned()),
            (Tone::Plain, format!(": {}", left_out.error.one_line())),
        ]);
    }
    Ok(report)
}
