//! How long each layer takes: the kernels of profiled runs, summed over the layers that they compute.

use super::Entrant;
use super::measured::{Contestant, Extent, measure};
use crate::backend::Progress;
use crate::commands::arguments::running::Running;
use crate::error::Result;
use crate::input::Fitted;
use crate::inspect::pairing;
use crate::model::{Arithmetic, Kernel, Kernels};
use crate::render::number;
use crate::render::record::{Field, Record, Unit, word};
use crate::render::report::Table;
use crate::temporary::Scratch;
use qp_analysis::quantile;
use std::collections::HashMap;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    /// A layer of the reference, or one of a candidate that has no partner there.
    Layer,
    /// Quantize and dequantize layers.
    Conversions,
    /// Kernels of one operator that the runtime has added.
    Added,
    /// What runs took besides their kernels.
    Overhead,
}

impl Part {
    const WORDS: &'static [&'static str] = &["layer", "conversions", "added", "overhead"];
}

/// A part of the models and what it takes in each.
pub(super) struct LayerTimes {
    pub(super) part: Part,
    /// The layer, or the operator of what the runtime has added.
    pub(super) name: String,
    /// One for each model that has it.
    pub(super) times: Vec<Time>,
}

/// What one part takes in one model.
pub(super) struct Time {
    /// The index of the model.
    pub(super) place: usize,
    pub(super) model: String,
    pub(super) median_ms: f64,
    /// Of the median run.
    pub(super) share: f64,
    /// The operators of its kernels.
    pub(super) kernels: Vec<String>,
    pub(super) element_type: Option<String>,
}

impl LayerTimes {
    /// What it takes in a model.
    pub(super) fn of(&self, place: usize) -> Option<&Time> {
        self.times.iter().find(|time| time.place == place)
    }

    fn longest(&self) -> f64 {
        self.times.iter().map(|time| time.median_ms).fold(0.0, f64::max)
    }

    fn text(&self) -> String {
        match self.part {
            Part::Layer => self.name.clone(),
            Part::Conversions => "(quantize and dequantize)".to_owned(),
            Part::Added => format!("(added: {})", self.name),
            Part::Overhead => "(between kernels)".to_owned(),
        }
    }
}

impl Record for LayerTimes {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "part",
                Unit::Text,
                "layer: a layer; conversions: all layers that only quantize or dequantize; added: kernels that the runtime has added; \
                 overhead: what runs took besides their kernels, the profiler's own work included",
                |times| word(times.part),
            )
            .choices(Part::WORDS),
            Self::field(
                "name",
                Unit::Name,
                "The layer, by its name in the reference if it has a partner there; the operator of added kernels",
                |times| times.name.clone(),
            )
            .title("layer")
            .text(Self::text),
            Self::list("times", "What it takes in each model that has it", |times| &times.times),
        ]
    }
}

impl Record for Time {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |time| time.model.clone()),
            Self::field("median_ms", Unit::Duration, "Median over the profiled runs", |time| time.median_ms),
            Self::field("share", Unit::Share, "Share of the median run", |time| time.share),
            Self::field("kernels", Unit::Text, "The operators of the kernels that compute it", |time| {
                time.kernels.clone()
            }),
            Self::field(
                "element_type",
                Unit::Text,
                "Element type of what its first kernel reads; null if unknown",
                |time| time.element_type.clone(),
            ),
        ]
    }
}

/// The times of all layers, those that take longest first.
///
/// # Errors
/// `UnsupportedOp` if a backend does not know its kernels; those of running.
pub(super) fn layer_times(
    entrants: &[Entrant],
    fitted: &[Fitted],
    running: &Running,
    (extent, reference): (Extent, usize),
    progress: &dyn Progress,
) -> Result<Vec<LayerTimes>> {
    let scratches = entrants.iter().map(|_| Scratch::new()).collect::<Result<Vec<_>>>()?;
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for ((entrant, fitted), scratch) in entrants.iter().zip(fitted).zip(&scratches) {
        let mut contestant = entrant.on(fitted, running);
        let session = &entrant.model.session;
        contestant.side.options = session.profiling(&contestant.side.options, scratch.path())?;
        contestants.push(contestant);
    }
    let (measured, stop) = measure(&contestants, extent, progress);
    if let Some(error) = stop {
        return Err(error);
    }
    let mut rows = Rows::default();
    for (place, ((entrant, contestant), measured)) in
        entrants.iter().zip(&contestants).zip(&measured).enumerate()
    {
        let kernels = entrant.model.session.profiled(&contestant.side.options, progress)?;
        let names = names_in(entrants, reference, place);
        rows.add((place, &entrant.model.id), &kernels, measured.times_ms.len(), &names);
    }
    Ok(rows.finish())
}

/// The names of a model's layers in the reference, where they have a partner there.
fn names_in(entrants: &[Entrant], reference: usize, place: usize) -> HashMap<&str, &str> {
    if place == reference {
        return HashMap::new();
    }
    let pairs = pairing::layers(entrants[reference].model.info(), entrants[place].model.info()).pairs;
    pairs.iter().map(|pair| (pair.candidate.path.as_str(), pair.reference.path.as_str())).collect()
}

/// What the kernels of one part took in each run.
struct Sums<'a> {
    key: (Part, String),
    times_ns: Vec<u64>,
    kernels: Vec<&'a Kernel>,
}

#[derive(Default)]
struct Rows {
    rows: Vec<LayerTimes>,
    places: HashMap<(Part, String), usize>,
}

impl Rows {
    /// Adds what the last `rounds` runs of a model took.
    fn add(
        &mut self,
        (place, model): (usize, &str),
        found: &Kernels,
        rounds: usize,
        names: &HashMap<&str, &str>,
    ) {
        let first = found.runs_ns.len().saturating_sub(rounds);
        let runs = &found.runs_ns[first..];
        let mut parts: Vec<Sums<'_>> = Vec::new();
        let mut places: HashMap<(Part, String), usize> = HashMap::new();
        let mut overhead = runs.to_vec();
        // The time of a branch is part of that of the kernel that holds it.
        for kernel in found.kernels.iter().filter(|kernel| !kernel.is_inner) {
            let key = part_of(kernel, names);
            let index = *places.entry(key.clone()).or_insert_with(|| {
                parts.push(Sums { key, times_ns: vec![0; runs.len()], kernels: Vec::new() });
                parts.len() - 1
            });
            let sums = &mut parts[index];
            sums.kernels.push(kernel);
            for ((sum, rest), time) in
                sums.times_ns.iter_mut().zip(&mut overhead).zip(&kernel.times_ns[first..])
            {
                *sum += time;
                *rest = rest.saturating_sub(*time);
            }
        }
        let key = (Part::Overhead, String::new());
        parts.push(Sums { key, times_ns: overhead, kernels: Vec::new() });
        let run_ms = median_ms(runs);
        for Sums { key, times_ns, kernels } in parts {
            let mut operators: Vec<String> = Vec::new();
            for kernel in &kernels {
                if !operators.contains(&kernel.operator) {
                    operators.push(kernel.operator.clone());
                }
            }
            let median_ms = median_ms(&times_ns);
            let element_type = kernels.first().map(|kernel| kernel.element_type.clone());
            let time = Time {
                place,
                model: model.to_owned(),
                median_ms,
                share: median_ms / run_ms,
                kernels: operators,
                element_type: element_type.filter(|text| !text.is_empty()),
            };
            let row = *self.places.entry(key.clone()).or_insert_with(|| {
                self.rows.push(LayerTimes { part: key.0, name: key.1, times: Vec::new() });
                self.rows.len() - 1
            });
            self.rows[row].times.push(time);
        }
    }

    fn finish(mut self) -> Vec<LayerTimes> {
        self.rows.sort_by(|left, right| right.longest().total_cmp(&left.longest()));
        self.rows
    }
}

/// What a kernel's time counts for.
fn part_of(kernel: &Kernel, names: &HashMap<&str, &str>) -> (Part, String) {
    match kernel.layers.first() {
        None => (Part::Added, kernel.operator.clone()),
        Some(_) if kernel.arithmetic == Arithmetic::Conversion => (Part::Conversions, String::new()),
        Some(layer) => (Part::Layer, (*names.get(layer.as_str()).unwrap_or(&layer.as_str())).to_owned()),
    }
}

fn median_ms(times_ns: &[u64]) -> f64 {
    let mut times: Vec<f64> = times_ns.iter().map(|time| *time as f64 / 1e6).collect();
    times.sort_by(f64::total_cmp);
    quantile(&times, 0.5).unwrap_or(f64::NAN)
}

/// The table: a column of times for each model, and the ratio if there are two.
pub(super) fn table(rows: &[LayerTimes], models: &[String], reference: Option<usize>) -> Table {
    let mut fields =
        vec![LayerTimes::field("layer", Unit::Name, "The layer", |times| times.text()).title("layer")];
    for (place, model) in models.iter().enumerate() {
        fields.extend([
            LayerTimes::field(model.clone(), Unit::Duration, "Median time", move |times| {
                times.of(place).map(|time| time.median_ms)
            })
            .title(model.clone()),
            LayerTimes::field(format!("{model} share"), Unit::Share, "Share of the run", move |times| {
                times.of(place).map(|time| time.share)
            })
            .title("share")
            .rank(2),
            LayerTimes::field(format!("{model} kernel"), Unit::Text, "Its kernels", move |times| {
                times.of(place).map(|time| time.kernels.join(", "))
            })
            .title("kernel")
            .rank(3),
        ]);
    }
    if let ([_, _], Some(reference)) = (models, reference) {
        let candidate = 1 - reference;
        fields.push(
            LayerTimes::field("ratio", Unit::Decimals(2), "Time divided by the reference's", move |times| {
                let (candidate, reference) = (times.of(candidate)?.median_ms, times.of(reference)?.median_ms);
                (reference > 0.0).then(|| candidate / reference)
            })
            .title("ratio"),
        );
    }
    Table::with(&fields, rows)
}

/// The median time of a model's profiled runs.
pub(super) fn profiled_ms(rows: &[LayerTimes], model: &str) -> Option<f64> {
    let overhead = rows.iter().find(|row| row.part == Part::Overhead)?;
    let time = overhead.times.iter().find(|time| time.model == model)?;
    (time.share > 0.0).then(|| time.median_ms / time.share)
}

/// What is not shown of a long list, in words.
pub(super) fn rest(rows: &[LayerTimes], models: &[String]) -> String {
    let sums = models.iter().enumerate().map(|(place, model)| {
        let sum: f64 = rows.iter().filter_map(|row| row.of(place)).map(|time| time.median_ms).sum();
        format!("{} in {model}", number::duration(std::time::Duration::from_secs_f64(sum / 1e3)))
    });
    sums.collect::<Vec<_>>().join(", ")
}
