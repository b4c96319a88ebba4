//! What `search` reports.

use crate::commands::arguments::against::Outcome;
use crate::render::chart::Chart;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

pub(super) struct SearchReport {
    pub(super) model: String,
    pub(super) data: String,
    pub(super) samples: u64,
    pub(super) target: String,
    pub(super) is_reached: bool,
    /// Spearman's, of the scores on the first and on the second half of the samples.
    pub(super) rank_correlation: Option<f64>,
    pub(super) layers: Vec<LayerRow>,
    pub(super) front: Vec<FrontRow>,
    pub(super) models_measured: usize,
    pub(super) out: Option<String>,
}

pub(super) struct LayerRow {
    pub(super) layer: String,
    pub(super) op_type: String,
    pub(super) parameters: u64,
    pub(super) bits: &'static str,
    pub(super) pin: Option<&'static str>,
    pub(super) four: Option<f64>,
    pub(super) eight: Option<f64>,
    pub(super) sixteen: Option<f64>,
    pub(super) bytes: u64,
}

pub(super) struct FrontRow {
    pub(super) bytes: u64,
    pub(super) layers_at: [usize; 4],
    pub(super) loss: f64,
    pub(super) outcome: Option<Outcome>,
    pub(super) is_chosen: bool,
    pub(super) share: f64,
}

impl Record for SearchReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The float model", |found| found.model.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |found| found.data.clone()),
            Self::field("samples", Unit::Count, "Samples of each run", |found| found.samples),
            Self::field("target", Unit::Text, "What was to be reached", |found| found.target.clone()),
            Self::field("is_reached", Unit::Flag, "Whether it is", |found| found.is_reached),
            Self::field(
                "rank_correlation",
                Unit::Real,
                "Spearman's correlation of the scores on the first half of the samples and on the second: how far the ranking can be trusted; null with `--scores`",
                |found| found.rank_correlation,
            ),
            Self::list("layers", "The layers with weights, and what they get", |found| &found.layers),
            Self::list(
                "front",
                "The mixes that no other beats by the sum of their scores, the smallest first",
                |found| &found.front,
            ),
            Self::field("models_measured", Unit::Count, "Models that were run", |found| {
                found.models_measured
            }),
            Self::field("out", Unit::Name, "The file that was written; null without `--out`", |found| {
                found.out.clone()
            }),
        ]
    }
}

impl Record for LayerRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "Path of the layer", |row| row.layer.clone()).title("layer"),
            Self::field("op_type", Unit::Text, "Its operator", |row| row.op_type.clone())
                .title("type")
                .rank(4),
            Self::field("parameters", Unit::Count, "Elements of its weight", |row| row.parameters)
                .title("parameters")
                .rank(3),
            Self::field("bits", Unit::Text, "Bits of its weight in the best mix", |row| row.bits)
                .choices(&["4", "8", "16", "float"])
                .title("bits"),
            Self::field("pin", Unit::Text, "The bits that the scores fix; null if they fix none", |row| {
                row.pin
            }),
            Self::field(
                "kl_4",
                Unit::Real,
                "Mean divergence of the output with only this layer at 4 bits",
                |row| row.four,
            )
            .title("KL at 4"),
            Self::field("kl_8", Unit::Real, "The same at 8 bits", |row| row.eight).title("KL at 8"),
            Self::field("kl_16", Unit::Real, "The same at 16 bits; null if the scores have none", |row| {
                row.sixteen
            }),
            Self::field("bytes", Unit::Bytes, "Bytes of its weight in the best mix", |row| row.bytes)
                .title("bytes")
                .rank(2),
        ]
    }
}

impl Record for FrontRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("bytes", Unit::Bytes, "Bytes of all stored tensors, without scales", |row| row.bytes)
                .title("size"),
            Self::field("layers_4", Unit::Count, "Layers at 4 bits", |row| row.layers_at[0]).title("int4"),
            Self::field("layers_8", Unit::Count, "Layers at 8 bits", |row| row.layers_at[1]).title("int8"),
            Self::field("layers_16", Unit::Count, "Layers at 16 bits", |row| row.layers_at[2]).title("int16"),
            Self::field("layers_float", Unit::Count, "Layers in float", |row| row.layers_at[3])
                .title("float"),
            Self::field("loss", Unit::Real, "Sum of the scores", |row| row.loss).title("sum of KL"),
            Self::field(
                "kl_mean",
                Unit::Real,
                "Mean divergence of the output, measured; null if it was not, and if the output is rounded to probabilities of 0",
                |row| row.outcome?.kl_mean,
            )
            .title("KL")
            .hidden_if_missing(),
            Self::field("sqnr_db", Unit::Decibels, "SQNR of the output, measured", |row| {
                row.outcome?.sqnr_db
            })
            .title("SQNR dB")
            .rank(3)
            .hidden_if_missing(),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy, measured; null without labels", |row| {
                row.outcome?.accuracy
            })
            .title("accuracy")
            .hidden_if_missing(),
            Self::field("lost", Unit::Share, "Accuracy lost against the float model", |row| {
                row.outcome?.lost
            }),
            Self::chart("Bar of the size, the largest as wide as the column", |row| {
                Some(Chart::Bar(row.share))
            })
            .rank(4),
            Self::field("is_chosen", Unit::Flag, "Whether it is the mix of `layers`", |row| row.is_chosen),
            Self::field("", Unit::Text, "Marks the mix that was chosen", |row| {
                if row.is_chosen { "chosen" } else { "" }
            })
            .title("")
            .tone(|_| Tone::Good),
        ]
    }
}
