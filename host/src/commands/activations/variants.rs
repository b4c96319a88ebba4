//! One layer of several variants on the same bins.

use super::Arguments;
use crate::backend::Progress;
use crate::capture::survey::{Wanted, each_block};
use crate::capture::{Execution, Side, by_value, can_be_captured, pairing};
use crate::commands::fields::bins::SharedBin;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::inspect::Summary;
use crate::inspect::pairing::Ground;
use crate::model::{LayerInfo, QuantizationParameters};
use crate::playground::{Loaded, Playground};
use crate::render::chart::Chart;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use crate::render::ui::Task;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, Statistics};
use std::sync::Arc;

pub(super) struct Found<'a> {
    layer: &'a str,
    input: &'a str,
    samples: u64,
    edges: Vec<f64>,
    variants: Vec<Variant<'a>>,
}

struct Variant<'a> {
    model: &'a str,
    layer: String,
    value: String,
    /// Why this layer was matched, as in `compare`.
    ground: Ground,
    statistics: Summary,
    counts: Vec<u64>,
}

/// The layer of one variant.
struct Place {
    model: Arc<Loaded>,
    layer: String,
    value: String,
    quantization: Option<QuantizationParameters>,
    ground: Ground,
}

impl Record for Found<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "The layer of the first model", |found| found.layer),
            Self::field("input", Unit::Text, "Where the samples come from", |found| found.input),
            Self::field("samples", Unit::Count, "Samples that each model ran on", |found| found.samples),
            Self::field("edges", Unit::Real, "Edges of the bins, common to all variants", |found| {
                found.edges.clone()
            }),
            Self::list("variants", "The layer in each model", |found| &found.variants),
        ]
    }
}

impl Record for Variant<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |variant| variant.model).title("model"),
            Self::field("layer", Unit::Text, "Its layer", |variant| variant.layer.clone()).title("layer"),
            Self::field("value", Unit::Name, "The value that the layer computes", |variant| {
                variant.value.clone()
            }),
            Self::flat(Ground::fields(), |variant| Some(&variant.ground))
                .always()
                .change("why", |why| why.title("why").rank(2).tone(|_| Tone::Dim)),
            Self::nested("statistics", "Statistics of the values", Summary::fields(), |variant| {
                Some(&variant.statistics)
            })
            .always()
            .for_machines()
            .change("min", |min| min.title("min"))
            .change("max", |max| max.title("max"))
            .change("mean", |mean| mean.title("mean").rank(1))
            .change("standard_deviation", |deviation| deviation.title("std").rank(1)),
            Self::field("counts", Unit::Count, "Values in each bin", |variant| variant.counts.clone()),
        ]
    }
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
    // A variant may leave part of its input open, which another fills in and may have to be read: each side is made once.
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
        // The first model is followed through the same layers as the others.
        if places.is_empty() {
            places.push(Place {
                model: Arc::clone(model),
                layer: pair.reference.path.clone(),
                value: pair.reference_value.name.to_owned(),
                quantization: pair.reference_value.quantization.cloned(),
                ground: Ground::SAME,
            });
        }
        places.push(Place {
            model: Arc::clone(other),
            layer: pair.candidate.path.clone(),
            value: pair.candidate_value.name.to_owned(),
            quantization: pair.candidate_value.quantization.cloned(),
            ground: pair.ground,
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
            ground: place.ground,
            statistics: Summary::from(statistics),
            counts: histogram.counts().to_vec(),
        });
    }
    drop(task);
    Ok(lay_out(&Found { layer: &layer.path, input: &input.source, samples, edges, variants }))
}

fn lay_out(found: &Found<'_>) -> Report {
    Report::of(found)
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
        .table(Table::of(&found.variants))
        .table(histograms(found))
}

/// A row for each bin, with the count of each variant and its bar.
fn histograms(found: &Found<'_>) -> Table {
    let mut fields = SharedBin::fields();
    for (index, variant) in found.variants.iter().enumerate() {
        let name = variant.model.to_owned();
        fields.extend([
            SharedBin::field(name.clone(), Unit::Count, "Values in the bin", move |bin| bin.count(index))
                .title(name),
            SharedBin::chart("Bar of the count, full at the fullest bin of all", move |bin| {
                Some(Chart::Bar(bin.share(index)))
            })
            .rank(1)
            .tone(|_| Tone::Good),
        ]);
    }
    let counts = found.variants.iter().map(|variant| &variant.counts[..]);
    Table::with(&fields, &SharedBin::all(&found.edges, counts))
}
