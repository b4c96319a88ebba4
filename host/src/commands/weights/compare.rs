//! The same tensor of several variants on the same bins, with the errors of each.

use super::{Arguments, Subject};
use crate::backend::Progress;
use crate::commands::fields::bins::SharedBin;
use crate::error::{Error, Result};
use crate::inspect::pairing::{self, Ground, TensorPair};
use crate::inspect::weight::Stored;
use crate::inspect::{Elements, Errors, Summary, contrast};
use crate::model::{TensorInfo, shape_text};
use crate::playground::{Loaded, Playground, Target};
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use qp_analysis::histogram::EdgePrecision;
use qp_analysis::{Bins, Histogram, ShapeFit};
use std::sync::Arc;

/// What the variants are called in a narrow column.
const LETTERS: [&str; 12] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"];

pub(super) struct Compared<'a> {
    reference: &'a str,
    layer: Option<&'a str>,
    variants: Vec<Variant<'a>>,
    edges: Vec<f64>,
    left_out: Vec<LeftOut>,
}

struct Variant<'a> {
    /// What it is called in a narrow column, and whether it is the reference.
    letter: &'static str,
    is_reference: bool,
    model: &'a str,
    precision: &'a str,
    tensor: &'a TensorInfo,
    ground: Ground,
    statistics: Summary,
    errors: Option<Errors>,
    obstacle: Option<Error>,
    counts: Vec<u64>,
}

struct LeftOut {
    model: String,
    reason: Error,
}

/// The other variants of the subject's network, loaded; those that cannot be loaded are returned with the reason.
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
/// `NotFound` when no other variant has the tensor; those of the backends.
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
                reason: Error::not_found(format!("no tensor matches `{}`", subject.tensor.name)),
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
    // The others are compared with the float one.
    let is_float = |(_, pair): &&(&Loaded, TensorPair<'_>)| {
        pair.candidate.tensor.quantization.is_none() && !pair.candidate.tensor.dtype.is_integer()
    };
    let reference = members.iter().position(|member| is_float(&member)).unwrap_or(0);
    members[..=reference].rotate_right(1);
    let compared = compare(subject, &members, left_out, usize::from(arguments.bins), progress)?;
    Ok(lay_out(&compared))
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
        // Both match the subject's tensor, so they match each other.
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
            letter: letter(index),
            is_reference: index == 0,
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

/// How the shapes of two tensors fit that were both matched with a third.
fn relative_fit(first: &TensorPair<'_>, second: &TensorPair<'_>) -> ShapeFit {
    if first.candidate.tensor.shape == second.candidate.tensor.shape {
        return ShapeFit::Same;
    }
    match (first.fit, second.fit) {
        (ShapeFit::Same, fit) | (fit, ShapeFit::Same) => fit,
        (_, fit) => fit,
    }
}

fn letter(index: usize) -> &'static str {
    LETTERS.get(index).copied().unwrap_or("…")
}

impl Record for Compared<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("reference", Unit::Name, "The model that the others are compared with", |compared| {
                compared.reference
            }),
            Self::field("layer", Unit::Name, "The layer; null if only a tensor is named", |compared| {
                compared.layer
            }),
            Self::list("variants", "The tensor in each model, the reference first", |compared| {
                &compared.variants
            }),
            Self::field(
                "edges",
                Unit::Real,
                "Edges of the bins, common to all variants; empty if the values are too close together for the bins",
                |compared| compared.edges.clone(),
            ),
            Self::list("left_out", "Models without such a tensor, or that cannot be read", |compared| {
                &compared.left_out
            }),
        ]
    }
}

impl Record for Variant<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("", Unit::Text, "Letter of the variant", |variant| variant.letter).title(""),
            Self::field("model", Unit::Name, "The model", |variant| variant.model).title("model"),
            Self::field("precision", Unit::Text, "Numeric precision of the model", |variant| {
                variant.precision
            }),
            Self::nested("tensor", "The stored tensor", TensorInfo::fields(), |variant| Some(variant.tensor))
                .always()
                .change("name", |name| {
                    name.title("tensor").rank(5).tone(|_| Tone::Plain).after("tensor.dtype")
                })
                .change("dtype", |dtype| {
                    dtype.title("type").means("Element type and shape").rank(2).text(|variant| {
                        format!("{} {}", variant.tensor.dtype, shape_text(&variant.tensor.shape))
                    })
                }),
            Self::flat(Ground::fields(), |variant| Some(&variant.ground)).always().change("why", |why| {
                why.title("matched by")
                    .rank(4)
                    .text(|variant| match variant.is_reference {
                        true => "reference".to_owned(),
                        false => variant.ground.why.to_owned(),
                    })
                    .tone(|variant| if variant.is_reference { Tone::Dim } else { Tone::Plain })
            }),
            Self::nested("statistics", "Statistics of the values", Summary::fields(), |variant| {
                Some(&variant.statistics)
            })
            .always()
            .for_machines()
            .change("min", |min| min.title("min").rank(6))
            .change("max", |max| max.title("max").rank(7)),
            Self::nested(
                "errors",
                "Errors of the dequantized values against the reference; null for the reference itself",
                Errors::fields(),
                |variant| variant.errors.as_ref(),
            )
            .for_machines()
            .change("sqnr_db", |sqnr| sqnr.title("SQNR dB"))
            .change("cosine_similarity", |cosine| cosine.title("cosine").rank(3))
            .change("max_abs_error", |error| error.title("max error"))
            .change("mean_abs_error", |error| error.title("mean error").rank(1))
            .change("relative_l2", |error| error.title("rel. L2").rank(2))
            .change("mse", |error| error.title("MSE").rank(8)),
            Self::error("obstacle", "Why no errors were computed", |variant| variant.obstacle.as_ref()),
            Self::field("counts", Unit::Count, "Values in each bin", |variant| variant.counts.clone()),
        ]
    }
}

impl Record for LeftOut {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |left_out| left_out.model.clone()),
            Self::error("reason", "Why it is left out", |left_out| Some(&left_out.reason)),
        ]
    }
}

fn lay_out(compared: &Compared<'_>) -> Report {
    let mut report = Report::of(compared).table(Table::of(&compared.variants));
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
    report
}

/// A row for each bin, with the count of each variant as a bar.
fn histograms(compared: &Compared<'_>) -> Table {
    let mut fields = SharedBin::fields();
    for (index, variant) in compared.variants.iter().enumerate() {
        fields.push(
            SharedBin::field(variant.letter, Unit::Count, "Values in the bin", move |bin| bin.count(index))
                .title(variant.letter)
                // A narrow terminal hides the last variants first.
                .rank(u8::try_from(index).unwrap_or(u8::MAX))
                .chart(move |bin| {
                    let label = number::count(bin.count(index));
                    Some(Chart::Labelled { share: bin.share(index), label })
                })
                .tone(move |_| if index == 0 { Tone::Plain } else { Tone::Good }),
        );
    }
    let counts = compared.variants.iter().map(|variant| &variant.counts[..]);
    Table::with(&fields, &SharedBin::all(&compared.edges, counts))
}
