//! What `drift` reports.

use crate::model::Property;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

pub(super) struct Found<'a> {
    pub(super) model: &'a str,
    pub(super) input: &'a str,
    pub(super) samples: u64,
    pub(super) runtime: String,
    pub(super) runtime_version: String,
    /// The last value that is rounded to codes, and one step of them.
    pub(super) at: Option<&'a str>,
    pub(super) step: Option<f64>,
    /// Whether all settings give the same bits.
    pub(super) is_same: bool,
    pub(super) rows: Vec<Row>,
    pub(super) layers: Vec<LayerRow>,
}

/// A layer that one runtime computes differently.
pub(super) struct LayerRow {
    pub(super) layer: String,
    pub(super) op_type: String,
    pub(super) runtime: String,
    pub(super) differing: u64,
    pub(super) elements: u64,
    pub(super) max_abs_difference: f64,
}

pub(super) struct Row {
    /// What was asked for.
    pub(super) variation: Variation,
    /// What took effect.
    pub(super) settings: Vec<Property>,
    /// Elements that differ from those of the first row.
    pub(super) differing: u64,
    pub(super) elements: u64,
    pub(super) max_abs_difference: f64,
    /// The largest difference of the last value that is rounded to codes, in their steps.
    pub(super) max_steps: Option<f64>,
    /// Samples whose class changed.
    pub(super) changed: u64,
}

/// Settings of one run.
#[derive(Clone, Debug)]
pub(super) struct Variation {
    pub(super) runtime: Option<String>,
    pub(super) optimization: Option<&'static str>,
    pub(super) threads: u32,
    pub(super) qengine: Option<String>,
    pub(super) precision: Option<String>,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |found| found.model),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input),
            Self::field("samples", Unit::Count, "Samples that each row ran on", |found| found.samples),
            Self::field("runtime", Unit::Text, "The runtime that executed the model", |found| {
                found.runtime.clone()
            }),
            Self::field("runtime_version", Unit::Text, "Its version; several with `--runtime`", |found| {
                found.runtime_version.clone()
            }),
            Self::field("at", Unit::Name, "The last value that is rounded to codes", |found| found.at),
            Self::field("step", Unit::Real, "One step of those codes", |found| found.step),
            Self::field("is_same", Unit::Flag, "Whether all settings give the same bits", |found| {
                found.is_same
            }),
            Self::list("rows", "One row for each combination of settings", |found| &found.rows),
            Self::list(
                "layers",
                "The layers that other runtimes compute differently from the first, in the order of the graph, over all samples and \
                 with the graph as written; empty without `--runtime`",
                |found| &found.layers,
            ),
        ]
    }
}

impl Record for LayerRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |row| row.layer.clone()).title("layer"),
            Self::field("op_type", Unit::Text, "Its operator", |row| row.op_type.clone())
                .title("type")
                .rank(2),
            Self::field("runtime", Unit::Text, "The runtime that differs from the first", |row| {
                row.runtime.clone()
            })
            .title("runtime"),
            Self::field("differing", Unit::Count, "Elements that differ from the first runtime's", |row| {
                row.differing
            }),
            Self::field(
                "differing_share",
                Unit::Share,
                "Share of elements that differ from the first runtime's",
                |row| row.differing as f64 / row.elements.max(1) as f64,
            )
            .title("differing")
            .rank(1),
            Self::field(
                "max_abs_difference",
                Unit::Real,
                "Largest absolute difference from the first runtime's element",
                |row| row.max_abs_difference,
            )
            .title("largest difference"),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::flat(Variation::fields(), |row| Some(&row.variation)).always(),
            Self::list("settings", "The settings that took effect", |row| &row.settings),
            Self::field("differing", Unit::Count, "Elements that differ from the first row's", |row| {
                row.differing
            }),
            Self::field(
                "differing_share",
                Unit::Share,
                "Share of elements that differ from the first row's",
                |row| row.differing as f64 / row.elements.max(1) as f64,
            )
            .title("differing")
            .rank(1),
            Self::field("elements", Unit::Count, "Elements of the output", |row| row.elements),
            Self::field(
                "max_abs_difference",
                Unit::Real,
                "Largest absolute difference of an output element from the first row's",
                |row| row.max_abs_difference,
            )
            .title("largest difference"),
            Self::field(
                "max_steps",
                Unit::Decimals(2),
                "Largest difference of the last value that is rounded to codes, in steps of these codes",
                |row| row.max_steps,
            )
            .symbol("steps")
            .title("steps of codes"),
            Self::field("changed", Unit::Count, "Samples that changed class", |row| row.changed)
                .title("changed classes")
                .tone(|row| if row.changed > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    }
}

impl Record for Variation {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("runtime", Unit::Text, "The native runtime, as `--runtime` names it", |asked| {
                asked.runtime.clone()
            })
            .title("runtime")
            .hidden_if_missing(),
            // A backend that always runs the graph as written has no levels.
            Self::field("optimization", Unit::Name, "Level of graph optimization", |asked| {
                asked.optimization
            })
            .title("optimization")
            .hidden_if_missing(),
            Self::field("threads", Unit::Count, "Threads that were asked for", |asked| asked.threads)
                .title("threads")
                .after("precision"),
            Self::field("qengine", Unit::Text, "Engine of PyTorch's quantized operators", |asked| {
                asked.qengine.clone()
            })
            .title("qengine")
            .hidden_if_missing(),
            Self::field("precision", Unit::Text, "Type that PyTorch computes floats in", |asked| {
                asked.precision.clone()
            })
            .title("precision")
            .hidden_if_missing(),
        ]
    }
}
