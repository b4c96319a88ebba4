//! What the report of a matrix holds.

use super::{MatrixReport, Variant};
use crate::commands::evaluate::verdict_tone;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;
use qp_analysis::Verdict;

impl Record for MatrixReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("family", Unit::Name, "The family", |matrix| matrix.family.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |matrix| matrix.data.clone()),
            Self::field("samples", Unit::Count, "Samples that each model ran on", |matrix| matrix.samples),
            Self::field("has_labels", Unit::Flag, "Whether the samples have labels", |matrix| {
                matrix.has_labels
            }),
            Self::field("reference", Unit::Name, "The model that the others are held against", |matrix| {
                matrix.reference.clone()
            }),
            Self::field("margin", Unit::Share, "The difference in accuracy that does not matter", |matrix| {
                matrix.margin
            }),
            Self::list("models", "The variants", |matrix| &matrix.models),
        ]
    }
}

impl Record for Variant {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "is_pareto",
                Unit::Flag,
                "Whether no other variant is at least as accurate and as small, and better in one of the two; without labels, \
                 the SQNR of the output stands for accuracy",
                |one| one.is_pareto,
            )
            .title("best")
            .text(|one| if one.is_pareto { "●".to_owned() } else { String::new() })
            .tone(|_| Tone::Good),
            Self::field("model", Unit::Name, "The model", |one| one.model.clone()).title("model"),
            Self::field("backend", Unit::Text, "The backend that reads it", |one| one.backend.clone())
                .title("backend")
                .rank(6),
            Self::field("precision", Unit::Text, "Its precision", |one| one.precision.clone())
                .title("precision")
                .rank(4),
            Self::field("bytes", Unit::Bytes, "Size of its files", |one| one.bytes).title("size"),
            Self::field("is_reference", Unit::Flag, "Whether the others are held against it", |one| one.is_reference),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy; null without labels", |one| one.accuracy)
                .title("accuracy")
                .hidden_if_missing(),
            Self::field("accuracy_low", Unit::Share, "Lower end of its 95 % interval (Wilson)", |one| {
                one.interval.map(|interval| interval.low)
            })
            .title("low")
            .rank(5)
            .hidden_if_missing(),
            Self::field("accuracy_high", Unit::Share, "Upper end of its 95 % interval (Wilson)", |one| {
                one.interval.map(|interval| interval.high)
            })
            .title("high")
            .rank(5)
            .hidden_if_missing(),
            Self::field("difference", Unit::Share, "Accuracy minus the reference's", |one| one.difference)
                .title("difference")
                .rank(2)
                .text(|one| {
                    one.difference.map_or_else(|| "–".to_owned(), |share| format!("{:+.2} pp", share * 100.0))
                })
                .hidden_if_missing(),
            Self::field(
                "verdict",
                Unit::Text,
                "As in `evaluate`: same (within the margin), worse, better, or undecided",
                |one| one.verdict.map(Verdict::text),
            )
            .choices(&Verdict::TEXTS)
            .title("verdict")
            .tone(|one| one.verdict.map_or(Tone::Dim, verdict_tone))
            .hidden_if_missing(),
            Self::field("changed", Unit::Count, "Samples with another class than the reference predicts", |one| {
                one.changed
            })
            .title("flips")
            .rank(3)
            .hidden_if_missing(),
            Self::field("sqnr_db", Unit::Decibels, "SQNR of the output against the reference's", |one| one.sqnr_db)
                .title("output dB")
                .rank(2)
                .hidden_if_missing(),
            Self::field("worst_layer", Unit::Name, "The layer with the lowest SQNR", |one| one.worst_layer.clone())
                .title("worst layer")
                .rank(3)
                .hidden_if_missing(),
            Self::field("worst_layer_sqnr_db", Unit::Decibels, "The SQNR of that layer", |one| {
                one.worst_layer_sqnr_db
            })
            .title("its dB")
            .rank(3)
            .hidden_if_missing(),
            Self::field("layers_obstacle", Unit::Text, "Why layers were not compared", |one| {
                one.layers_obstacle.clone()
            }),
            Self::field("sample_ms", Unit::Duration, "Time in the runtime for one sample of a batch", |one| {
                one.sample_ms
            })
            .title("sample")
            .rank(4),
            Self::error("obstacle", "Why the model was not evaluated", |one| one.obstacle.as_ref()),
        ]
    }
}
