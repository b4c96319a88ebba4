//! `flips`: the samples that two models classify differently.

use super::arguments::evidence::{Choice, Evidence};
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::Side;
use crate::capture::batch::Batches;
use crate::capture::scores::{first, scores};
use crate::capture::switched::labelled;
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::playground::{FlipsContext, Playground};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::argmax;

/// Rows that are printed without `--top`.
const SHOWN: usize = 20;

/// `flips REF CAND`
pub(super) struct Flips;

/// The arguments of `flips`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reference, usually the float model
    #[arg(value_name = "MODEL")]
    reference: String,
    /// The candidate
    #[arg(value_name = "MODEL")]
    candidate: String,
    #[command(flatten)]
    evidence: Choice,
    /// Show at most this many rows
    #[arg(long, value_name = "COUNT", default_value_t = SHOWN)]
    top: usize,
}

struct Found<'a> {
    reference: &'a str,
    candidate: &'a str,
    input: &'a str,
    samples: u64,
    runs: Vec<Ran>,
    flipped: usize,
    /// `None` without labels, like the three after it.
    reference_accuracy: Option<f64>,
    candidate_accuracy: Option<f64>,
    became_wrong: Option<usize>,
    became_right: Option<usize>,
    flips: Vec<Flip>,
}

struct Flip {
    sample: u64,
    label: Option<i64>,
    reference_class: usize,
    candidate_class: usize,
    /// `None` for a single class.
    reference_margin: Option<f64>,
    candidate_margin: Option<f64>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The reference", |found| found.reference),
            Self::field("candidate", Unit::Name, "The candidate", |found| found.candidate),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input),
            Self::field("samples", Unit::Count, "Samples that both models ran on", |found| found.samples),
            Self::list("runs", "How the models were run; one entry if both were run the same way", |found| {
                &found.runs
            }),
            Self::field("flipped", Unit::Count, "Samples that changed class", |found| found.flipped),
            Self::field(
                "reference_accuracy",
                Unit::Share,
                "Top-1 accuracy of the reference; null without labels",
                |found| found.reference_accuracy,
            ),
            Self::field(
                "candidate_accuracy",
                Unit::Share,
                "Top-1 accuracy of the candidate; null without labels",
                |found| found.candidate_accuracy,
            ),
            Self::field(
                "became_wrong",
                Unit::Count,
                "Samples that only the reference classifies correctly; null without labels",
                |found| found.became_wrong,
            ),
            Self::field(
                "became_right",
                Unit::Count,
                "Samples that only the candidate classifies correctly; null without labels",
                |found| found.became_right,
            ),
            Self::list("flips", "The samples that changed class, up to `--top`", |found| &found.flips),
        ]
    }
}

impl Record for Flip {
    fn fields() -> Vec<Field<Self>> {
        let tone = |is_label: bool| if is_label { Tone::Good } else { Tone::Plain };
        vec![
            Self::field("sample", Unit::Index, "The sample, counted from 0", |flip| flip.sample)
                .title("sample"),
            Self::field("label", Unit::Index, "The sample's label", |flip| flip.label)
                .title("label")
                .hidden_if_missing(),
            Self::field("reference_class", Unit::Index, "The class that the reference predicts", |flip| {
                flip.reference_class
            })
            .title("reference")
            .tone(move |flip| tone(is_label(flip.reference_class, flip.label))),
            Self::field("candidate_class", Unit::Index, "The class that the candidate predicts", |flip| {
                flip.candidate_class
            })
            .title("candidate")
            .tone(move |flip| tone(is_label(flip.candidate_class, flip.label))),
            Self::field(
                "reference_margin",
                Unit::Real,
                "The reference's highest score minus its second highest: a narrow margin is easily lost",
                |flip| flip.reference_margin,
            )
            .title("margin")
            .after("reference_class"),
            Self::field(
                "candidate_margin",
                Unit::Real,
                "The candidate's highest score minus its second highest",
                |flip| flip.candidate_margin,
            )
            .title("its margin"),
        ]
    }
}

/// Whether the class is the label.
fn is_label(class: usize, label: Option<i64>) -> bool {
    label.is_some() && i64::try_from(class).ok() == label
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

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found<'_>>(1)]
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
        });
        playground.flips = Some(FlipsContext {
            reference: arguments.reference.clone(),
            candidate: arguments.candidate.clone(),
            data: arguments.evidence.data.clone(),
            labels: arguments.evidence.labels.clone(),
            options: arguments.evidence.running.named(),
        });
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the list above covers {samples} of {wanted} samples")),
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
                        *correct += u64::from(is_label(class, label));
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

/// The highest score minus the second highest.
fn margin(scores: &[f64]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|left, right| right.total_cmp(left));
    match sorted[..] {
        [first, second, ..] => Some(first - second),
        _ => None,
    }
}

fn lay_out(found: &Found<'_>) -> Report {
    let tone = if found.flipped == 0 { Tone::Good } else { Tone::Warning };
    let mut report = Report::of(found)
        .toned_line([
            (Tone::Name, found.candidate.to_owned()),
            (Tone::Plain, " against ".to_owned()),
            (Tone::Name, found.reference.to_owned()),
            (Tone::Plain, format!(" on {} of {}: ", counted(found.samples as usize, "sample"), found.input)),
            (
                tone,
                match found.flipped {
                    0 => "no sample changed class".to_owned(),
                    count => format!("{} changed class", counted(count, "sample")),
                },
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
        return report;
    }
    report = report.table(Table::of(&found.flips));
    if found.flipped > found.flips.len() {
        report = report.line(format!("and {} more; see `--top`", found.flipped - found.flips.len()));
    }
    let first = found.flips.first().map_or(0, |flip| flip.sample);
    report.toned_line([(Tone::Dim, format!("`explain {first}` finds the layers that caused it"))])
}
