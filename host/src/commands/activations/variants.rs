//! One layer of several variants on the same bins.

use super::Arguments;
use crate::backend::Progress;
use crate::capture::survey::{Wanted, each_block};
use crate::capture::{Execution, Side, by_value, can_be_captured, pairing};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::inspect::Summary;
use crate::model::{LayerInfo, QuantizationParameters};
use crate::playground::{Loaded, Playground};
use crate::render::chart::Chart;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::render::ui::Task;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, Statistics};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Found<'a> {
    layer: &'a str,
    input: &'a str,
    samples: u64,
    edges: Vec<f64>,
    variants: Vec<Variant<'a>>,
}

#[derive(Serialize)]
struct Variant<'a> {
    model: &'a str,
    layer: String,
    value: String,
    /// Why this is the layer: as `compare` says it.
    why: &'static str,
    confidence: f64,
    statistics: Summary,
    counts: Vec<u64>,
}

/// The layer of one variant.
struct Place {
    model: Arc<Loaded>,
    layer: String,
    value: String,
    quantization: Option<QuantizationParameters>,
    why: &'static str,
    confidence: f64,
}

/// The variants that are named, or every loaded one of the same network but `model`.
pub(super) fn others(
    names: &[String],
    model: &Arc<Loaded>,
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<Vec<Arc<Loaded>>> {
    let others: Vec<Arc<Loaded>> = if names.is_empty() {
        let is_other = |other: &&Arc<Loaded>| {
            other.family == model.family && other.id != model.id && can_be_captured(other).is_ok()
        };
        playground.loaded().filter(is_other).cloned().collect()
    } else {
        names.iter().map(|name| playground.model(Some(name), progress)).collect::<Result<_>>()?
    };
    if others.is_empty() {
        return Err(Error::state("no other variant of the network is loaded")
            .with_hint("Name some, as in `--compare resnet8_int8.onnx`."));
    }
    others.iter().try_for_each(|other| can_be_captured(other))?;
    Ok(others)
}

/// Captures the layer in all variants and lays their histograms side by side.
pub(super) fn run(
    arguments: &Arguments,
    (model, layer): (&Arc<Loaded>, &LayerInfo),
    others: &[Arc<Loaded>],
    input: &Input,
    playground: &Playground,
    task: Task<'_>,
) -> Result<Report> {
    // What a variant leaves open of its input another says, which may have to be read: each side is made once.
    let execution = Execution::new(arguments.optimized);
    let ours = arguments.running.side(model, execution, playground, &task);
    let theirs: Vec<Side<'_>> =
        others.iter().map(|other| arguments.running.side(other, execution, playground, &task)).collect();
    let feed = arguments.samples.of(input);
    let mut places = Vec::new();
    for (other, theirs) in others.iter().zip(&theirs) {
        let mut pairs = pairing::activations(model.info(), other.info());
        let first = feed.batches(&[&ours, theirs])?.next();
        if let Some((_, batch)) = first {
            by_value::pair(&mut pairs, &ours, theirs, &batch, &task)?;
        }
        let pair = pairs.pairs.iter().find(|pair| {
            pair.reference.path == layer.path
                || pair.reference_value.through.iter().any(|part| part.path == layer.path)
        });
        let pair = pair.ok_or_else(|| {
            Error::not_found(format!("`{}` has no partner in `{}`", layer.path, other.id))
                .with_hint("See `compare` for what was matched with what.")
        })?;
        // What the others see through, the first one does too.
        if places.is_empty() {
            places.push(Place {
                model: Arc::clone(model),
                layer: pair.reference.path.clone(),
                value: pair.reference_value.name.to_owned(),
                quantization: pair.reference_value.quantization.cloned(),
                why: "exact",
                confidence: 1.0,
            });
        }
        places.push(Place {
            model: Arc::clone(other),
            layer: pair.candidate.path.clone(),
            value: pair.candidate_value.name.to_owned(),
            quantization: pair.candidate_value.quantization.cloned(),
            why: pair.ground.why,
            confidence: pair.ground.confidence,
        });
    }
    let mut samples = 0;
    let mut each = |side: &Side<'_>, place: &Place, receive: &mut dyn FnMut(&[f64])| -> Result<()> {
        let wanted = Wanted {
            name: &place.value,
            quantization: place.quantization.as_ref().filter(|_| !arguments.raw),
        };
        samples = each_block(side, wanted, feed, &task, receive)?.0;
        Ok(())
    };
    let mut statistics = Vec::new();
    let sides = || std::iter::once(&ours).chain(&theirs);
    for (side, place) in sides().zip(&places) {
        let mut own = Statistics::new();
        each(side, place, &mut |values| own.add(values))?;
        statistics.push(own);
    }
    let low = statistics.iter().filter_map(Statistics::min).reduce(f64::min);
    let high = statistics.iter().filter_map(Statistics::max).reduce(f64::max);
    let bins = low.zip(high).and_then(|(low, high)| {
        Bins::of_extremes(low, high, usize::from(arguments.bins), EdgePrecision::Float64).ok()
    });
    let bins = bins.ok_or_else(|| Error::invalid_input("no variant computes a finite value"))?;
    let edges = bins.edges().to_vec();
    let mut variants = Vec::new();
    for ((side, place), statistics) in sides().zip(&places).zip(&statistics) {
        let mut histogram = Histogram::new(bins.clone());
        each(side, place, &mut |values| histogram.add(values))?;
        variants.push(Variant {
            model: &place.model.id,
            layer: place.layer.clone(),
            value: place.value.clone(),
            why: place.why,
            confidence: place.confidence,
            statistics: Summary::from(statistics),
            counts: histogram.counts().to_vec(),
        });
    }
    drop(task);
    lay_out(&Found { layer: &layer.path, input: &input.source, samples, edges, variants })
}

fn lay_out(found: &Found<'_>) -> Result<Report> {
    let mut summary = Table::new([
        Column::text("model"),
        Column::text("layer"),
        Column::text("why").rank(2),
        Column::number("min"),
        Column::number("max"),
        Column::number("mean").rank(1),
        Column::number("std").rank(1),
    ]);
    for variant in &found.variants {
        let numbers = &variant.statistics;
        summary.row([
            Cell::name(variant.model),
            Cell::text(&variant.layer),
            Cell::text(variant.why).tone(Tone::Dim),
            Cell::option(numbers.min, Cell::real),
            Cell::option(numbers.max, Cell::real),
            Cell::option(numbers.mean, Cell::real),
            Cell::option(numbers.standard_deviation, Cell::real),
        ]);
    }
    let mut columns = vec![Column::number("from"), Column::number("to")];
    for variant in &found.variants {
        columns.push(Column::number(variant.model.to_owned()));
        columns.push(Column::chart("").rank(1));
    }
    let mut histogram = Table::new(columns);
    let most = found.variants.iter().flat_map(|variant| &variant.counts).copied().max().unwrap_or(1).max(1);
    for (index, edges) in found.edges.windows(2).enumerate() {
        let mut cells = vec![Cell::real(edges[0]), Cell::real(edges[1])];
        for variant in &found.variants {
            let count = variant.counts.get(index).copied().unwrap_or(0);
            cells.push(Cell::count(count));
            cells.push(Cell::chart(Chart::Bar(count as f64 / most as f64)).tone(Tone::Good));
        }
        histogram.row(cells);
    }
    Ok(Report::new(found)?
        .toned_line([
            (Tone::Name, found.layer.to_owned()),
            (
                Tone::Plain,
                format!(
                    " of {} on {} of {}",
                    counted(found.variants.len(), "variant"),
                    counted(found.samples as usize, "sample"),
                    found.input
                ),
            ),
        ])
        .table(summary)
        .table(histogram))
}
