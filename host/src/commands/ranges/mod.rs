//! `ranges`: the range of every weight on one axis, variants side by side.

mod declaration;
mod layout;

use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::inspect::pairing::{self, Ground};
use crate::inspect::range::{Extent, activations, representable, weights_and_more};
use crate::inspect::survey;
use crate::inspect::weight::Stored;
use crate::playground::{Loaded, Playground};
use crate::render::chart::Chart;
use crate::render::record::{ReportShape, SortKey, sort_keys};
use crate::render::report::Report;
use crate::spelling::matches_pattern;
use std::collections::HashMap;
use std::sync::Arc;

/// `ranges [NAME…]`
pub(super) struct Ranges;

/// The arguments of `ranges`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The models, the reference first; without any, the current one
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// Only layers and tensors whose name matches a pattern such as `layer1*`
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// The order of the rows
    #[arg(
        long,
        value_name = "KEY",
        value_parser = sort_keys::<RangeRow<'_>>("The order of the layers"),
        default_value = "width"
    )]
    sort: SortKey,
    /// Show at most this many layers
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
    /// Every stored tensor, including biases and constants, instead of each layer's weight
    #[arg(long, conflicts_with = "activations")]
    all: bool,
    /// Show what the quantized activations can represent, instead of the weights
    #[arg(long)]
    activations: bool,
    /// A logarithmic axis on both sides of zero, for ranges of very different widths
    #[arg(long)]
    log: bool,
    /// How many standard deviations from the mean make a tensor's most extreme value an outlier
    #[arg(long, value_name = "SIGMAS", default_value_t = 8.0)]
    outlier: f64,
}

struct Compared<'a> {
    models: Vec<&'a str>,
    /// Rows before `--top` cut them.
    total: usize,
    /// The ends of the axis.
    low: f64,
    high: f64,
    is_logarithmic: bool,
    rows: Vec<RangeRow<'a>>,
    /// Tensors of the other models without a match.
    unmatched: Vec<Unmatched<'a>>,
    /// Tensors that could not be read.
    unread: Vec<Unread<'a>>,
}

struct Unread<'a> {
    tensor: &'a str,
    reason: Error,
}

/// The weights of several models.
#[derive(Default)]
struct WeightRows<'a> {
    rows: Vec<RangeRow<'a>>,
    unmatched: Vec<Unmatched<'a>>,
    unread: Vec<Unread<'a>>,
}

impl Compared<'_> {
    /// Where on the axis a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        /// The part of the longer side of a logarithmic axis that is linear, around zero.
        const LINEAR_SHARE: f64 = 1e-3;
        let unit = self.high.max(-self.low) * LINEAR_SHARE;
        let scaled = |value: f64| if self.is_logarithmic { (value / unit).asinh() } else { value };
        let (low, high) = (scaled(self.low), scaled(self.high));
        if high > low { (scaled(value) - low) / (high - low) } else { 0.5 }
    }
}

/// A layer's weight, a tensor or an activation in each of the models.
struct RangeRow<'a> {
    name: &'a str,
    variants: Vec<Variant<'a>>,
}

struct Variant<'a> {
    /// The row's name, and whether it is shown here.
    name: &'a str,
    is_first: bool,
    /// Of several models, the letter of this one.
    letter: Option<&'static str>,
    /// Which of the models.
    model: usize,
    tensor: &'a str,
    ground: Ground,
    extent: Extent,
    is_outlier: bool,
    /// On the common axis.
    chart: Option<Chart>,
}

struct Unmatched<'a> {
    model: usize,
    tensor: &'a str,
}

impl<'a> RangeRow<'a> {
    fn new(name: &'a str, variants: Vec<Variant<'a>>) -> Self {
        Self { name, variants }
    }

    /// The largest of these numbers of its variants.
    fn largest(&self, number: fn(&Extent) -> Option<f64>) -> Option<f64> {
        self.variants.iter().filter_map(|variant| number(&variant.extent)).reduce(f64::max)
    }
}

impl<'a> Variant<'a> {
    fn new(model: usize, tensor: &'a str, ground: Ground, extent: Extent) -> Self {
        Self {
            name: "",
            is_first: false,
            letter: None,
            model,
            tensor,
            ground,
            extent,
            is_outlier: false,
            chart: None,
        }
    }
}

impl Command for Ranges {
    type Arguments = Arguments;
    const NAME: &'static str = "ranges";
    const SUMMARY: &'static str = "Draw the ranges of all weights on one axis, variants side by side";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "ranges resnet8.onnx", shows: "the widest weights first" },
        Example {
            line: "ranges resnet8.onnx resnet8_int8.onnx --sort graph",
            shows: "float and quantized side by side, with what the codes can represent",
        },
        Example {
            line: "ranges resnet8_int8.onnx --activations",
            shows: "what the quantized activations can represent",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Compared<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let models = models(&arguments.names, playground, &task)?;
        let mut compared = Compared {
            models: models.iter().map(|model| model.id.as_str()).collect(),
            total: 0,
            low: 0.0,
            high: 0.0,
            is_logarithmic: arguments.log,
            rows: Vec::new(),
            unmatched: Vec::new(),
            unread: Vec::new(),
        };
        if arguments.activations {
            compared.rows = activation_rows(&models);
        } else {
            let found = weight_rows(&models, arguments.all, &task)?;
            (compared.rows, compared.unmatched, compared.unread) =
                (found.rows, found.unmatched, found.unread);
        }
        drop(task);
        if let Some(pattern) = &arguments.pattern {
            compared.rows.retain(|row| {
                let names = row.variants.iter().map(|variant| variant.tensor).chain([row.name]);
                names.into_iter().any(|name| matches_pattern(pattern, name))
            });
            compared.unmatched.retain(|unmatched| matches_pattern(pattern, unmatched.tensor));
        }
        if compared.rows.is_empty() {
            let what = if arguments.activations { "quantized activation" } else { "weight" };
            return Err(Error::not_found(format!("no {what} to show")).with_hint(if arguments.activations {
                "See `quant` for what is quantized."
            } else {
                "See `stats` for what the model stores."
            }));
        }
        for variant in compared.rows.iter_mut().flat_map(|row| &mut row.variants) {
            variant.is_outlier = variant.extent.peak_sigmas.is_some_and(|peak| peak >= arguments.outlier);
        }
        arguments.sort.apply(&mut compared.rows);
        compared.total = compared.rows.len();
        compared.rows.truncate(arguments.top.unwrap_or(usize::MAX));
        (compared.low, compared.high) = ends(&compared.rows);
        layout::finish(&mut compared);
        Ok(layout::report(&compared))
    }
}

fn models(
    names: &[String],
    playground: &mut Playground,
    progress: &dyn Progress,
) -> Result<Vec<Arc<Loaded>>> {
    if names.is_empty() {
        return Ok(vec![playground.model(None, progress)?]);
    }
    let mut models: Vec<Arc<Loaded>> = Vec::new();
    for name in names {
        let model = playground.model(Some(name), progress)?;
        if !models.iter().any(|other| other.path == model.path) {
            models.push(model);
        }
    }
    Ok(models)
}

/// A row for each weight of the first model, with the matching tensors of the others; then what only the others
/// have.
fn weight_rows<'a>(models: &'a [Arc<Loaded>], all: bool, progress: &dyn Progress) -> Result<WeightRows<'a>> {
    let Some((reference, others)) = models.split_first() else { return Ok(WeightRows::default()) };
    let stored = weights_and_more(reference.info(), all);
    let mut unread = Vec::new();
    let own = extents(reference, &stored, &mut unread, progress)?;
    let mut rows: Vec<RangeRow<'_>> = stored
        .iter()
        .zip(own)
        .map(|(stored, extent)| {
            let ground = Ground::SAME;
            RangeRow::new(row_name(stored, all), vec![Variant::new(0, &stored.tensor.name, ground, extent)])
        })
        .collect();
    let places: HashMap<&str, usize> =
        stored.iter().enumerate().map(|(place, stored)| (stored.tensor.name.as_str(), place)).collect();
    let mut unmatched = Vec::new();
    for (index, model) in others.iter().enumerate() {
        let pairs = pairing::tensors(reference.info(), model.info());
        let found: Vec<_> = pairs
            .pairs
            .iter()
            .filter_map(|pair| Some((*places.get(pair.reference.tensor.name.as_str())?, pair)))
            .collect();
        let partners: Vec<Stored<'_>> = found.iter().map(|(_, pair)| pair.candidate).collect();
        for ((place, pair), extent) in found.iter().zip(extents(model, &partners, &mut unread, progress)?) {
            let tensor = &pair.candidate.tensor.name;
            let ground = pair.ground;
            rows[*place].variants.push(Variant::new(index + 1, tensor, ground, extent));
        }
        let own: Vec<_> = weights_and_more(model.info(), all);
        let is_own = |stored: &&Stored<'_>| own.iter().any(|own| own.tensor.name == stored.tensor.name);
        unmatched.extend(
            pairs
                .unmatched_candidate
                .iter()
                .filter(is_own)
                .map(|stored| Unmatched { model: index + 1, tensor: &stored.tensor.name }),
        );
    }
    Ok(WeightRows { rows, unmatched, unread })
}

fn row_name<'a>(stored: &Stored<'a>, all: bool) -> &'a str {
    match stored.layer {
        Some(layer) if !all => &layer.path,
        _ => &stored.tensor.name,
    }
}

fn extents<'a>(
    model: &Loaded,
    stored: &[Stored<'a>],
    unread: &mut Vec<Unread<'a>>,
    progress: &dyn Progress,
) -> Result<Vec<Extent>> {
    let tensors: Vec<_> = stored.iter().map(|stored| stored.tensor).collect();
    let summaries = survey::summaries(model, &tensors, progress)?;
    Ok(tensors
        .iter()
        .zip(summaries)
        .map(|(tensor, summary)| {
            let numbers = match summary {
                Ok(numbers) => Some(numbers),
                Err(reason) => {
                    unread.push(Unread { tensor: &tensor.name, reason });
                    None
                }
            };
            Extent::new(tensor.dtype, numbers, tensor.quantization.as_ref())
        })
        .collect())
}

/// A row for each quantized activation, those of one name in one row.
fn activation_rows(models: &[Arc<Loaded>]) -> Vec<RangeRow<'_>> {
    let mut rows: Vec<RangeRow<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, model) in models.iter().enumerate() {
        for (value, parameters) in activations(model.info()) {
            let Some(extent) =
                representable(parameters).map(|range| Extent::of_range(parameters.dtype, range))
            else {
                continue;
            };
            let next = rows.len();
            let place = *places.entry(value).or_insert(next);
            if place == next {
                rows.push(RangeRow::new(value, Vec::new()));
            }
            let ground = Ground::SAME;
            rows[place].variants.push(Variant::new(index, value, ground, extent));
        }
    }
    rows
}

/// The smallest and the largest end of all rows, zero included.
fn ends(rows: &[RangeRow<'_>]) -> (f64, f64) {
    let ends = rows.iter().flat_map(|row| &row.variants).flat_map(|variant| variant.extent.ends());
    ends.fold((0.0, 0.0), |(low, high), end| (f64::min(low, end), f64::max(high, end)))
}
