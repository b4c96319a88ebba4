//! What the report of a matrix holds.

use super::{MatrixReport, Variant};
use crate::commands::fields::judged::Judged;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

impl Record for MatrixReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("family", Unit::Name, "The family", |matrix| matrix.family.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |matrix| matrix.data.clone()),
            Self::field("samples", Unit::Count, "Samples that each model ran on", |matrix| matrix.samples),
            Self::field("has_labels", Unit::Flag, "Whether the samples have labels", |matrix| {
                matrix.has_labels
            }),
            Self::field("reference", Unit::Name, "The model that the others are compared with", |matrix| {
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
                 the SQNR of the output takes the place of accuracy",
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
            Self::field("is_reference", Unit::Flag, "Whether it is the reference", |one| one.is_reference),
            Self::field(
                "is_kept",
                Unit::Flag,
                "Whether its numbers are those of an earlier matrix of the same files, samples and settings",
                |one| one.is_kept,
            ),
            Self::flat(Judged::fields(), |one| one.judged())
                .for_machines()
                .change("accuracy", |field| field.title("accuracy"))
                .change("accuracy_low", |field| field.title("low").rank(5))
                .change("accuracy_high", |field| field.title("high").rank(5))
                .change("paired.difference", |field| field.title("difference").rank(2))
                .change("paired.verdict", |field| field.title("verdict").rank(0))
                .change("agreement.changed", |field| field.title("flips").rank(3).hidden_if_missing())
                .change("agreement.sqnr_db", |field| field.title("output dB").rank(2)),
            Self::field("worst_layer", Unit::Name, "The layer with the lowest SQNR", |one| one.measured.as_ref()?.worst_layer.clone())
                .title("worst layer")
                .rank(3)
                .hidden_if_missing(),
            Self::field("worst_layer_sqnr_db", Unit::Decibels, "Its SQNR", |one| {
                one.measured.as_ref()?.worst_layer_sqnr_db
            })
            .title("its dB")
            .rank(3)
            .hidden_if_missing(),
            Self::field("layers_obstacle", Unit::Text, "Why layers were not compared", |one| {
                one.measured.as_ref()?.layers_obstacle.clone()
            }),
            Self::field("sample_ms", Unit::Duration, "Time in the runtime for one sample of a batch", |one| {
                one.measured.as_ref().map(|measured| measured.sample_ms)
            })
            .title("sample")
            .rank(4),
            Self::error("obstacle", "Why the model was not evaluated", |one| one.obstacle.as_ref()),
        ]
    }
}
