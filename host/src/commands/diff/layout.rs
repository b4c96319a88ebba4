//! The difference of two models for people: what is most telling first.

use super::{Difference, Lonely, PortPair};
use crate::error::Result;
use crate::model::LayerKind;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeMap;

/// The summary, then tables of what differs; with `all` of what does not, too.
pub(super) fn report(difference: &Difference<'_>, all: bool) -> Result<Report> {
    let mut report = Report::new(difference)?.toned_line([
        (Tone::Name, difference.reference.to_owned()),
        (Tone::Plain, " → ".to_owned()),
        (Tone::Name, difference.candidate.to_owned()),
        (Tone::Plain, ": ".to_owned()),
        verdict(difference),
    ]);
    if difference.is_identical && !all {
        return Ok(report);
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
    Ok(report)
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
        (_, 0, true, true) => (Tone::Plain, "the same layers, not all alike".to_owned()),
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

/// Batch normalizations that only one side has are in the weights of the other.
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
        "{} folded into the weights of {folded}: these differ for that reason alone",
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

fn properties(difference: &Difference<'_>, all: bool) -> Table {
    let mut table = Table::new([Column::text("property"), Column::text("before"), Column::text("after")]);
    for property in difference.properties.iter().filter(|property| all || property.differs) {
        let cell = |text: &Option<String>| {
            Cell::option(text.clone(), |text| match (property.name, text.parse::<u64>()) {
                ("bytes" | "stored bytes", Ok(bytes)) => Cell::bytes(bytes),
                (_, Ok(count)) => Cell::count(count),
                _ => Cell::text(text),
            })
        };
        table.row([Cell::text(property.name), cell(&property.reference), cell(&property.candidate)]);
    }
    let mut ports = |name: &str, pairs: &[PortPair]| {
        for pair in pairs.iter().filter(|pair| all || pair.differs) {
            let cell = |text: &Option<String>| Cell::option(text.clone(), Cell::text);
            table.row([Cell::text(name), cell(&pair.reference), cell(&pair.candidate)]);
        }
    };
    ports("input", &difference.inputs);
    ports("output", &difference.outputs);
    table
}

fn layers(difference: &Difference<'_>, all: bool) -> Table {
    let mut table = Table::new([
        Column::text("layer"),
        Column::text("in the other").rank(3),
        Column::text("matched by").rank(2),
        Column::number("confidence").rank(4),
        Column::text("change"),
    ]);
    for pair in difference.layers.pairs.iter().filter(|pair| all || !pair.changes.is_empty()) {
        table.row([
            Cell::name(pair.reference),
            Cell::text(pair.candidate),
            Cell::text(pair.ground.why).tone(Tone::Dim),
            Cell { text: format!("{:.2}", pair.ground.confidence), ..Cell::real(pair.ground.confidence) },
            if pair.changes.is_empty() {
                Cell::text("none").tone(Tone::Dim)
            } else {
                Cell::text(pair.changes.join(", "))
            },
        ]);
    }
    let mut lonely = |layers: &[Lonely<'_>], text: &str, tone: Tone| {
        for layer in layers {
            table.row([
                Cell::name(layer.path),
                Cell::missing(),
                Cell::missing(),
                Cell::missing(),
                Cell::text(format!("{text} ({})", layer.op_type)).tone(tone),
            ]);
        }
    };
    lonely(&difference.layers.only_reference, "removed", Tone::Bad);
    lonely(&difference.layers.only_candidate, "added", Tone::Good);
    table
}

fn tensors(difference: &Difference<'_>, all: bool) -> Table {
    let mut table = Table::new([
        Column::text("tensor"),
        Column::text("in the other").rank(5),
        Column::text("matched by").rank(4),
        Column::text("before").rank(2),
        Column::text("after").rank(1),
        Column::number("SQNR dB"),
        Column::number("max error").rank(3),
    ]);
    for pair in difference.tensors.pairs.iter().filter(|pair| all || pair.differs()) {
        let number = |value: Option<f64>| Cell::option(value, Cell::real);
        let sqnr = pair.errors.as_ref().and_then(|errors| errors.metrics.sqnr_db);
        table.row([
            Cell::name(pair.reference),
            Cell::text(pair.candidate),
            Cell::text(pair.ground.why).tone(Tone::Dim),
            Cell::text(pair.reference_type.clone()),
            Cell::text(pair.candidate_type.clone()),
            match &pair.obstacle {
                Some(obstacle) => Cell::text(obstacle.message()).tone(Tone::Warning),
                None => Cell::option(sqnr, |sqnr| Cell { text: decibels(sqnr), ..Cell::real(sqnr) }),
            },
            number(pair.errors.as_ref().and_then(|errors| errors.metrics.max_abs_error)),
        ]);
    }
    for (names, text) in
        [(&difference.tensors.only_reference, "removed"), (&difference.tensors.only_candidate, "added")]
    {
        for name in names {
            let mut cells = vec![Cell::name(*name), Cell::missing(), Cell::missing()];
            cells.extend([Cell::missing(), Cell::text(text), Cell::missing(), Cell::missing()]);
            table.row(cells);
        }
    }
    table
}

fn decibels(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { number::real(value) }
}
