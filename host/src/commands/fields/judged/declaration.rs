//! The declarations of a judgement.

use super::{Accuracy, Agreement, ClassAccuracy, Confusion, Correct, Judged, OutputErrors, PairedAccuracy};
use crate::render::record::{Direction, Field, Record, Unit};
use crate::render::style::Tone;
use qp_analysis::Verdict;

impl Record for Judged {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("output", Unit::Name, "The output that was evaluated", |row| row.output.clone()),
            Self::flat(Accuracy::fields(), |row| row.accuracy.as_ref()),
            Self::nested(
                "agreement",
                "How the output compares with the reference's; null for the reference",
                Agreement::fields(),
                |row| row.agreement.as_ref(),
            ),
            Self::nested(
                "paired",
                "Accuracy compared with the reference's on the same samples; null without labels",
                PairedAccuracy::fields(),
                |row| row.paired.as_ref(),
            ),
            Self::nested(
                "targets",
                "The errors of the output against `--targets`",
                OutputErrors::fields(),
                |row| row.targets.as_ref(),
            ),
            Self::field("steps", Unit::Text, "What made the samples fit the model", |row| row.steps.clone()),
            Self::field("elapsed_ms", Unit::Duration, "Time in the runtime for all samples", |row| {
                row.elapsed_ms
            })
            .title("time")
            .rank(5),
            Self::object("run", "How the model was run", |row| Some(&row.run)).always(),
        ]
    }
}

impl Record for Correct {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("correct", Unit::Count, "Samples whose highest score is the label's", |one| {
                one.count
            })
            .title("correct")
            .rank(4)
            .hidden_if_missing(),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy: their share", |one| one.share)
                .title("accuracy")
                .hidden_if_missing(),
            Self::field("accuracy_low", Unit::Share, "Lower end of its 95 % interval (Wilson)", |one| {
                one.interval.low
            })
            .title("low")
            .rank(2)
            .hidden_if_missing(),
            Self::field("accuracy_high", Unit::Share, "Upper end of its 95 % interval (Wilson)", |one| {
                one.interval.high
            })
            .title("high")
            .rank(2)
            .hidden_if_missing(),
        ]
    }
}

impl Record for Accuracy {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(Correct::fields(), |one| Some(&one.correct)).always(),
            Self::field(
                "top_accuracy",
                Unit::Share,
                "Share of samples whose label is among the highest `--top` scores",
                |one| one.in_top,
            )
            .title("in top")
            .rank(6)
            .hidden_if_missing(),
            Self::list("classes", "Accuracy of the samples of each label", |one| &one.classes),
            Self::list(
                "confusions",
                "Labels and the classes predicted instead, most frequent first",
                |one| &one.confusions,
            ),
        ]
    }
}

impl Record for ClassAccuracy {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("class", Unit::Index, "The label", |one| one.class).title("class"),
            Self::field("name", Unit::Name, "Name of the class, if the data have names", |one| {
                one.name.clone()
            })
            .title("name")
            .hidden_if_missing()
            .omitted_if_missing(),
            Self::field("samples", Unit::Count, "Samples with this label", |one| one.samples)
                .title("samples"),
            Self::flat(Correct::fields(), |one| Some(&one.correct))
                .always()
                .change("accuracy", |field| field.sort("accuracy", Direction::Ascending)),
        ]
    }
}

impl Record for Confusion {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("label", Unit::Index, "The label", |one| one.label).title("label"),
            Self::field("label_name", Unit::Name, "Its name, if the data have names", |one| {
                one.label_name.clone()
            })
            .title("name")
            .hidden_if_missing()
            .omitted_if_missing(),
            Self::field("predicted", Unit::Index, "The predicted class", |one| one.predicted)
                .title("predicted"),
            Self::field("predicted_name", Unit::Name, "Its name, if the data have names", |one| {
                one.predicted_name.clone()
            })
            .title("predicted name")
            .hidden_if_missing()
            .omitted_if_missing(),
            Self::field("count", Unit::Count, "Samples of this label with that prediction", |one| one.count)
                .title("samples"),
        ]
    }
}

impl Record for Agreement {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("same", Unit::Count, "Samples with the same predicted class as the reference", |one| one.same),
            Self::field("changed", Unit::Count, "Samples with a different predicted class than the reference", |one| {
                one.changed
            }),
            Self::field("same_share", Unit::Share, "Their share", |one| one.same_share)
                .title("same class")
                .rank(1)
                .hidden_if_missing(),
            Self::field(
                "kl_mean",
                Unit::Real,
                "Kullback-Leibler divergence of the class probabilities from the reference's, Σ p ln(p / q), in nats: \
                 mean over the samples where it is finite",
                |one| one.kl_mean,
            )
            .title("KL mean")
            .rank(3)
            .hidden_if_missing(),
            Self::field("kl_median", Unit::Real, "Its median over samples", |one| one.kl_median),
            Self::field("kl_p99", Unit::Real, "Its 99th percentile over samples", |one| one.kl_p99)
                .title("KL 99 %")
                .rank(7)
                .hidden_if_missing(),
            Self::field("kl_max", Unit::Real, "Its largest finite value", |one| one.kl_max),
            Self::field(
                "kl_infinite",
                Unit::Count,
                "Samples where it is infinite: a class that is possible for the reference has probability 0, as a quantized \
                 softmax may give",
                |one| one.kl_infinite,
            )
            .title("KL inf")
            .rank(7)
            .dash_if_zero()
            .shown_if(|one| one.kl_infinite.is_some_and(|count| count > 0)),
            Self::flat(OutputErrors::fields(), |one| Some(&one.errors))
                .always()
                .for_machines()
                .change("sqnr_db", |field| {
                    field.title("SQNR dB").rank(4).sort("sqnr", Direction::Ascending).hidden_if_missing()
                }),
        ]
    }
}

impl Record for OutputErrors {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "sqnr_db",
                Unit::Decibels,
                "Signal-to-quantization-noise ratio of the output, 10·log10(Σx² / Σ(x−y)²); inf if all values are equal",
                |one| one.sqnr_db,
            ),
            Self::field(
                "cosine_similarity",
                Unit::Real,
                "Cosine similarity of the output, over all samples",
                |one| one.cosine_similarity,
            ),
            Self::field("mse", Unit::Real, "Mean squared error of the output", |one| one.mse)
                .title("MSE")
                .rank(3)
                .hidden_if_missing(),
            Self::field("mean_abs_error", Unit::Real, "Mean absolute error of the output", |one| {
                one.mean_abs_error
            })
            .title("mean error")
            .rank(3)
            .hidden_if_missing(),
            Self::field(
                "psnr_db",
                Unit::Decibels,
                "Peak signal-to-noise ratio, 10·log10(range² / MSE), with the range of the right values",
                |one| one.psnr_db,
            )
            .title("PSNR dB")
            .rank(3)
            .hidden_if_missing(),
        ]
    }
}

impl Record for PairedAccuracy {
    fn fields() -> Vec<Field<Self>> {
        let points = |share: f64| format!("{:+.2} pp", share * 100.0);
        vec![
            Self::field("harmful", Unit::Count, "Samples that only the reference classifies correctly", |one| {
                one.harmful
            })
            .title("harmed")
            .rank(2)
            .hidden_if_missing(),
            Self::field("helpful", Unit::Count, "Samples that only this model classifies correctly", |one| {
                one.helpful
            })
            .title("helped")
            .rank(2)
            .hidden_if_missing(),
            Self::field("difference", Unit::Share, "Accuracy minus the reference's", |one| one.difference)
                .title("difference")
                .text(move |one| points(one.difference))
                .hidden_if_missing(),
            Self::field("difference_low", Unit::Share, "Lower end of its 95 % interval (Tango)", |one| {
                one.interval.low
            }),
            Self::field("difference_high", Unit::Share, "Upper end of its 95 % interval (Tango)", |one| {
                one.interval.high
            }),
            Self::field(
                "equivalence_low",
                Unit::Share,
                "Lower end of its 90 % interval, which must lie within the margin for `same`",
                |one| one.equivalence.low,
            ),
            Self::field("equivalence_high", Unit::Share, "Upper end of its 90 % interval", |one| {
                one.equivalence.high
            }),
            Self::field(
                "p_value",
                Unit::Real,
                "P-value of McNemar's exact test, two-sided: the probability of flips at least this unequal if both models are \
                 equally accurate",
                |one| one.p_value,
            ),
            Self::field(
                "verdict",
                Unit::Text,
                "same: within the margin (two one-sided tests at 5 %); worse or better: McNemar's exact test at 5 %; \
                 undecided: too few samples to tell",
                |one| one.verdict.text(),
            )
            .choices(&Verdict::TEXTS)
            .title("verdict")
            .tone(|one| verdict_tone(one.verdict))
            .hidden_if_missing(),
            Self::field(
                "missing_samples",
                Unit::Count,
                "How many more samples like these would decide it; null if it is decided, or if no number would",
                |one| one.missing_samples,
            ),
        ]
    }
}

/// The color of a verdict.
pub(in crate::commands) fn verdict_tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Same | Verdict::Better => Tone::Good,
        Verdict::Worse => Tone::Bad,
        Verdict::Undecided => Tone::Warning,
    }
}
