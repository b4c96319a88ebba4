//! What `repair` reports.

use crate::commands::arguments::against::Outcome;
use crate::render::number;
use crate::render::record::{Field, Record, Unit};

pub(super) struct RepairReport {
    pub(super) model: String,
    pub(super) reference: String,
    pub(super) data: String,
    pub(super) samples: u64,
    pub(super) target: String,
    pub(super) steps: Vec<StepRow>,
    pub(super) layers: Vec<String>,
    pub(super) bits: Option<u32>,
    pub(super) is_reached: bool,
    pub(super) runs: usize,
    pub(super) more_bytes: u64,
    pub(super) out: Option<String>,
}

pub(super) struct StepRow {
    pub(super) layers: usize,
    pub(super) layer: String,
    pub(super) op_type: String,
    /// `add`, or `take back` for one that proved unnecessary.
    pub(super) action: &'static str,
    pub(super) outcome: Outcome,
    pub(super) more_bytes: u64,
}

impl RepairReport {
    /// What is done with the layers.
    pub(super) fn how(&self) -> String {
        self.bits.map_or("in float".to_owned(), |bits| format!("with {bits} bits"))
    }
}

impl Record for RepairReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The mended model, in memory", |found| found.model.clone()),
            Self::field("reference", Unit::Name, "The reference", |found| found.reference.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |found| found.data.clone()),
            Self::field("samples", Unit::Count, "Samples of each run", |found| found.samples),
            Self::field("target", Unit::Text, "What was to be reached", |found| found.target.clone()),
            Self::list("steps", "The way there: first the model as it was, then layer by layer", |found| {
                &found.steps
            }),
            Self::field(
                "layers",
                Unit::Name,
                "The layers that are left in float, or get more bits",
                |found| found.layers.clone(),
            ),
            Self::field(
                "bits",
                Unit::Count,
                "The bits that they get; null if they are left in float",
                |found| found.bits.map(u64::from),
            ),
            Self::field("is_reached", Unit::Flag, "Whether the target is reached", |found| found.is_reached),
            Self::field("runs", Unit::Count, "Models that were measured", |found| found.runs),
            Self::field("more_bytes", Unit::Bytes, "What the layers take more so", |found| found.more_bytes),
            Self::field(
                "out",
                Unit::Name,
                "The file that was written; null without `--out`, or if the target is missed",
                |found| found.out.clone(),
            ),
        ]
    }
}

impl Record for StepRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "layers",
                Unit::Count,
                "Layers in float, or with more bits, after this step",
                |row| row.layers,
            )
            .title("mended"),
            Self::field(
                "layer",
                Unit::Name,
                "The layer of this step; empty for the model as it was",
                |row| row.layer.clone(),
            )
            .title("layer"),
            Self::field("op_type", Unit::Text, "Its operator", |row| row.op_type.clone())
                .title("type")
                .rank(3),
            Self::field("action", Unit::Text, "What was done with it", |row| row.action)
                .choices(&["start", "add", "take back"])
                .title("step")
                .rank(4),
            Self::field("sqnr_db", Unit::Decibels, "SQNR of the output against the reference's", |row| {
                row.outcome.sqnr_db
            })
            .title("SQNR dB"),
            Self::field(
                "kl_mean",
                Unit::Real,
                "Mean divergence of the probabilities from the reference's",
                |row| row.outcome.kl_mean,
            )
            .title("KL")
            .rank(2)
            .hidden_if_missing(),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy; null without labels", |row| {
                row.outcome.accuracy
            })
            .title("accuracy")
            .hidden_if_missing(),
            Self::field(
                "lost",
                Unit::Share,
                "Accuracy lost against the reference; null without labels",
                |row| row.outcome.lost,
            )
            .title("lost")
            .text(|row| number::signed(row.outcome.lost.map(|lost| lost * 100.0), " pp"))
            .hidden_if_missing(),
            Self::field("more_bytes", Unit::Bytes, "What the layers take more so far", |row| row.more_bytes)
                .title("more bytes")
                .rank(1),
        ]
    }
}
