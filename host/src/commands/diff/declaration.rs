//! What the report of a difference holds.

use super::{Difference, Layers, Lonely, Pair, PortPair, Property};
use crate::inspect::pairing::Ground;
use crate::render::number;
use crate::render::record::{Field, Record, Unit};
use crate::render::style::Tone;

impl Record for Difference<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The reference", |difference| difference.reference),
            Self::field("candidate", Unit::Name, "The candidate", |difference| difference.candidate),
            Self::field("is_identical", Unit::Flag, "Whether the files are identical", |difference| {
                difference.is_identical
            }),
            Self::list("properties", "Properties of both models", |difference| &difference.properties),
            Self::list("inputs", "Inputs at the same position in both", |difference| &difference.inputs),
            Self::list("outputs", "Outputs at the same position in both", |difference| &difference.outputs),
            Self::object("layers", "The layers", |difference| Some(&difference.layers)).always(),
            Self::object("tensors", "The stored tensors", |difference| Some(&difference.tensors)).always(),
        ]
    }
}

impl Record for Property {
    fn fields() -> Vec<Field<Self>> {
        let side = |field: Field<Self>, of: fn(&Self) -> Option<&String>| {
            field
                .text(move |property| of(property).map_or_else(|| "–".to_owned(), |text| property.text(text)))
                .tone(move |property| if of(property).is_some() { Tone::Plain } else { Tone::Dim })
        };
        vec![
            Self::field("name", Unit::Text, "The property", |property| property.name).title("property"),
            side(
                Self::field("reference", Unit::Text, "Its value in the reference", |property| {
                    property.reference.clone()
                })
                .title("before"),
                |property| property.reference.as_ref(),
            ),
            side(
                Self::field("candidate", Unit::Text, "Its value in the candidate", |property| {
                    property.candidate.clone()
                })
                .title("after"),
                |property| property.candidate.as_ref(),
            ),
            Self::field("differs", Unit::Flag, "Whether the two differ", |property| property.differs),
        ]
    }
}

impl Property {
    /// A value for people: sizes and counts with separators.
    fn text(&self, value: &str) -> String {
        match (self.name, value.parse::<u64>()) {
            ("bytes" | "stored bytes", Ok(bytes)) => number::bytes(bytes),
            ("input" | "output", _) | (_, Err(_)) => value.to_owned(),
            (_, Ok(count)) => number::count(count),
        }
    }
}

impl Record for PortPair {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "reference",
                Unit::Text,
                "Name, type and shape in the reference; null if it has fewer",
                |port| port.reference.clone(),
            ),
            Self::field(
                "candidate",
                Unit::Text,
                "Name, type and shape in the candidate; null if it has fewer",
                |port| port.candidate.clone(),
            ),
            Self::field("differs", Unit::Flag, "Whether the two differ", |port| port.differs),
        ]
    }
}

impl Record for Layers<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "same",
                Unit::Count,
                "Pairs that do not differ in anything that both files state",
                |layers| layers.same,
            ),
            Self::list("pairs", "Layers of both models that match", |layers| &layers.pairs),
            Self::list("only_reference", "Layers of the reference without a match", |layers| {
                &layers.only_reference
            }),
            Self::list("only_candidate", "Layers of the candidate without a match", |layers| {
                &layers.only_candidate
            }),
            Self::field(
                "plumbing_reference",
                Unit::Count,
                "Layers of the reference that only quantize and dequantize",
                |layers| layers.plumbing_reference,
            ),
            Self::field(
                "plumbing_candidate",
                Unit::Count,
                "Layers of the candidate that only quantize and dequantize",
                |layers| layers.plumbing_candidate,
            ),
        ]
    }
}

impl Record for Pair<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The layer of the reference", |pair| pair.reference),
            Self::field("candidate", Unit::Name, "The layer of the candidate", |pair| pair.candidate),
            Self::flat(Ground::fields(), |pair| Some(&pair.ground)).always(),
            Self::field("changes", Unit::Text, "What differs, in words; empty if nothing does", |pair| {
                pair.changes.clone()
            }),
        ]
    }
}

impl Record for Lonely<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "Full path of the layer", |layer| layer.path),
            Self::field("op_type", Unit::Text, "Operator (ONNX) or class (PyTorch)", |layer| layer.op_type),
        ]
    }
}
