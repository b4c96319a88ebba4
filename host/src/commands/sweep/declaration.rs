//! What `sweep` reports.

use crate::commands::arguments::against::Outcome;
use crate::render::chart::Chart;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

pub(super) struct SweepReport {
    pub(super) model: String,
    pub(super) reference: String,
    pub(super) target: String,
    pub(super) data: String,
    pub(super) samples: u64,
    pub(super) by: &'static str,
    pub(super) points: Vec<Point>,
    pub(super) best: f64,
    pub(super) applied: Option<String>,
}

pub(super) struct Point {
    pub(super) value: f64,
    pub(super) is_now: bool,
    pub(super) is_best: bool,
    pub(super) outcome: Outcome,
    /// The measure as a share of the way from the worst to the best.
    pub(super) bar: Option<f64>,
}

impl Record for SweepReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |sweep| sweep.model.clone()),
            Self::field("reference", Unit::Name, "The reference", |sweep| sweep.reference.clone()),
            Self::field("target", Unit::Name, "What was swept", |sweep| sweep.target.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |sweep| sweep.data.clone()),
            Self::field("samples", Unit::Count, "Samples of each run", |sweep| sweep.samples),
            Self::field("by", Unit::Text, "The measure that decides", |sweep| sweep.by)
                .choices(&["sqnr", "kl", "accuracy"]),
            Self::list("points", "The values in ascending order", |sweep| &sweep.points),
            Self::field("best", Unit::Real, "The best value", |sweep| sweep.best),
            Self::field(
                "applied",
                Unit::Text,
                "The change that was made; null without `--apply`, and if the present value is the best",
                |sweep| sweep.applied.clone(),
            ),
        ]
    }
}

impl Record for Point {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("value", Unit::Real, "The scale or the zero point", |point| point.value)
                .title("value"),
            Self::field("sqnr_db", Unit::Decibels, "SQNR of the output against the reference's", |point| {
                point.outcome.sqnr_db
            })
            .title("SQNR dB"),
            Self::field(
                "kl_mean",
                Unit::Real,
                "Mean divergence of the probabilities from the reference's",
                |point| point.outcome.kl_mean,
            )
            .title("KL")
            .rank(2)
            .hidden_if_missing(),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy; null without labels", |point| {
                point.outcome.accuracy
            })
            .title("accuracy")
            .rank(1)
            .hidden_if_missing(),
            Self::chart("Bar of the measure that decides, from the worst to the best", |point| {
                point.bar.map(Chart::Bar)
            })
            .rank(3),
            Self::field("is_now", Unit::Flag, "Whether it is the present value", |point| point.is_now),
            Self::field("is_best", Unit::Flag, "Whether it is the best", |point| point.is_best),
            Self::field("", Unit::Text, "Which is the present value, and which the best", |point| {
                match (point.is_now, point.is_best) {
                    (true, true) => "now, best",
                    (true, false) => "now",
                    (false, true) => "best",
                    (false, false) => "",
                }
            })
            .title("")
            .tone(|point| if point.is_best { Tone::Good } else { Tone::Plain }),
        ]
    }
}
