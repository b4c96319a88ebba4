//! `search`: the best mix of bits, layer by layer.

use super::arguments::evidence::{Choice as Evidence, Given};
use super::arguments::number::{margin, size};
use super::{Command, Example, Group, Scope};
use crate::backend::Progress;
use crate::capture::evaluation::{self, Plan, Tally, Truth};
use crate::capture::{Execution, Side, can_be_captured};
use crate::error::{Error, Result};
use crate::file;
use crate::input::Input;
use crate::model::DType;
use crate::playground::{Loaded, Playground};
use crate::quantization::{Bits, Method, Mixed, Options};
use crate::render::chart::Chart;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use qp_analysis::allocation::{Choice, allocate, convex_front};
use qp_analysis::rank_correlation;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Models that are measured together: the reference runs once for all of them.
const TOGETHER: usize = 4;
/// The candidates for a size that are measured jointly: sums of single losses are an approximation.
const JOINTLY: usize = 4;

/// `search MODEL`
pub(super) struct Search;

/// The arguments of `search`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The float model; without it, the current one
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The largest size of the model's stored tensors, as in 60KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    target_size: Option<u64>,
    /// The least accuracy, as in 98%; the samples need labels
    #[arg(long, value_name = "SHARE", value_parser = margin, conflicts_with = "target_size")]
    min_accuracy: Option<f64>,
    /// The accuracy that may be lost against the float model, as in 0.5pp; the samples need labels
    #[arg(long, value_name = "POINTS", value_parser = margin, conflicts_with_all = ["target_size", "min_accuracy"])]
    max_drop: Option<f64>,
    /// A scale for each channel of a weight
    #[arg(long)]
    per_channel: bool,
    /// Write the scores to this JSON file; they can be edited: `"pin": "8"` fixes a layer
    #[arg(long, value_name = "PATH")]
    save_scores: Option<String>,
    /// Take the scores from this file instead of measuring them
    #[arg(long, value_name = "PATH")]
    scores: Option<String>,
    /// Write the best model to this file
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    evidence: Evidence,
}

struct SearchReport {
    model: String,
    data: String,
    samples: u64,
    target: String,
    is_reached: bool,
    /// Spearman's, of the scores on the first and on the second half of the samples.
    rank_correlation: Option<f64>,
    layers: Vec<LayerRow>,
    front: Vec<FrontRow>,
    models_measured: usize,
    out: Option<String>,
}

struct LayerRow {
    layer: String,
    op_type: String,
    parameters: u64,
    bits: &'static str,
    pin: Option<&'static str>,
    four: Option<f64>,
    eight: Option<f64>,
    bytes: u64,
}

struct FrontRow {
    bytes: u64,
    layers_at: [usize; 3],
    loss: f64,
    outcome: Option<Outcome>,
    is_chosen: bool,
    share: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    kl_mean: Option<f64>,
    sqnr_db: Option<f64>,
    accuracy: Option<f64>,
    lost: Option<f64>,
}

impl Record for SearchReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The float model", |found| found.model.clone()),
            Self::field("data", Unit::Text, "Where the samples come from", |found| found.data.clone()),
            Self::field("samples", Unit::Count, "Samples of each run", |found| found.samples),
            Self::field("target", Unit::Text, "What was to be reached", |found| found.target.clone()),
            Self::field("is_reached", Unit::Flag, "Whether it is", |found| found.is_reached),
            Self::field(
                "rank_correlation",
                Unit::Real,
                "Spearman's correlation of the scores on the first half of the samples and on the second: how far the ranking can be trusted; null with `--scores`",
                |found| found.rank_correlation,
            ),
            Self::list("layers", "The layers with weights, and what they get", |found| &found.layers),
            Self::list(
                "front",
                "The mixes that no other beats by the sum of their scores, the smallest first",
                |found| &found.front,
            ),
            Self::field("models_measured", Unit::Count, "Models that were run", |found| {
                found.models_measured
            }),
            Self::field("out", Unit::Name, "The file that was written; null without `--out`", |found| {
                found.out.clone()
            }),
        ]
    }
}

impl Record for LayerRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Name, "Path of the layer", |row| row.layer.clone()).title("layer"),
            Self::field("op_type", Unit::Text, "Its operator", |row| row.op_type.clone())
                .title("type")
                .rank(4),
            Self::field("parameters", Unit::Count, "Elements of its weight", |row| row.parameters)
                .title("parameters")
                .rank(3),
            Self::field("bits", Unit::Text, "Bits of its weight in the best mix", |row| row.bits)
                .choices(&["4", "8", "float"])
                .title("bits"),
            Self::field("pin", Unit::Text, "The bits that the scores fix; null if they fix none", |row| {
                row.pin
            }),
            Self::field(
                "kl_4",
                Unit::Real,
                "Mean divergence of the output with only this layer at 4 bits",
                |row| row.four,
            )
            .title("KL at 4"),
            Self::field("kl_8", Unit::Real, "The same at 8 bits", |row| row.eight).title("KL at 8"),
            Self::field("bytes", Unit::Bytes, "Bytes of its weight in the best mix", |row| row.bytes)
                .title("bytes")
                .rank(2),
        ]
    }
}

impl Record for FrontRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("bytes", Unit::Bytes, "Bytes of all stored tensors, without scales", |row| row.bytes)
                .title("size"),
            Self::field("layers_4", Unit::Count, "Layers at 4 bits", |row| row.layers_at[0]).title("4 bits"),
            Self::field("layers_8", Unit::Count, "Layers at 8 bits", |row| row.layers_at[1]).title("8 bits"),
            Self::field("layers_float", Unit::Count, "Layers in float", |row| row.layers_at[2])
                .title("float"),
            Self::field("loss", Unit::Real, "Sum of the scores", |row| row.loss).title("sum of KL"),
            Self::field(
                "kl_mean",
                Unit::Real,
                "Mean divergence of the output, measured; null if it was not, and if the output is rounded to probabilities of 0",
                |row| row.outcome?.kl_mean,
            )
            .title("KL")
            .hidden_if_missing(),
            Self::field("sqnr_db", Unit::Decibels, "SQNR of the output, measured", |row| {
                row.outcome?.sqnr_db
            })
            .title("SQNR dB")
            .rank(3)
            .hidden_if_missing(),
            Self::field("accuracy", Unit::Share, "Top-1 accuracy, measured; null without labels", |row| {
                row.outcome?.accuracy
            })
            .title("accuracy")
            .hidden_if_missing(),
            Self::field("lost", Unit::Share, "Accuracy lost against the float model", |row| {
                row.outcome?.lost
            }),
            Self::chart("Bar of the size, the largest as wide as the column", |row| {
                Some(Chart::Bar(row.share))
            })
            .rank(4),
            Self::field("is_chosen", Unit::Flag, "Whether it is the mix of `layers`", |row| row.is_chosen),
            Self::field("", Unit::Text, "Marks the mix that was chosen", |row| {
                if row.is_chosen { "chosen" } else { "" }
            })
            .title("")
            .tone(|_| Tone::Good),
        ]
    }
}

impl Command for Search {
    type Arguments = Arguments;
    const NAME: &'static str = "search";
    const SUMMARY: &'static str = "Find the best mix of 4 bits, 8 bits and float for a size or an accuracy";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "search resnet8.onnx --target-size 60KiB --data digits.npz --samples 32",
            shows: "which layers get 4 bits if the model may take 60 KiB",
        },
        Example {
            line: "search resnet8.onnx --max-drop 1pp --data digits.npz --samples 48 --out mixed.onnx --force",
            shows: "the smallest model that loses at most one point",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<SearchReport>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(arguments.model.as_deref(), &task)?;
        if let Some(scheme) = &model.info().scheme {
            return Err(Error::invalid_input(format!("`{}` is quantized already: {scheme}", model.id))
                .with_hint("Give the float model that it was made of; `repair` mends a quantized one."));
        }
        can_be_captured(&model)?;
        for path in
            [&arguments.out, &arguments.save_scores].into_iter().flatten().map(|path| playground.path(path))
        {
            if path.exists() && !arguments.force {
                return Err(file::exists(&path));
            }
        }
        let given = arguments.evidence.read(playground)?;
        let needs_labels = arguments.min_accuracy.is_some() || arguments.max_drop.is_some();
        if needs_labels && given.labels.is_none() {
            return Err(Error::usage("there are no labels to measure accuracy with").with_hint(
                "Give `--data` with labels or `--labels FILE`, or a size: `--target-size SIZE`.",
            ));
        }
        let options = options(&arguments);
        let side = arguments.evidence.running.side(&model, Execution::AsWritten, playground, &task);
        let mixed = Mixed::new(&side, arguments.evidence.samples.of(&given.input), &options, &task)?;
        let bench = Bench { arguments: &arguments, model: &model, given: &given, mixed: &mixed, playground };
        let scores = match &arguments.scores {
            Some(path) => Scores::read(&playground.path(path), &mixed)?,
            None => bench.score(&task)?,
        };
        if let Some(path) = &arguments.save_scores {
            let text = format!("{:#}\n", scores.to_json(&mixed, &model.id));
            file::write(&playground.path(path), text.as_bytes(), arguments.force)?;
        }
        let found = bench.choose(&scores, &task)?;
        let mut out = None;
        if let Some(path) = &arguments.out {
            let path = playground.path(path);
            let session = mixed.model(&found.choices, true, &task)?;
            file::keep_all(&path, arguments.force, |place| session.export(place, &task))?;
            out = Some(path.display().to_string());
        }
        drop(task);
        let report_value = SearchReport {
            model: model.id.clone(),
            data: given.input.source.clone(),
            samples: found.samples,
            target: target_text(&arguments),
            is_reached: found.is_reached,
            rank_correlation: scores.rank_correlation,
            layers: layer_rows(&mixed, &scores, &found.choices),
            front: found.front,
            models_measured: scores.measured + found.measured,
            out,
        };
        Ok(report(&report_value))
    }
}

/// As `quantize` without options.
fn options(arguments: &Arguments) -> Options {
    Options {
        activation: DType::UINT8,
        weight: DType::INT8,
        weight_of: HashMap::new(),
        per_channel: arguments.per_channel,
        reduce_range: false,
        method: Method::MinMax,
        percentile: 99.999,
        range_symmetric: None,
        moving_average: false,
        activation_symmetric: false,
        weight_symmetric: None,
        min_real_range: None,
        exclude: Vec::new(),
        op_types: Vec::new(),
        keep_clamps: false,
        quantize_moves: false,
        prepare: true,
        qoperator: false,
        lift: crate::quantization::Lift::default(),
        adjust_for_bias: true,
    }
}

fn target_text(arguments: &Arguments) -> String {
    let points = |share: f64| number::short(share * 100.0);
    match (arguments.target_size, arguments.min_accuracy, arguments.max_drop) {
        (Some(bytes), ..) => format!("at most {}", number::bytes(bytes)),
        (None, Some(share), _) => format!("an accuracy of at least {} %", points(share)),
        (None, None, Some(share)) => format!("at most {} pp of accuracy lost", points(share)),
        (None, None, None) => "the least divergence for each size".to_owned(),
    }
}

/// What each layer loses at each number of bits: mean divergence of the output.
struct Scores {
    /// By layer: at 4 and at 8 bits.
    losses: Vec<[f64; 2]>,
    pins: Vec<Option<Bits>>,
    rank_correlation: Option<f64>,
    measured: usize,
}

impl Scores {
    fn to_json(&self, mixed: &Mixed<'_>, model: &str) -> Value {
        let layers: Vec<Value> = mixed
            .layers
            .iter()
            .zip(self.losses.iter().zip(&self.pins))
            .map(|(layer, (losses, pin))| {
                json!({
                    "layer": layer.layer,
                    "parameters": layer.parameters,
                    "kl": { "4": losses[0], "8": losses[1], "float": 0.0 },
                    "pin": pin.map(Bits::word),
                })
            })
            .collect();
        json!({ "model": model, "rank_correlation": self.rank_correlation, "layers": layers })
    }

    fn read(path: &std::path::Path, mixed: &Mixed<'_>) -> Result<Self> {
        const MOST_BYTES: u64 = 64 << 20;
        let text = crate::regular_file::read_text(path, MOST_BYTES)?;
        let unclear = |reason: String| {
            Error::invalid_input(format!("`{}` does not hold scores", path.display()))
                .with_cause(reason)
                .with_hint("`search --save-scores FILE` writes such a file.")
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| unclear(error.to_string()))?;
        let rows = value["layers"].as_array().ok_or_else(|| unclear("it has no list `layers`".to_owned()))?;
        let by_layer: HashMap<&str, &Value> =
            rows.iter().filter_map(|row| Some((row["layer"].as_str()?, row))).collect();
        let (mut losses, mut pins) = (Vec::new(), Vec::new());
        for layer in &mixed.layers {
            let row = by_layer
                .get(layer.layer.as_str())
                .ok_or_else(|| unclear(format!("the layer `{}` is missing", layer.layer)))?;
            let score = |bits: &str| {
                row["kl"][bits]
                    .as_f64()
                    .filter(|loss| *loss >= 0.0)
                    .ok_or_else(|| unclear(format!("`{}` has no divergence at {bits} bits", layer.layer)))
            };
            losses.push([score("4")?, score("8")?]);
            pins.push(match &row["pin"] {
                Value::Null => None,
                pin => Some(pin.as_str().and_then(Bits::parse).ok_or_else(|| {
                    unclear(format!("the pin of `{}` is {pin}, not \"4\", \"8\" or \"float\"", layer.layer))
                })?),
            });
        }
        Ok(Self { losses, pins, rank_correlation: None, measured: 0 })
    }

    /// What each layer may get, in the order of [`Bits::ALL`].
    fn choices(&self, mixed: &Mixed<'_>) -> Vec<Vec<Choice>> {
        let of = |(place, layer): (usize, &crate::quantization::MixedLayer)| {
            Bits::ALL
                .into_iter()
                .enumerate()
                .map(|(index, bits)| {
                    let is_free = self.pins[place].is_none_or(|pin| pin == bits);
                    let loss = self.losses[place].get(index).copied().unwrap_or(0.0);
                    Choice { cost: if is_free { layer.bytes(bits) as f64 } else { f64::INFINITY }, loss }
                })
                .collect()
        };
        mixed.layers.iter().enumerate().map(of).collect()
    }
}

struct Found {
    choices: Vec<Bits>,
    is_reached: bool,
    front: Vec<FrontRow>,
    samples: u64,
    measured: usize,
}

struct Bench<'a> {
    arguments: &'a Arguments,
    model: &'a Loaded,
    given: &'a Given,
    mixed: &'a Mixed<'a>,
    playground: &'a Playground,
}

impl Bench<'_> {
    /// Each layer alone at 4 and at 8 bits, everything else in float; the scores are those of all samples, the halves say how far
    /// they can be trusted.
    fn score(&self, progress: &dyn Progress) -> Result<Scores> {
        let count = self.mixed.layers.len();
        let alone = |place: usize, bits: Bits| -> Vec<Bits> {
            (0..count).map(|other| if other == place { bits } else { Bits::Float }).collect()
        };
        let sets: Vec<Vec<Bits>> =
            (0..count).flat_map(|place| [alone(place, Bits::Four), alone(place, Bits::Eight)]).collect();
        let tallies = self.run(&sets, false, "scoring layers", progress)?;
        let mut halves = [Vec::new(), Vec::new()];
        let mut losses = Vec::new();
        for tally in &tallies {
            let divergences =
                tally.agreement.as_ref().map(|agreement| &agreement.divergences[..]).unwrap_or_default();
            // An output that is no scores of classes has none.
            let noise = || {
                let errors = tally.agreement.as_ref().map(|agreement| agreement.errors.metrics());
                errors.and_then(|metrics| metrics.relative_l2).map_or(0.0, |error| error * error)
            };
            let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
            let middle = divergences.len() / 2;
            halves[0].push(mean(&divergences[..middle]));
            halves[1].push(mean(&divergences[middle..]));
            losses.push(if divergences.is_empty() { noise() } else { mean(divergences) });
        }
        Ok(Scores {
            losses: losses.as_chunks::<2>().0.to_vec(),
            pins: vec![None; count],
            rank_correlation: rank_correlation(&halves[0], &halves[1]),
            measured: tallies.len(),
        })
    }

    /// The mix that reaches the target.
    fn choose(&self, scores: &Scores, progress: &dyn Progress) -> Result<Found> {
        let choices = scores.choices(self.mixed);
        let mut front: Vec<(Vec<Bits>, f64)> = convex_front(&choices)
            .into_iter()
            .map(|allocation| {
                (allocation.choices.iter().map(|index| Bits::ALL[*index]).collect(), allocation.loss)
            })
            .collect();
        if front.is_empty() {
            return Err(Error::invalid_input("the pins leave a layer no choice"));
        }
        let mut outcomes: HashMap<usize, Outcome> = HashMap::new();
        let mut samples = 0;
        let mut measured = 0;
        let mut measure = |places: &[usize],
                           front: &[(Vec<Bits>, f64)],
                           outcomes: &mut HashMap<usize, Outcome>|
         -> Result<()> {
            let new: Vec<usize> =
                places.iter().copied().filter(|place| !outcomes.contains_key(place)).collect();
            let sets: Vec<Vec<Bits>> = new.iter().map(|place| front[*place].0.clone()).collect();
            let tallies = self.run(&sets, true, "measuring mixes", progress)?;
            measured += tallies.len();
            for (place, tally) in new.iter().zip(&tallies) {
                samples = tally.samples;
                outcomes.insert(*place, self.outcome(tally, progress)?);
            }
            Ok(())
        };
        let size = |choices: &[Bits]| self.size(choices);
        let (chosen, is_reached) = if let Some(budget) = self.arguments.target_size {
            let room = budget.saturating_sub(self.mixed.other_bytes) as f64;
            // The exact optimum of the sums, if it lies between two of the front.
            if let Some(best) = allocate(&choices, room) {
                let bits: Vec<Bits> = best.allocation.choices.iter().map(|index| Bits::ALL[*index]).collect();
                if !front.iter().any(|(other, _)| *other == bits) {
                    front.push((bits, best.allocation.loss));
                    front.sort_by_key(|(choices, _)| size(choices));
                }
            }
            // The plain rule, largest weight first, is a candidate like the others: sums of single losses can be wrong.
            let plain = self.largest_first(scores, budget);
            if !front.iter().any(|(other, _)| *other == plain) {
                let loss = |(place, bits): (usize, &Bits)| {
                    scores.losses[place].get(*bits as usize).copied().unwrap_or(0.0)
                };
                let loss = plain.iter().enumerate().map(loss).sum();
                front.push((plain.clone(), loss));
                front.sort_by_key(|(choices, _)| size(choices));
            }
            let fitting: Vec<usize> =
                (0..front.len()).filter(|place| size(&front[*place].0) <= budget).collect();
            if fitting.is_empty() {
                measure(&[0], &front, &mut outcomes)?;
                (0, false)
            } else {
                let mut last: Vec<usize> = fitting.iter().rev().take(JOINTLY).copied().collect();
                let place_of_plain = fitting.iter().copied().find(|place| front[*place].0 == plain);
                last.extend(
                    place_of_plain.filter(|place| !last.contains(place)).into_iter().collect::<Vec<_>>(),
                );
                measure(&last, &front, &mut outcomes)?;
                // By divergence if all have one, otherwise by SQNR.
                let all_have = last.iter().all(|place| outcomes[place].kl_mean.is_some());
                let harm = |place: &usize| match (all_have, outcomes[place]) {
                    (true, outcome) => outcome.kl_mean.unwrap_or(f64::INFINITY),
                    (false, outcome) => outcome.sqnr_db.map_or(f64::INFINITY, |sqnr| -sqnr),
                };
                let best = last.iter().copied().min_by(|one, other| harm(one).total_cmp(&harm(other)));
                (best.unwrap_or(0), true)
            }
        } else if self.arguments.min_accuracy.is_some() || self.arguments.max_drop.is_some() {
            // The smallest that is accurate enough: from the smallest on, since accuracy need not rise with size.
            let mut found = None;
            let (mut low, mut high) = (0, front.len() - 1);
            measure(&[high], &front, &mut outcomes)?;
            if self.is_accurate(&outcomes[&high]) {
                while low < high {
                    let middle = low.midpoint(high);
                    measure(&[middle], &front, &mut outcomes)?;
                    if self.is_accurate(&outcomes[&middle]) { high = middle } else { low = middle + 1 }
                }
                found = Some(high);
                for place in (high.saturating_sub(JOINTLY)..high).rev() {
                    measure(&[place], &front, &mut outcomes)?;
                    if self.is_accurate(&outcomes[&place]) {
                        found = Some(place);
                    }
                }
            }
            (found.unwrap_or(front.len() - 1), found.is_some())
        } else {
            let all: Vec<usize> = (0..front.len()).collect();
            let step = all.len().div_ceil(2 * JOINTLY);
            let some: Vec<usize> = all.into_iter().step_by(step.max(1)).collect();
            measure(&some, &front, &mut outcomes)?;
            let eight = vec![Bits::Eight; self.mixed.layers.len()];
            // Without a target: the mix that takes no more than 8 bits everywhere.
            let place =
                (0..front.len()).rev().find(|place| size(&front[*place].0) <= size(&eight)).unwrap_or(0);
            measure(&[place], &front, &mut outcomes)?;
            (place, true)
        };
        let most = front.iter().map(|(choices, _)| size(choices)).max().unwrap_or(1).max(1);
        let rows = front.iter().enumerate().map(|(place, (choices, loss))| FrontRow {
            bytes: size(choices),
            layers_at: Bits::ALL.map(|bits| choices.iter().filter(|choice| **choice == bits).count()),
            loss: *loss,
            outcome: outcomes.get(&place).copied(),
            is_chosen: place == chosen,
            share: size(choices) as f64 / most as f64,
        });
        let rows = rows.collect();
        Ok(Found { choices: front[chosen].0.clone(), is_reached, front: rows, samples, measured })
    }

    /// 8 bits everywhere, and 4 bits for the largest weights until the model fits.
    fn largest_first(&self, scores: &Scores, budget: u64) -> Vec<Bits> {
        let mut bits: Vec<Bits> = scores.pins.iter().map(|pin| pin.unwrap_or(Bits::Eight)).collect();
        let mut order: Vec<usize> = (0..bits.len()).filter(|place| scores.pins[*place].is_none()).collect();
        order.sort_by_key(|place| std::cmp::Reverse(self.mixed.layers[*place].parameters));
        for place in order {
            if self.size(&bits) <= budget {
                break;
            }
            bits[place] = Bits::Four;
        }
        bits
    }

    fn size(&self, choices: &[Bits]) -> u64 {
        let own: u64 = self.mixed.layers.iter().zip(choices).map(|(layer, bits)| layer.bytes(*bits)).sum();
        own + self.mixed.other_bytes
    }

    fn is_accurate(&self, outcome: &Outcome) -> bool {
        match (self.arguments.min_accuracy, self.arguments.max_drop) {
            (Some(least), _) => outcome.accuracy.is_some_and(|accuracy| accuracy >= least - 1e-12),
            (None, Some(most)) => outcome.lost.is_some_and(|lost| lost <= most + 1e-12),
            (None, None) => true,
        }
    }

    /// What models of these mixes predict, against the float model.
    fn run(
        &self,
        sets: &[Vec<Bits>],
        has_others: bool,
        stage: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Tally>> {
        let mut tallies = Vec::new();
        for group in sets.chunks(TOGETHER) {
            progress.update(stage, tallies.len() as u64, sets.len() as u64);
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            let models: Vec<Loaded> = group
                .iter()
                .map(|choices| {
                    let session = self.mixed.model(choices, has_others, progress)?;
                    Ok(self.playground.in_memory(self.model, session, &self.model.path))
                })
                .collect::<Result<_>>()?;
            tallies.extend(self.tallies(&models.iter().collect::<Vec<_>>(), progress)?.split_off(1));
        }
        Ok(tallies)
    }

    /// The float model's tally and those of the others.
    fn tallies(&self, models: &[&Loaded], progress: &dyn Progress) -> Result<Vec<Tally>> {
        let running = &self.arguments.evidence.running;
        let side = |model| Side::of(model, running.options(model), self.playground, progress);
        let sides: Vec<Side<'_>> =
            std::iter::once(self.model).chain(models.iter().copied()).map(side).collect();
        let input: &Input = &self.given.input;
        let batches =
            self.arguments.evidence.samples.for_outputs(input).batches(&sides.iter().collect::<Vec<_>>())?;
        let truth = self.given.labels.as_deref().map_or(Truth::Unknown, Truth::Labels);
        let plan = Plan { truth, output: None, top: 1, reference: Some(0) };
        match evaluation::evaluate(&sides, batches, plan, progress) {
            (tallies, None) => Ok(tallies),
            (_, Some(error)) => Err(error),
        }
    }

    fn outcome(&self, tally: &Tally, progress: &dyn Progress) -> Result<Outcome> {
        let agreement = tally.agreement.as_ref();
        let divergences =
            agreement.map(|agreement| &agreement.divergences[..]).filter(|list| !list.is_empty());
        let accuracy = self.given.labels.as_ref().map(|_| tally.correct as f64 / tally.samples.max(1) as f64);
        let lost = match accuracy {
            None => None,
            Some(accuracy) => {
                let float = self.tallies(&[], progress)?;
                float.first().map(|tally| tally.correct as f64 / tally.samples.max(1) as f64 - accuracy)
            }
        };
        Ok(Outcome {
            // A rounded softmax gives probabilities of 0, whose divergence is infinite and says nothing.
            kl_mean: divergences
                .map(|list| list.iter().sum::<f64>() / list.len() as f64)
                .filter(|divergence| divergence.is_finite()),
            sqnr_db: agreement.and_then(|agreement| agreement.errors.metrics().sqnr_db),
            accuracy,
            lost,
        })
    }
}

fn layer_rows(mixed: &Mixed<'_>, scores: &Scores, choices: &[Bits]) -> Vec<LayerRow> {
    let rows = mixed.layers.iter().zip(choices).enumerate().map(|(place, (layer, bits))| LayerRow {
        layer: layer.layer.clone(),
        op_type: layer.op_type.clone(),
        parameters: layer.parameters,
        bits: bits.word(),
        pin: scores.pins[place].map(Bits::word),
        four: Some(scores.losses[place][0]),
        eight: Some(scores.losses[place][1]),
        bytes: layer.bytes(*bits),
    });
    rows.collect()
}

fn report(found: &SearchReport) -> Report {
    let trust = match found.rank_correlation {
        Some(correlation) => format!("; rank correlation of the halves {}", number::rounded(correlation, 3)),
        None => String::new(),
    };
    let mut report = Report::of(found)
        .line(format!(
            "{} on {} of {}; wanted: {}",
            found.model,
            counted(usize::try_from(found.samples).unwrap_or(usize::MAX), "sample"),
            found.data,
            found.target
        ))
        .line(format!("{} measured{trust}", counted(found.models_measured, "model")))
        .table(Table::of(&found.layers))
        .table(Table::of(&found.front));
    if !found.is_reached {
        report = report.toned_line([(Tone::Warning, "no mix of these bits reaches it".to_owned())]);
    }
    if let Some(out) = &found.out {
        report = report.toned_line([(Tone::Plain, "written to ".to_owned()), (Tone::Name, out.clone())]);
    }
    report
}
