//! The difference of two models for people, the most telling first.

use super::{Difference, Lonely, PortPair, Property};
use crate::error::Error;
use crate::inspect::Errors;
use crate::inspect::pairing::Ground;
use crate::model::LayerKind;
use crate::render::record::{Datum, Field, IntoDatum, Record, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeMap;

/// The summary, then tables of what differs; with `all` also of what does not.
pub(super) fn report(difference: &Difference<'_>, all: bool) -> Report {
    let mut report = Report::of(difference).toned_line([
        (Tone::Name, difference.reference.to_owned()),
        (Tone::Plain, " → ".to_owned()),
        (Tone::Name, difference.candidate.to_owned()),
        (Tone::Plain, ": ".to_owned()),
        verdict(difference),
    ]);
    if difference.is_identical && !all {
        return report;
    }
    report = report.line(layers_line(difference)).line(tensors_line(difference));
    if let Some(text) = folded(difference) {
        report = report.toned_line([(Tone::Warning, text)]);
    }
    let properties = properties(difference, all);
    if !properties.rows.is_empty() {
        report = report.table(properties);
    }
    let layers = layers(difference, all);
    if !layers.rows.is_empty() {
        report = report.table(layers);
    }
    let tensors = tensors(difference, all);
    if !tensors.rows.is_empty() {
        report = report.table(tensors);
    }
    report
}

fn verdict(difference: &Difference<'_>) -> (Tone, String) {
    let layers = &difference.layers;
    let is_one_network = layers.only_reference.is_empty() && layers.only_candidate.is_empty();
    let has_changes =
        layers.same < layers.pairs.len() || difference.tensors.pairs.iter().any(|pair| pair.differs());
    let quantized =
        layers.pairs.iter().flat_map(|pair| &pair.changes).filter(|change| change.starts_with("quantized"));
    match (difference.is_identical, quantized.count(), is_one_network, has_changes) {
        (true, ..) => (Tone::Good, "the files are identical".to_owned()),
        (_, 0, true, false) => (Tone::Good, "the same network with the same weights".to_owned()),
        (_, 0, true, true) => (Tone::Plain, "the same layers, some of them different".to_owned()),
        (_, 0, false, _) => (Tone::Plain, "different layers".to_owned()),
        (_, count, _, _) => (Tone::Plain, format!("{} quantized", counted(count, "layer"))),
    }
}

fn layers_line(difference: &Difference<'_>) -> String {
    let layers = &difference.layers;
    let mut parts =
        vec![format!("{} alike", layers.same), format!("{} changed", layers.pairs.len() - layers.same)];
    let by_type = |lonely: &[Lonely<'_>]| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        lonely.iter().for_each(|layer| *counts.entry(layer.op_type).or_default() += 1);
        let texts: Vec<_> = counts.iter().map(|(op_type, count)| format!("{op_type} {count}")).collect();
        texts.join(", ")
    };
    if !layers.only_reference.is_empty() {
        parts.push(format!("{} removed ({})", layers.only_reference.len(), by_type(&layers.only_reference)));
    }
    if !layers.only_candidate.is_empty() {
        parts.push(format!("{} added ({})", layers.only_candidate.len(), by_type(&layers.only_candidate)));
    }
    if layers.plumbing_reference != layers.plumbing_candidate {
        parts.push(format!(
            "{} → {} that only quantize and dequantize",
            layers.plumbing_reference, layers.plumbing_candidate
        ));
    }
    format!("layers: {}", parts.join(", "))
}

/// Batch normalizations that only one side has are folded into the weights of the other.
fn folded(difference: &Difference<'_>) -> Option<String> {
    // A state dict names no classes, but has the statistics.
    let count = |lonely: &[Lonely<'_>], tensors: &[&str]| {
        let layers = lonely.iter().filter(|layer| layer.kind == LayerKind::BatchNormalization);
        layers.count().max(tensors.iter().filter(|name| name.ends_with("running_mean")).count())
    };
    let (layers, tensors) = (&difference.layers, &difference.tensors);
    let (removed, added) = (
        count(&layers.only_reference, &tensors.only_reference),
        count(&layers.only_candidate, &tensors.only_candidate),
    );
    let (count, folded) = match (removed, added) {
        (count @ 1.., 0) => (count, difference.candidate),
        (0, count @ 1..) => (count, difference.reference),
        _ => return None,
    };
    Some(format!(
        "{} folded into the weights of {folded}: they differ only for that reason",
        counted(count, "batch normalization")
    ))
}

fn tensors_line(difference: &Difference<'_>) -> String {
    let tensors = &difference.tensors;
    let mut parts =
        vec![format!("{} alike", tensors.same), format!("{} changed", tensors.pairs.len() - tensors.same)];
    if !tensors.only_reference.is_empty() {
        parts.push(format!("{} removed", tensors.only_reference.len()));
    }
    if !tensors.only_candidate.is_empty() {
        parts.push(format!("{} added", tensors.only_candidate.len()));
    }
    format!("tensors: {}", parts.join(", "))
}

/// The properties, then inputs and outputs under those names.
fn properties(difference: &Difference<'_>, all: bool) -> Table {
    let ports = |name, pairs: &[PortPair]| -> Vec<Property> {
        let property = |pair: &PortPair| {
            let PortPair { reference, candidate, differs } = pair.clone();
            Property { name, reference, candidate, differs }
        };
        pairs.iter().map(property).collect()
    };
    let (inputs, outputs) = (ports("input", &difference.inputs), ports("output", &difference.outputs));
    let properties = difference.properties.iter().chain(&inputs).chain(&outputs);
    Table::of(properties.filter(|property| all || property.differs))
}

/// A pair of layers, or a layer that only one of the models has.
pub(super) struct LayerLine<'a> {
    layer: &'a str,
    candidate: Option<&'a str>,
    ground: Option<Ground>,
    change: String,
    tone: Tone,
}

impl Record for LayerLine<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer", |line| line.layer).title("layer"),
            Self::field("candidate_layer", Unit::Text, "The layer of the candidate that matches", |line| {
                line.candidate
            })
            .title("in the other")
            .rank(3),
            Self::flat(Ground::fields(), |line| line.ground.as_ref())
                .change("why", |why| why.title("matched by").rank(2).tone(|_| Tone::Dim))
                .change("confidence", |confidence| confidence.title("confidence").rank(4)),
            Self::field(
                "change",
                Unit::Text,
                "What differs: operator, quantization, attributes; or that only one of the models has it",
                |line| line.change.clone(),
            )
            .title("change")
            .tone(|line| line.tone),
        ]
    }
}

fn layers(difference: &Difference<'_>, all: bool) -> Table {
    let layers = &difference.layers;
    let pairs = layers.pairs.iter().filter(|pair| all || !pair.changes.is_empty()).map(|pair| {
        let (change, tone) = match &pair.changes[..] {
            [] => ("none".to_owned(), Tone::Dim),
            changes => (changes.join(", "), Tone::Plain),
        };
        LayerLine {
            layer: pair.reference,
            candidate: Some(pair.candidate),
            ground: Some(pair.ground),
            change,
            tone,
        }
    });
    let lonely =
        [(&layers.only_reference, "removed", Tone::Bad), (&layers.only_candidate, "added", Tone::Good)];
    let lonely = lonely.into_iter().flat_map(|(layers, text, tone)| {
        layers.iter().map(move |layer| LayerLine {
            layer: layer.path,
            candidate: None,
            ground: None,
            change: format!("{text} ({})", layer.op_type),
            tone,
        })
    });
    Table::of(&pairs.chain(lonely).collect::<Vec<_>>())
}

/// A pair of tensors, or a tensor that only one of the models has.
pub(super) struct TensorLine<'a> {
    tensor: &'a str,
    candidate: Option<&'a str>,
    ground: Option<Ground>,
    reference_type: Option<&'a str>,
    candidate_type: Option<&'a str>,
    errors: Option<&'a Errors>,
    obstacle: Option<&'a Error>,
}

impl Record for TensorLine<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("tensor", Unit::Name, "The stored tensor", |line| line.tensor).title("tensor"),
            Self::field("candidate_tensor", Unit::Text, "The tensor of the candidate that matches", |line| {
                line.candidate
            })
            .title("in the other")
            .rank(5),
            Self::flat(Ground::fields(), |line| line.ground.as_ref())
                .change("why", |why| why.title("matched by").rank(4).tone(|_| Tone::Dim)),
            Self::field("reference_type", Unit::Text, "Element type and shape in the reference", |line| {
                line.reference_type
            })
            .title("before")
            .rank(2),
            Self::field(
                "candidate_type",
                Unit::Text,
                "Element type and shape in the candidate; or that only one of the models has it",
                |line| line.candidate_type,
            )
            .title("after")
            .rank(1),
            Self::nested("errors", "Errors of the dequantized values", Errors::fields(), |line| line.errors)
                .for_machines()
                .change("sqnr_db", |sqnr| {
                    sqnr.title("SQNR dB").text(TensorLine::sqnr_text).tone(TensorLine::sqnr_tone)
                })
                .change("max_abs_error", |error| error.title("max error").rank(3)),
            Self::error("obstacle", "Why the values were not compared", |line| line.obstacle),
        ]
    }
}

impl TensorLine<'_> {
    fn sqnr(&self) -> Datum {
        self.errors.and_then(|errors| errors.metrics.sqnr_db).into_datum()
    }

    /// The SQNR, or why there is none.
    fn sqnr_text(&self) -> String {
        match self.obstacle {
            Some(obstacle) => obstacle.message().to_owned(),
            None => Unit::Decibels.text(&self.sqnr()),
        }
    }

    fn sqnr_tone(&self) -> Tone {
        match self.obstacle {
            Some(_) => Tone::Warning,
            None if self.sqnr().is_missing() => Tone::Dim,
            None => Tone::Plain,
        }
    }
}

fn tensors(difference: &Difference<'_>, all: bool) -> Table {
    let tensors = &difference.tensors;
    let pairs = tensors.pairs.iter().filter(|pair| all || pair.differs()).map(|pair| TensorLine {
        tensor: pair.reference,
        candidate: Some(pair.candidate),
        ground: Some(pair.ground),
        reference_type: Some(&pair.reference_type),
        candidate_type: Some(&pair.candidate_type),
        errors: pair.errors.as_ref(),
        obstacle: pair.obstacle.as_ref(),
    });
    let lonely = [(&tensors.only_reference, "removed"), (&tensors.only_candidate, "added")];
    let lonely = lonely.into_iter().flat_map(|(names, text)| {
        names.iter().map(move |name| TensorLine {
            tensor: name,
            candidate: None,
            ground: None,
            reference_type: None,
            candidate_type: Some(text),
            errors: None,
            obstacle: None,
        })
    });
    Table::of(&pairs.chain(lonely).collect::<Vec<_>>())
}
