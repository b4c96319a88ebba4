//! What the report of a diagnosis holds.

use super::{Diagnosis, Finding, LeftOut};
use crate::render::number;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;
use qp_analysis::Verdict;

impl Record for Diagnosis {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The float model", |found| found.reference.clone()),
            Self::field("candidate", Unit::Name, "The quantized model", |found| found.candidate.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |found| found.data.clone()),
            Self::field("samples", Unit::Count, "Samples that both models were evaluated on", |found| {
                found.samples
            }),
            Self::field("layer_samples", Unit::Count, "Samples that the layers were examined on", |found| {
                found.layer_samples
            }),
            Self::field(
                "verdict",
                Unit::Text,
                "As in `evaluate`: same, worse, better or undecided; null without labels",
                |found| found.verdict().map(Verdict::text),
            )
            .choices(&Verdict::TEXTS),
            Self::field("reference_accuracy", Unit::Share, "Top-1 accuracy of the float model", |found| {
                found.accuracies().map(|both| both.0)
            }),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy of the quantized model", |found| {
                found.accuracies().map(|both| both.1)
            }),
            Self::field("difference", Unit::Share, "The second minus the first", |found| {
                found.accuracies().map(|(reference, candidate)| candidate - reference)
            }),
            Self::field(
                "same_share",
                Unit::Share,
                "Share of the samples to which both models assign the same class; null if the output is not scores",
                Diagnosis::same_share,
            ),
            Self::field(
                "sqnr_db",
                Unit::Decibels,
                "SQNR of the output against the float model's",
                Diagnosis::sqnr_db,
            ),
            Self::list("causes", "What is wrong, the costliest first", |found| &found.causes),
            Self::field("notes", Unit::Text, "What is worth knowing but costs no accuracy here", |found| {
                found.notes.clone()
            }),
            Self::list("left_out", "What could not be examined", |found| &found.left_out),
        ]
    }
}

impl Record for Finding {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer of the float model; null for the model as a whole", |cause| {
                cause.layer.clone()
            })
            .title("layer"),
            Self::field("code", Unit::Text, "Kind of cause, for machines", |cause| cause.code)
                .title("cause")
                .rank(2),
            Self::field("text", Unit::Text, "What is wrong", |cause| cause.text.clone()).title("what is wrong"),
            Self::field(
                "accuracy_pp",
                Unit::Decimals(2),
                "Percentage points of accuracy recovered with this layer in float, on the samples used for layers; null without labels",
                |cause| cause.cost.accuracy_pp,
            )
            .symbol("pp")
            .title("costs")
            .text(|cause| number::signed(cause.cost.accuracy_pp, " pp"))
            .tone(|cause| if cause.cost.accuracy_pp.is_some_and(|lost| lost > 0.0) { Tone::Bad } else { Tone::Plain })
            .hidden_if_missing(),
            Self::field(
                "changed",
                Unit::Count,
                "Samples whose class is restored with this layer in float; negative if more change",
                |cause| cause.cost.changed,
            ),
            Self::field(
                "gain_db",
                Unit::Decibels,
                "How much the output's SQNR rises with this layer in float",
                |cause| cause.cost.gain_db,
            )
            .title("gain dB")
            .rank(1)
            .text(|cause| number::signed(cause.cost.gain_db, ""))
            .hidden_if_missing(),
            Self::field("mend", Unit::Text, "How to fix it", |cause| cause.mend.clone()),
            Self::field("evidence", Unit::Text, "The command that shows it", |cause| cause.evidence.clone()),
        ]
    }
}

impl Record for LeftOut {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("step", Unit::Text, "What was not examined", |left_out| left_out.step),
            Self::error("error", "Why", |left_out| Some(&left_out.error)),
        ]
    }
}
