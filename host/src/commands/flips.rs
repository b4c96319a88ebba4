//! `flips`: the samples that two models see as different classes.

use super::evidence::{Choice, Evidence, Ran};
use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::Side;
use crate::capture::batch::Batches;
use crate::capture::switched::{first, labelled, scores};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::playground::{FlipsContext, Playground};
use crate::render::report::{Cell, Column, Effect, Report, Table};
use crate::render::style::Tone;
use qp_analysis::argmax;
use serde::Serialize;

/// Rows that are printed without `--top`.
const SHOWN: usize = 20;

/// `flips REF CAND`
pub(super) struct Flips;

/// The arguments of `flips`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reference, most often the float model
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The candidate
    #[arg(value_name = "MODEL")]
    candidate: String,
    #[command(flatten)]
    evidence: Choice,
    /// Only so many rows
    #[arg(long, value_name = "COUNT", default_value_t = SHOWN)]
    top: usize,
}

#[derive(Serialize)]
struct Found<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    samples: u64,
    runs: Vec<Ran>,
    /// Samples whose class is another.
    flipped: usize,
    /// Top-1 accuracy, 0 to 1, where there are labels.
    reference_accuracy: Option<f64>,
    candidate_accuracy: Option<f64>,
    /// Flips from the label to another class, and from another class to the label.
    became_wrong: Option<usize>,
    became_right: Option<usize>,
    flips: Vec<Flip>,
}

#[derive(Serialize)]
struct Flip {
    sample: u64,
    label: Option<i64>,
    reference_class: usize,
    candidate_class: usize,
    /// How far the reference's two highest scores are apart: a narrow win is easily lost.
    reference_margin: f64,
    candidate_margin: f64,
}

/// What was counted so far.
#[derive(Default)]
struct Counted {
    samples: u64,
    correct: [u64; 2],
    flips: Vec<Flip>,
    runs: Option<[RunReport; 2]>,
}

impl Command for Flips {
    type Arguments = Arguments;
    const NAME: &'static str = "flips";
    const SUMMARY: &'static str = "List the samples whose predicted class changes";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "flips resnet8.onnx resnet8_int8.onnx --data digits.npz",
            shows: "which digits the int8 model sees differently",
        },
        Example {
            line: "input digits.npz:images[0:64]; flips resnet8.onnx resnet8_int8.pt",
            shows: "the same across two backends, without labels",
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
        let (reference, candidate) = (evidence.reference(), evidence.candidate());
        let batches = evidence.batches(&[&reference, &candidate])?;
        let wanted = batches.samples();
        let labels = evidence.labels.as_deref();
        let (counted, stop) = count(&reference, &candidate, batches, labels, &task);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || counted.samples == 0)
        {
            return Err(error.clone());
        }
        drop(task);
        let Counted { samples, correct, mut flips, runs } = counted;
        let accuracy = |correct: u64| labels.map(|_| correct as f64 / samples.max(1) as f64);
        let is_label = |class: usize, label: Option<i64>| i64::try_from(class).ok() == label;
        let became = |was: bool| {
            labels.map(|_| {
                let class = |flip: &Flip| if was { flip.reference_class } else { flip.candidate_class };
                flips.iter().filter(|flip| is_label(class(flip), flip.label)).count()
            })
        };
        let (became_wrong, became_right, flipped) = (became(true), became(false), flips.len());
        flips.truncate(arguments.top);
        let mut runs: Vec<Ran> = runs.into_iter().flatten().map(Ran::from).collect();
        runs.dedup_by(|right, left| left.text() == right.text());
        let report = lay_out(&Found {
            reference: &evidence.reference_model.id,
            candidate: &evidence.candidate_model.id,
            input: &evidence.input.source,
            samples,
            runs,
            flipped,
            reference_accuracy: accuracy(correct[0]),
            candidate_accuracy: accuracy(correct[1]),
            became_wrong,
            became_right,
            flips,
        })?;
        playground.flips = Some(FlipsContext {
            reference: arguments.reference.clone(),
            candidate: arguments.candidate.clone(),
            data: arguments.evidence.data.clone(),
            labels: arguments.evidence.labels.clone(),
            options: arguments.evidence.running.named(),
        });
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the list above is that of {samples} of {wanted} samples")),
            )),
            None => report,
        })
    }
}

fn count(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    batches: Batches<'_>,
    labels: Option<&[i64]>,
    progress: &dyn Progress,
) -> (Counted, Option<Error>) {
    let mut counted = Counted::default();
    let total = batches.samples();
    for (batch, labels, count) in labelled(batches, labels) {
        progress.update("predicting samples", counted.samples, total);
        match both(reference, candidate, &batch, progress) {
            Ok((ours, theirs, runs)) => {
                for (place, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                    let label = labels.and_then(|labels| labels.get(place)).copied();
                    let classes = [argmax(ours).unwrap_or(0), argmax(theirs).unwrap_or(0)];
                    for (correct, class) in counted.correct.iter_mut().zip(classes) {
                        *correct += u64::from(i64::try_from(class).ok() == label);
                    }
                    if classes[0] != classes[1] {
                        counted.flips.push(Flip {
                            sample: counted.samples + place as u64,
                            label,
                            reference_class: classes[0],
                            candidate_class: classes[1],
                            reference_margin: margin(ours),
                            candidate_margin: margin(theirs),
                        });
                    }
                }
                counted.samples += count;
                counted.runs = Some(runs);
            }
            Err(error) => return (counted, Some(error)),
        }
    }
    (counted, None)
}

type Scores = Vec<Vec<f64>>;

fn both(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    batch: &Input,
    progress: &dyn Progress,
) -> Result<(Scores, Scores, [RunReport; 2])> {
    if progress.is_cancelled() {
        return Err(Error::cancelled());
    }
    let ours = reference.run(batch, &Fetch::Outputs, progress)?;
    let theirs = candidate.run(batch, &Fetch::Outputs, progress)?;
    let runs = [ours.report, theirs.report];
    Ok((scores(&first(ours.tensors, reference)?)?, scores(&first(theirs.tensors, candidate)?)?, runs))
}

/// How far the two highest scores are apart.
fn margin(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|left, right| right.total_cmp(left));
    match sorted[..] {
        [first, second, ..] => first - second,
        _ => f64::NAN,
    }
}

fn lay_out(found: &Found<'_>) -> Result<Report> {
    let tone = if found.flipped == 0 { Tone::Good } else { Tone::Warning };
    let mut report = Report::new(found)?
        .toned_line([
            (Tone::Name, found.candidate.to_owned()),
            (Tone::Plain, " against ".to_owned()),
            (Tone::Name, found.reference.to_owned()),
            (Tone::Plain, format!(" on {} of {}: ", counted(found.samples as usize, "sample"), found.input)),
            (
                tone,
                format!(
                    "{} another class",
                    match found.flipped {
                        0 => "none has".to_owned(),
                        1 => "1 has".to_owned(),
                        many => format!("{many} have"),
                    }
                ),
            ),
        ])
        .toned_line([(Tone::Dim, found.runs.iter().map(Ran::text).collect::<Vec<_>>().join("; "))]);
    if let (Some(ours), Some(theirs)) = (found.reference_accuracy, found.candidate_accuracy) {
        report = report.line(format!(
            "accuracy {:.2} % and {:.2} %: {:+.2} pp; {} became wrong, {} became right",
            ours * 100.0,
            theirs * 100.0,
            (theirs - ours) * 100.0,
            found.became_wrong.unwrap_or_default(),
            found.became_right.unwrap_or_default()
        ));
    }
    if found.flips.is_empty() {
        return Ok(report);
    }
    let has_labels = found.reference_accuracy.is_some();
    let mut columns = vec![Column::number("sample")];
    if has_labels {
        columns.push(Column::number("label"));
    }
    columns.extend([
        Column::number("reference"),
        Column::number("by"),
        Column::number("candidate"),
        Column::number("by"),
    ]);
    let mut table = Table::new(columns);
    let plain = |number: u64| Cell { text: number.to_string(), raw: number.into(), ..Cell::default() };
    for flip in &found.flips {
        let is_label = |class: usize| flip.label.is_some() && i64::try_from(class).ok() == flip.label;
        let class =
            |class: usize| plain(class as u64).tone(if is_label(class) { Tone::Good } else { Tone::Plain });
        let mut cells = vec![plain(flip.sample)];
        if has_labels {
            cells.push(flip.label.map_or_else(Cell::default, |label| plain(label.unsigned_abs())));
        }
        cells.extend([
            class(flip.reference_class),
            Cell::real(flip.reference_margin),
            class(flip.candidate_class),
            Cell::real(flip.candidate_margin),
        ]);
        table.row(cells);
    }
    report = report.table(table);
    if found.flipped > found.flips.len() {
        report = report.line(format!("and {} more; see `--top`", found.flipped - found.flips.len()));
    }
    let first = found.flips.first().map_or(0, |flip| flip.sample);
    Ok(report.toned_line([(Tone::Dim, format!("`explain {first}` finds the layers that did it"))]))
}
