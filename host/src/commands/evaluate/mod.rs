//! `evaluate`: how often models are right, how far they agree with a reference, and whether that is good enough.

mod declaration;
mod layout;

pub(super) use declaration::verdict_tone;

use super::arguments::evidence::{Choice, Given};
use super::arguments::number::integer_in;
use super::fields::Ran;
use super::{Command, Example, Group, Scope};
use crate::capture::evaluation::{self, Plan, Tally, Truth};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{Input, PictureOptions, Selection};
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};
use qp_analysis::divergence::quantile;
use qp_analysis::proportion::{CONFIDENCE, EQUIVALENCE_CONFIDENCE};
use qp_analysis::{Interval, Verdict, wilson};
use std::sync::Arc;

/// Samples that are run together, unless the user says otherwise.
pub(super) const BATCH: u64 = 32;

/// Pairs of classes that are printed.
const SHOWN_CONFUSIONS: usize = 5;

/// `evaluate [NAME…]`
pub(super) struct Evaluate;

/// The arguments of `evaluate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The models; without any, the current one
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// The model that the others are held against; without it, the first of several
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    #[command(flatten)]
    choice: Choice,
    /// What the output should be, as in data.npz:targets, for models that do not classify
    #[arg(long, value_name = "PATH", conflicts_with = "labels")]
    targets: Option<String>,
    /// The output to look at; without it, the first
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// The difference in accuracy that does not matter, as in 1pp or 0.5pp
    #[arg(long, value_name = "MARGIN", default_value = "1pp", value_parser = margin)]
    margin: f64,
    /// Also count a label among so many highest scores as found
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = integer_in::<u32>(1..=10_000))]
    top: u32,
}

/// Reads a difference of accuracies: `1pp`, `0.5 %` or `0.01`.
pub(super) fn margin(text: &str) -> Result<f64, String> {
    let points = ["pp", "%"].into_iter().find_map(|unit| text.strip_suffix(unit));
    let number = points.unwrap_or(text).trim().parse::<f64>().ok();
    let share = number.map(|number| if points.is_some() { number / 100.0 } else { number });
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "it takes percentage points, as in 1pp".to_owned())
}

struct EvaluateReport {
    data: String,
    samples: u64,
    has_labels: bool,
    reference: Option<String>,
    margin: f64,
    top: u32,
    models: Vec<Evaluated>,
}

/// What became of one model.
struct Evaluated {
    model: String,
    output: String,
    /// `None` without labels.
    accuracy: Option<Accuracy>,
    agreement: Option<Agreement>,
    paired: Option<PairedAccuracy>,
    targets: Option<OutputErrors>,
    steps: Vec<String>,
    elapsed_ms: f64,
    run: Ran,
}

struct Accuracy {
    correct: u64,
    share: f64,
    interval: Interval,
    in_top: f64,
    classes: Vec<ClassAccuracy>,
    confusions: Vec<Confusion>,
}

struct ClassAccuracy {
    class: usize,
    name: Option<String>,
    samples: u64,
    correct: u64,
    share: f64,
    interval: Interval,
}

struct Confusion {
    label: usize,
    label_name: Option<String>,
    predicted: usize,
    predicted_name: Option<String>,
    count: u64,
}

/// How far a candidate's output is from the reference's.
struct Agreement {
    /// `None` for what is not scores of classes, as the divergences.
    same: Option<u64>,
    same_share: Option<f64>,
    kl_mean: Option<f64>,
    kl_median: Option<f64>,
    kl_p99: Option<f64>,
    kl_max: Option<f64>,
    kl_infinite: Option<usize>,
    errors: OutputErrors,
}

struct OutputErrors {
    sqnr_db: Option<f64>,
    cosine_similarity: Option<f64>,
    mse: Option<f64>,
    mean_abs_error: Option<f64>,
    psnr_db: Option<f64>,
}

/// A candidate's accuracy against the reference's, over the same samples.
struct PairedAccuracy {
    harmful: u64,
    helpful: u64,
    difference: f64,
    interval: Interval,
    equivalence: Interval,
    p_value: f64,
    verdict: Verdict,
    missing_samples: Option<u64>,
}

impl Command for Evaluate {
    type Arguments = Arguments;
    const NAME: &'static str = "evaluate";
    const SUMMARY: &'static str =
        "Measure accuracy, agreement with a reference, and whether a difference matters";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "evaluate resnet8.onnx resnet8_int8.onnx --data digits.npz",
            shows: "whether the int8 model is as accurate as the float one",
        },
        Example {
            line: "evaluate resnet8_int8.pt --reference resnet8.onnx --data digits.npz --margin 2pp",
            shows: "the same across two backends, with a wider margin",
        },
        Example {
            line: "input digits.npz:images[0:64]; evaluate resnet8.onnx resnet8_uint8.onnx",
            shows: "how far the outputs agree, without labels",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<EvaluateReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let mut models: Vec<Arc<_>> = match &arguments.names[..] {
            [] => vec![playground.model(None, &task)?],
            names => names.iter().map(|name| playground.model(Some(name), &task)).collect::<Result<_>>()?,
        };
        let reference = match &arguments.reference {
            Some(name) => {
                let reference = playground.model(Some(name), &task)?;
                let place = models.iter().position(|model| model.id == reference.id);
                Some(place.unwrap_or_else(|| {
                    models.insert(0, reference);
                    0
                }))
            }
            None => (models.len() > 1).then_some(0),
        };
        models.iter().try_for_each(|model| model.runnable())?;
        arguments.choice.running.check(&models.iter().map(|model| &**model).collect::<Vec<_>>())?;
        let Given { input, labels, classes } = arguments.choice.read(playground)?;
        let targets = arguments.targets.as_deref().map(|text| targets(text, playground)).transpose()?;
        let truth = match (&targets, &labels) {
            (Some(targets), _) => Truth::Targets(targets),
            (None, Some(labels)) => Truth::Labels(labels),
            (None, None) => Truth::Unknown,
        };
        if matches!(truth, Truth::Unknown) && reference.is_none() {
            return Err(Error::usage("nothing says what is right")
                .with_hint("Give labels (`--data FILE` that has some, or `--labels FILE`), `--targets FILE`, or `--reference MODEL`."));
        }
        let running = &arguments.choice.running;
        let sides: Vec<Side<'_>> =
            models.iter().map(|model| Side::of(model, running.options(model), playground, &task)).collect();
        let batch = arguments.choice.samples.batch.unwrap_or(BATCH);
        let feed = Feed { input: &input, samples: arguments.choice.samples.first, batch };
        let batches = feed.batches(&sides.iter().collect::<Vec<_>>())?;
        let wanted = batches.samples();
        if let Some(labels) = &labels
            && (labels.len() as u64) < wanted
        {
            return Err(Error::invalid_input(format!(
                "there are {} labels for {wanted} samples",
                labels.len()
            )));
        }
        let targets_count =
            targets.as_ref().and_then(|targets| targets.content.own_count()).unwrap_or(wanted);
        if targets_count < wanted {
            return Err(Error::invalid_input(format!(
                "there are {targets_count} targets for {wanted} samples"
            )));
        }
        let plan =
            Plan { truth, output: arguments.output.as_deref(), top: arguments.top as usize, reference };
        let (tallies, stop) = evaluation::evaluate(&sides, batches, plan, &task);
        drop(task);
        let samples = tallies.first().map_or(0, |tally| tally.samples);
        if let Some(error) = &stop
            && (error.kind() != ErrorKind::Cancelled || samples == 0)
        {
            return Err(error.clone());
        }
        let has_labels = matches!(truth, Truth::Labels(_));
        let names = has_labels.then_some(&classes[..]);
        let evaluated = EvaluateReport {
            data: input.source.clone(),
            samples,
            has_labels,
            reference: reference.map(|place| models[place].id.clone()),
            margin: arguments.margin,
            top: arguments.top,
            models: models
                .iter()
                .zip(tallies)
                .map(|(model, tally)| Evaluated::of(&model.id, tally, names, arguments.margin))
                .collect(),
        };
        let report = layout::lay_out(&evaluated);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(
                error.with_cause(format!("the result above covers {samples} of {wanted} samples")),
            )),
            None => report,
        })
    }
}

/// The values that the output should have.
fn targets(text: &str, playground: &Playground) -> Result<Input> {
    let (file, selection) = Selection::parse(text)?;
    Input::from_file(&playground.path(file), &selection, text.to_owned(), &PictureOptions::default())
}

impl Evaluated {
    /// `names` are those of the classes, none if unknown; `None` without labels.
    fn of(model: &str, tally: Tally, names: Option<&[String]>, margin: f64) -> Self {
        let has_labels = names.is_some();
        let elapsed_ms = tally.elapsed().as_secs_f64() * 1e3;
        let paired = tally.agreement.as_ref().filter(|_| has_labels).and_then(|agreement| {
            let paired = agreement.paired;
            Some(PairedAccuracy {
                harmful: paired.only_reference,
                helpful: paired.only_candidate,
                difference: paired.difference(),
                interval: paired.difference_interval(CONFIDENCE)?,
                equivalence: paired.difference_interval(EQUIVALENCE_CONFIDENCE)?,
                p_value: paired.mcnemar(),
                verdict: paired.verdict(margin),
                missing_samples: paired.missing_samples(margin),
            })
        });
        Self {
            model: model.to_owned(),
            accuracy: names.and_then(|names| Accuracy::of(&tally, names)),
            agreement: tally.agreement.map(|agreement| Agreement::of(agreement, tally.classes)),
            paired,
            targets: tally.targets.map(|(errors, extremes)| OutputErrors::of(&errors, &extremes)),
            output: tally.output,
            steps: tally.steps,
            elapsed_ms,
            run: tally.run.map(Ran::from).unwrap_or_default(),
        }
    }
}

impl Accuracy {
    /// `names` are those of the classes; empty if unknown.
    fn of(tally: &Tally, names: &[String]) -> Option<Self> {
        let share = |count: u64| count as f64 / tally.samples as f64;
        let classes = tally.by_class.iter().enumerate().filter_map(|(class, &(samples, correct))| {
            let interval = wilson(correct, samples, CONFIDENCE)?;
            Some(ClassAccuracy {
                class,
                name: names.get(class).cloned(),
                samples,
                correct,
                share: correct as f64 / samples as f64,
                interval,
            })
        });
        let mut confusions: Vec<Confusion> = tally
            .confusions
            .iter()
            .map(|(&(label, predicted), &count)| Confusion {
                label,
                label_name: names.get(label).cloned(),
                predicted,
                predicted_name: names.get(predicted).cloned(),
                count,
            })
            .collect();
        confusions.sort_by_key(|one| (std::cmp::Reverse(one.count), one.label, one.predicted));
        Some(Self {
            correct: tally.correct,
            share: share(tally.correct),
            interval: wilson(tally.correct, tally.samples, CONFIDENCE)?,
            in_top: share(tally.in_top),
            classes: classes.collect(),
            confusions,
        })
    }
}

impl Agreement {
    fn of(agreement: evaluation::Agreement, classes: usize) -> Self {
        let evaluation::Agreement { same, paired, mut divergences, errors, extremes } = agreement;
        let of_classes = |value: Option<f64>| value.filter(|_| classes > 0);
        let samples = divergences.len();
        divergences.retain(|divergence| divergence.is_finite());
        let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
        divergences.sort_by(f64::total_cmp);
        Self {
            same: (classes > 0).then_some(same),
            same_share: of_classes(Some(same as f64 / paired.samples.max(1) as f64)),
            kl_mean: of_classes((!divergences.is_empty()).then_some(mean)),
            kl_median: of_classes(quantile(&divergences, 0.5)),
            kl_p99: of_classes(quantile(&divergences, 0.99)),
            kl_max: of_classes(divergences.last().copied()),
            kl_infinite: (classes > 0).then_some(samples - divergences.len()),
            errors: OutputErrors::of(&errors, &extremes),
        }
    }
}

impl OutputErrors {
    fn of(errors: &qp_analysis::ErrorMetrics, extremes: &evaluation::Extremes) -> Self {
        let metrics = errors.metrics();
        Self {
            sqnr_db: metrics.sqnr_db,
            cosine_similarity: metrics.cosine_similarity,
            mse: metrics.mse,
            mean_abs_error: metrics.mean_abs_error,
            psnr_db: extremes.psnr_db(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn a_margin_is_in_points_or_a_share() {
        for text in ["1pp", "1 pp", "1%", "0.01"] {
            assert_eq!(margin(text), Ok(0.01), "{text}");
        }
        assert!(
            margin("1").is_ok() && margin("2").is_err() && margin("-1pp").is_err() && margin("x").is_err()
        );
    }
}
