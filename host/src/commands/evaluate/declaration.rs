//! What the report of an evaluation holds.

use super::{EvaluateReport, Evaluated};
use crate::commands::fields::judged::Judged;
use crate::render::record::{Field, Record, Unit};

impl Record for EvaluateReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("data", Unit::Text, "Where the samples come from", |report| report.data.clone()),
            Self::field("samples", Unit::Count, "Samples that all models ran on", |report| report.samples),
            Self::field("has_labels", Unit::Flag, "Whether the samples have labels", |report| {
                report.has_labels
            }),
            Self::field("reference", Unit::Name, "The model that the others are compared with", |report| {
                report.reference.clone()
            }),
            Self::field("margin", Unit::Share, "The difference in accuracy that does not matter", |report| {
                report.margin
            }),
            Self::field(
                "top",
                Unit::Count,
                "How many of the highest scores count for `top_accuracy`",
                |report| report.top,
            ),
            Self::list("models", "The models, in the order they were given", |report| &report.models),
        ]
    }
}

impl Record for Evaluated {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |row| row.model.clone()).title("model"),
            Self::flat(Judged::fields(), |row| Some(&row.judged)).always(),
        ]
    }
}
