//! What samples show about a model: how often it is right, how well it agrees with a reference, and whether that is good enough.

mod declaration;

pub(in crate::commands) use declaration::verdict_tone;

use super::Ran;
use crate::capture::evaluation::{self, Tally};
use crate::catalog::Measured;
use crate::catalog::kept_results::real;
use crate::playground::{Loaded, Playground};
use qp_analysis::proportion::{CONFIDENCE, EQUIVALENCE_CONFIDENCE};
use qp_analysis::quantile;
use qp_analysis::{Interval, Verdict, wilson};
use serde::{Deserialize, Serialize};

/// The judgement of one model.
#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct Judged {
    pub(in crate::commands) output: String,
    /// `None` without labels.
    pub(in crate::commands) accuracy: Option<Accuracy>,
    pub(in crate::commands) agreement: Option<Agreement>,
    pub(in crate::commands) paired: Option<PairedAccuracy>,
    pub(in crate::commands) targets: Option<OutputErrors>,
    pub(in crate::commands) steps: Vec<String>,
    pub(in crate::commands) elapsed_ms: f64,
    pub(in crate::commands) run: Ran,
}

/// How many samples are classified correctly.
#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct Correct {
    pub(in crate::commands) count: u64,
    pub(in crate::commands) share: f64,
    #[serde(with = "Ends")]
    pub(in crate::commands) interval: Interval,
}

#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct Accuracy {
    pub(in crate::commands) correct: Correct,
    pub(in crate::commands) in_top: f64,
    pub(in crate::commands) classes: Vec<ClassAccuracy>,
    pub(in crate::commands) confusions: Vec<Confusion>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct ClassAccuracy {
    pub(in crate::commands) class: usize,
    pub(in crate::commands) name: Option<String>,
    pub(in crate::commands) samples: u64,
    pub(in crate::commands) correct: Correct,
}

#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct Confusion {
    pub(in crate::commands) label: usize,
    pub(in crate::commands) label_name: Option<String>,
    pub(in crate::commands) predicted: usize,
    pub(in crate::commands) predicted_name: Option<String>,
    pub(in crate::commands) count: u64,
}

/// How a candidate's output compares with the reference's.
#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct Agreement {
    /// `None` if the output is not class scores, as for the divergences.
    pub(in crate::commands) same: Option<u64>,
    pub(in crate::commands) changed: Option<u64>,
    pub(in crate::commands) same_share: Option<f64>,
    pub(in crate::commands) kl_mean: Option<f64>,
    pub(in crate::commands) kl_median: Option<f64>,
    pub(in crate::commands) kl_p99: Option<f64>,
    pub(in crate::commands) kl_max: Option<f64>,
    pub(in crate::commands) kl_infinite: Option<usize>,
    pub(in crate::commands) errors: OutputErrors,
}

#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct OutputErrors {
    #[serde(with = "real")]
    pub(in crate::commands) sqnr_db: Option<f64>,
    #[serde(with = "real")]
    pub(in crate::commands) cosine_similarity: Option<f64>,
    #[serde(with = "real")]
    pub(in crate::commands) mse: Option<f64>,
    #[serde(with = "real")]
    pub(in crate::commands) mean_abs_error: Option<f64>,
    #[serde(with = "real")]
    pub(in crate::commands) psnr_db: Option<f64>,
}

/// A candidate's accuracy compared with the reference's, on the same samples.
#[derive(Serialize, Deserialize)]
pub(in crate::commands) struct PairedAccuracy {
    pub(in crate::commands) harmful: u64,
    pub(in crate::commands) helpful: u64,
    pub(in crate::commands) difference: f64,
    #[serde(with = "Ends")]
    pub(in crate::commands) interval: Interval,
    #[serde(with = "Ends")]
    pub(in crate::commands) equivalence: Interval,
    pub(in crate::commands) p_value: f64,
    #[serde(with = "Decision")]
    pub(in crate::commands) verdict: Verdict,
    pub(in crate::commands) missing_samples: Option<u64>,
}

/// [`Interval`], for serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Interval")]
struct Ends {
    low: f64,
    high: f64,
}

/// [`Verdict`], for serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Verdict")]
enum Decision {
    Same,
    Worse,
    Better,
    Undecided,
}

impl Judged {
    /// `names` are those of the classes, none if unknown; `None` without labels.
    pub(in crate::commands) fn of(tally: Tally, names: Option<&[String]>, margin: f64) -> Self {
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

/// Keeps the accuracies that were measured on `data`; without labels there are none, nor of models too large to hash.
pub(in crate::commands) fn remember<'j>(
    playground: &Playground,
    judged: impl Iterator<Item = (&'j Loaded, &'j Judged)>,
    samples: u64,
    data: &str,
) {
    playground.measurements.keep(judged.filter_map(|(model, judged)| {
        let top1 = judged.accuracy.as_ref()?.correct.share;
        Some(Measured { blake3: model.hash_text()?, top1, samples, data: data.to_owned(), at: 0 })
    }));
}

impl Correct {
    /// `None` without samples.
    fn of(count: u64, samples: u64) -> Option<Self> {
        let interval = wilson(count, samples, CONFIDENCE)?;
        Some(Self { count, share: count as f64 / samples as f64, interval })
    }
}

impl Accuracy {
    /// `names` are those of the classes; empty if unknown.
    fn of(tally: &Tally, names: &[String]) -> Option<Self> {
        let classes = tally.by_class.iter().enumerate().filter_map(|(class, &(samples, correct))| {
            let correct = Correct::of(correct, samples)?;
            Some(ClassAccuracy { class, name: names.get(class).cloned(), samples, correct })
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
            correct: Correct::of(tally.correct, tally.samples)?,
            in_top: tally.in_top as f64 / tally.samples as f64,
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
            changed: (classes > 0).then_some(paired.samples - same),
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
