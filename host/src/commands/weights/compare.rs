//! The same tensor of several variants, on the same bins, with what each is off by.

use super::{Arguments, Subject};
use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::input::shape_text;
use crate::inspect::pairing::{self, Ground, TensorPair};
use crate::inspect::weight::Stored;
use crate::inspect::{Elements, Errors, Summary, contrast};
use crate::model::TensorInfo;
use crate::playground::{Loaded, Playground, Target};
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, ShapeFit};
use serde::Serialize;
use std::sync::Arc;

/// What the variants are called in a narrow column.
const LETTERS: [&str; 12] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"];

#[derive(Serialize)]
struct Compared<'a> {
    /// The model that the others are compared with.
    reference: &'a str,
    layer: Option<&'a str>,
    variants: Vec<Variant<'a>>,
    /// The same for all, over all finite values together; none where they are too close for so many bins.
    edges: Vec<f64>,
    /// Models that have no such tensor, or cannot be read, with the reason.
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct Variant<'a> {
    model: &'a str,
    precision: &'a str,
    tensor: &'a TensorInfo,
    #[serde(flatten)]
    ground: Ground,
    statistics: Summary,
    /// Against the reference, on dequantized values in float64; none for the reference itself.
    errors: Option<Errors>,
    /// Why there are no errors.
    obstacle: Option<Error>,
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct LeftOut {
    model: String,
    reason: Error,
}

/// The other variants of the subject's network, loaded; those that cannot be are returned with the reason.
pub(super) struct Others {
    models: Vec<Arc<Loaded>>,
    left_out: Vec<LeftOut>,
}

impl Others {
    /// The models of these names; without any, all variants of the family but the model itself.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous` for names; a named model that cannot be read. `Cancelled`.
    pub(super) fn load(
        model: &Loaded,
        names: &[String],
        playground: &mut Playground,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut others = Self { models: Vec::new(), left_out: Vec::new() };
        if !names.is_empty() {
            for name in names {
                let other = playground.model(Some(name), progress)?;
                if other.path != model.path {
                    others.models.push(other);
                }
            }
            return Ok(others);
        }
        let targets: Vec<Target> = playground.targets();
        for target in
            targets.iter().filter(|target| target.family == model.family && target.path != model.path)
        {
            match playground.load(target, progress) {
                Ok((other, _)) => others.models.push(other),
                Err(error) if error.kind() == crate::error::ErrorKind::Cancelled => return Err(error),
                Err(reason) => others.left_out.push(LeftOut { model: target.id.clone(), reason }),
            }
        }
        Ok(others)
    }
}

/// Compares the subject's tensor in all variants.
///
/// # Errors
/// `NotFound` when no other variant has the tensor; what the backends say of the files.
pub(super) fn report(
    subject: &Subject<'_>,
    others: Others,
    arguments: &Arguments,
    progress: &dyn Progress,
) -> Result<Report> {
    let Others { models, mut left_out } = others;
    let own = Stored { layer: subject.layer, tensor: subject.tensor };
    let mut members: Vec<(&Loaded, TensorPair<'_>)> = vec![(
        subject.model,
        TensorPair { reference: own, candidate: own, ground: Ground::SAME, fit: ShapeFit::Same },
    )];
    for model in &models {
        let pairs = pairing::tensors(subject.model.info(), model.info()).pairs;
        let is_same = |pair: &TensorPair<'_>| pair.reference.tensor.name == subject.tensor.name;
        match pairs.into_iter().find(is_same) {
            Some(pair) => members.push((model, pair)),
            None => left_out.push(LeftOut {
                model: model.id.clone(),
                reason: Error::not_found(format!("it has no tensor that matches `{}`", subject.tensor.name)),
            }),
        }
    }
    if members.len() < 2 {
        let error = Error::not_found(format!("no other variant has `{}`", subject.tensor.name));
        return Err(match &left_out[..] {
            [] => error.with_hint("Open the folder of its variants, or name them: `--compare MODEL`."),
            [first, ..] => error.with_cause(format!("{}: {}", first.model, first.reason.one_line())),
        });
    }
    // The float one is what the others are measured by.
    let is_float = |(_, pair): &&(&Loaded, TensorPair<'_>)| {
        pair.candidate.tensor.quantization.is_none() && !pair.candidate.tensor.dtype.is_integer()
    };
    let reference = members.iter().position(|member| is_float(&member)).unwrap_or(0);
    members[..=reference].rotate_right(1);
    let compared = compare(subject, &members, left_out, usize::from(arguments.bins), progress)?;
    lay_out(&compared)
}

fn compare<'a>(
    subject: &Subject<'a>,
    members: &[(&'a Loaded, TensorPair<'a>)],
    left_out: Vec<LeftOut>,
    bins: usize,
    progress: &dyn Progress,
) -> Result<Compared<'a>> {
    let (reference, of_reference) = &members[0];
    let mut variants = Vec::new();
    for (index, (model, pair)) in members.iter().enumerate() {
        let elements = Elements::values(model, pair.candidate.tensor, progress)?;
        let statistics = Summary::from(&elements.statistics(progress)?);
        // Both were matched with the subject's tensor: so they match each other.
        let pair_with_reference =
            TensorPair { reference: of_reference.candidate, fit: relative_fit(of_reference, pair), ..*pair };
        let errors = (index > 0)
            .then(|| contrast::errors(reference, model, &pair_with_reference, progress))
            .transpose();
        let (errors, obstacle) = match errors {
            Ok(errors) => (errors.map(|errors| Errors::from(&errors)), None),
            Err(error) if error.kind() == crate::error::ErrorKind::Cancelled => return Err(error),
            Err(error) => (None, Some(error)),
        };
        variants.push(Variant {
            model: &model.id,
            precision: &model.info().precision,
            tensor: pair.candidate.tensor,
            ground: pair.ground,
            statistics,
            errors,
            obstacle,
            counts: Vec::new(),
        });
    }
    let min = variants.iter().filter_map(|variant| variant.statistics.min).reduce(f64::min);
    let max = variants.iter().filter_map(|variant| variant.statistics.max).reduce(f64::max);
    let bins =
        min.zip(max).and_then(|(min, max)| Bins::of_extremes(min, max, bins, EdgePrecision::Float64).ok());
    if let Some(bins) = &bins {
        for (variant, (model, pair)) in variants.iter_mut().zip(members) {
            let elements = Elements::values(model, pair.candidate.tensor, progress)?;
            let histogram: Histogram = elements.histogram(bins.clone(), progress)?;
            variant.counts = histogram.counts().to_vec();
        }
    }
    Ok(Compared {
        reference: &reference.id,
        layer: subject.layer.map(|layer| layer.path.as_str()),
        variants,
        edges: bins.map(|bins| bins.edges().to_vec()).unwrap_or_default(),
        left_out,
    })
}

/// How the shapes of two tensors belong together that were both matched with a third.
fn relative_fit(first: &TensorPair<'_>, second: &TensorPair<'_>) -> ShapeFit {
    if first.candidate.tensor.shape == second.candidate.tensor.shape {
        return ShapeFit::Same;
    }
    match (first.fit, second.fit) {
        (ShapeFit::Same, fit) | (fit, ShapeFit::Same) => fit,
        (_, fit) => fit,
    }
}

fn lay_out(compared: &Compared<'_>) -> Result<Report> {
    let letter = |index: usize| LETTERS.get(index).copied().unwrap_or("…");
    let mut errors = Table::new([
        Column::text(""),
        Column::text("model"),
        Column::text("type").rank(2),
        Column::text("tensor").rank(5),
        Column::text("matched by").rank(4),
        Column::number("min").rank(6),
        Column::number("max").rank(7),
        Column::number("SQNR dB"),
        Column::number("cosine").rank(3),
        Column::number("max error"),
        Column::number("mean error").rank(1),
        Column::number("rel. L2").rank(2),
    ]);
    for (index, variant) in compared.variants.iter().enumerate() {
        let of = |value: fn(&Errors) -> Option<f64>| {
            Cell::option(variant.errors.as_ref().and_then(value), Cell::real)
        };
        let sqnr = variant.errors.as_ref().and_then(|errors| errors.metrics.sqnr_db);
        errors.row([
            Cell::text(letter(index)),
            Cell::name(variant.model),
            Cell::text(format!("{} {}", variant.tensor.dtype, shape_text(&variant.tensor.shape))),
            Cell::text(variant.tensor.name.clone()),
            if index == 0 { Cell::text("reference").tone(Tone::Dim) } else { Cell::text(variant.ground.why) },
            Cell::option(variant.statistics.min, Cell::real),
            Cell::option(variant.statistics.max, Cell::real),
            Cell::option(sqnr, |sqnr| match sqnr.is_finite() {
                true => Cell { text: format!("{sqnr:.2}"), ..Cell::real(sqnr) },
                false => Cell::real(sqnr),
            }),
            of(|errors| errors.metrics.cosine_similarity),
            of(|errors| errors.metrics.max_abs_error),
            of(|errors| errors.metrics.mean_abs_error),
            of(|errors| errors.metrics.relative_l2),
        ]);
    }
    let mut report = Report::new(compared)?.table(errors);
    if !compared.edges.is_empty() {
        report = report.table(histograms(compared));
    }
    for variant in &compared.variants {
        if let Some(obstacle) = &variant.obstacle {
            report = report.toned_line([
                (Tone::Warning, "not compared: ".to_owned()),
                (Tone::Name, variant.model.to_owned()),
                (Tone::Plain, format!(": {}", obstacle.one_line())),
            ]);
        }
    }
    for left_out in &compared.left_out {
        report = report.toned_line([
            (Tone::Dim, "left out: ".to_owned()),
            (Tone::Name, left_out.model.clone()),
            (Tone::Plain, format!(": {}", left_out.reason.one_line())),
        ]);
    }
    Ok(report)
}

/// A row for each bin, and for each variant the count in it, with a bar for the first ones.
fn histograms(compared: &Compared<'_>) -> Table {
    let mut columns = vec![Column::number("from"), Column::number("to")];
    for (index, _) in compared.variants.iter().enumerate() {
        let name = LETTERS.get(index).copied().unwrap_or("…");
        // Of many variants in a narrow terminal the last are left out first.
        columns.push(Column::chart(name).rank(u8::try_from(index).unwrap_or(u8::MAX)));
    }
    let mut table = Table::new(columns);
    let most =
        compared.variants.iter().flat_map(|variant| &variant.counts).copied().max().unwrap_or(1).max(1);
    for (bin, edges) in compared.edges.windows(2).enumerate() {
        let mut row = vec![Cell::real(edges[0]), Cell::real(edges[1])];
        for (index, variant) in compared.variants.iter().enumerate() {
            let count = variant.counts.get(bin).copied().unwrap_or_default();
            let bar = Chart::Labelled { share: count as f64 / most as f64, label: number::count(count) };
            row.push(Cell { raw: count.into(), ..Cell::chart(bar) }.tone(if index == 0 {
                Tone::Plain
            } else {
                Tone::Good
            }));
        }
        table.row(row);
    }
    table
}
