//! What the reports of runs hold.

use super::{Class, Output, Ran, SideBySide};
use crate::render::chart::Chart;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

impl Record for SideBySide {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("models", "The models", |ran| &ran.models)]
    }
}

impl Record for Ran {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |ran| ran.model.clone()),
            Self::field("input", Unit::Text, "Where the samples come from", |ran| ran.input.clone()),
            Self::field("steps", Unit::Text, "What was done to make them fit", |ran| ran.steps.clone()),
            Self::field("runtime", Unit::Text, "The runtime that executed the model", |ran| {
                ran.runtime.clone()
            }),
            Self::field("runtime_version", Unit::Text, "Its version", |ran| ran.runtime_version.clone()),
            Self::list("settings", "The settings that took effect", |ran| &ran.settings),
            Self::field("runs", Unit::Count, "Runs that were measured", |ran| ran.runs),
            Self::field(
                "latency_ms",
                Unit::Duration,
                "Median time of a run over all samples, in the runtime alone",
                |ran| ran.latency,
            ),
            Self::list("outputs", "The model's outputs", |ran| &ran.outputs),
        ]
    }
}

impl Record for Output {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the output", |output| output.name.clone()),
            Self::field("dtype", Unit::Text, "Element type", |output| output.dtype.clone()),
            Self::field("shape", Unit::Index, "Its shape", |output| output.shape.clone()),
            Self::field("values", Unit::Real, "The first values, dequantized; empty for texts", |output| {
                output.values.clone()
            }),
            Self::field("is_truncated", Unit::Flag, "Whether there are more values", |output| {
                output.is_truncated
            }),
            Self::list(
                "top",
                "The classes with the highest scores; empty unless the output holds the scores of one sample",
                |output| &output.top,
            ),
            Self::field("not_finite", Unit::Count, "Values that are NaN or infinite", |output| {
                output.not_finite
            }),
        ]
    }
}

impl Record for Class {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("class", Unit::Index, "The class, counted from 0", |class| class.class)
                .title("class"),
            Self::field("score", Unit::Real, "Its score", |class| class.score).title("score"),
            // A score needs only half the width of a histogram.
            Self::chart("Bar of the score, half of the column at the highest", |class| {
                Some(Chart::Bar(class.share / 2.0))
            })
            .tone(|_| Tone::Good),
        ]
    }
}
