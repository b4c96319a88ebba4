//! Mixes of bits, measured.

use super::Arguments;
use super::declaration::FrontRow;
use super::scores::Scores;
use crate::backend::Progress;
use crate::capture::evaluation::Tally;
use crate::commands::arguments::against::{Against, Outcome, in_groups};
use crate::error::{Error, Result};
use crate::playground::{Loaded, Playground};
use crate::quantization::{Bits, Mixed};
use qp_analysis::allocation::{Allocation, allocate, convex_front};
use qp_analysis::rank_correlation;

/// The candidates for a size that are measured jointly: sums of single losses are an approximation.
const JOINTLY: usize = 4;

/// A float model, its mixes, and what they are measured on.
pub(super) struct Bench<'a> {
    pub(super) arguments: &'a Arguments,
    /// The float model and the samples.
    pub(super) against: Against<'a>,
    pub(super) mixed: &'a Mixed<'a>,
    pub(super) playground: &'a Playground,
}

/// The mix that was chosen, among the others.
pub(super) struct Found {
    pub(super) choices: Vec<Bits>,
    pub(super) is_reached: bool,
    pub(super) front: Vec<FrontRow>,
    pub(super) samples: u64,
    pub(super) measured: usize,
}

impl Bench<'_> {
    /// Each layer alone at 4, 8 and 16 bits, everything else in float; the scores are those of all samples, the halves say how far
    /// they can be trusted.
    pub(super) fn score(&self, progress: &dyn Progress) -> Result<Scores> {
        let count = self.mixed.layers.len();
        let alone = |place: usize, bits: Bits| -> Vec<Bits> {
            (0..count).map(|other| if other == place { bits } else { Bits::Float }).collect()
        };
        let sets: Vec<Vec<Bits>> =
            (0..count).flat_map(|place| Bits::CODES.map(|bits| alone(place, bits))).collect();
        let tallies = in_groups(&sets, "scoring layers", progress, |sets| {
            let models = self.models(sets, false, progress)?;
            let models: Vec<&Loaded> = models.iter().collect();
            Ok(self.against.tallies(&models, self.playground, progress)?.split_off(1))
        })?;
        let harms: Vec<[f64; 3]> = tallies.iter().map(harms).collect();
        let part = |index: usize| harms.iter().map(|harm| harm[index]).collect::<Vec<f64>>();
        Ok(Scores {
            losses: part(0).as_chunks::<3>().0.to_vec(),
            pins: vec![None; count],
            rank_correlation: rank_correlation(&part(1), &part(2)),
            measured: tallies.len(),
        })
    }

    /// The mix that reaches the target.
    pub(super) fn choose(&self, scores: &Scores, progress: &dyn Progress) -> Result<Found> {
        let mut front = Front::new(self, scores)?;
        let (chosen, is_reached) = match self.arguments.target_size {
            Some(budget) => front.of_size(budget, scores, progress)?,
            None if self.arguments.asks_for_accuracy() => front.accurate(progress)?,
            None => front.without_target(progress)?,
        };
        Ok(front.found(chosen, is_reached))
    }

    /// Bytes of everything that is stored, without scales.
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

    /// Models of these mixes.
    fn models(&self, sets: &[Vec<Bits>], has_others: bool, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let model = self.against.reference;
        let of = |choices: &Vec<Bits>| {
            let session = self.mixed.model(choices, has_others, progress)?;
            Ok(self.playground.in_memory(model, session, &model.path))
        };
        sets.iter().map(of).collect()
    }
}

/// Bits for each layer.
struct Mix {
    bits: Vec<Bits>,
    /// The sum of the scores.
    loss: f64,
    outcome: Option<Outcome>,
}

impl Mix {
    fn of(allocation: &Allocation) -> Self {
        let bits = allocation.choices.iter().map(|index| Bits::ALL[*index]).collect();
        Self { bits, loss: allocation.loss, outcome: None }
    }
}

/// The mixes that no other beats by the sum of their scores, the smallest first, and some more.
struct Front<'a> {
    bench: &'a Bench<'a>,
    mixes: Vec<Mix>,
    measured: usize,
}

impl<'a> Front<'a> {
    fn new(bench: &'a Bench<'a>, scores: &Scores) -> Result<Self> {
        let mixes: Vec<Mix> = convex_front(&scores.choices(bench.mixed)).iter().map(Mix::of).collect();
        match mixes.is_empty() {
            true => Err(Error::invalid_input("the pins leave a layer no choice")),
            false => Ok(Self { bench, mixes, measured: 0 }),
        }
    }

    fn size(&self, place: usize) -> u64 {
        self.bench.size(&self.mixes[place].bits)
    }

    /// Adds a mix in the order of sizes, unless it is there.
    fn add(&mut self, mix: Mix) {
        if !self.mixes.iter().any(|other| other.bits == mix.bits) {
            let size = self.bench.size(&mix.bits);
            let place = self.mixes.partition_point(|other| self.bench.size(&other.bits) <= size);
            self.mixes.insert(place, mix);
        }
    }

    /// Measures the mixes at these places that have not been measured.
    fn measure(&mut self, places: &[usize], progress: &dyn Progress) -> Result<()> {
        let new: Vec<usize> =
            places.iter().copied().filter(|place| self.mixes[*place].outcome.is_none()).collect();
        let sets: Vec<Vec<Bits>> = new.iter().map(|place| self.mixes[*place].bits.clone()).collect();
        let bench = self.bench;
        let outcomes = in_groups(&sets, "measuring mixes", progress, |sets| {
            let models = bench.models(sets, true, progress)?;
            bench.against.outcomes(&models.iter().collect::<Vec<_>>(), bench.playground, progress)
        })?;
        self.measured += outcomes.len();
        for (place, outcome) in new.into_iter().zip(outcomes) {
            self.mixes[place].outcome = Some(outcome);
        }
        Ok(())
    }

    fn outcome(&self, place: usize) -> Outcome {
        self.mixes[place].outcome.unwrap_or_default()
    }

    /// The best of those near the size; false if none is as small.
    fn of_size(&mut self, budget: u64, scores: &Scores, progress: &dyn Progress) -> Result<(usize, bool)> {
        let room = budget.saturating_sub(self.bench.mixed.other_bytes) as f64;
        // The exact optimum of the sums, which may lie between two of the front.
        if let Some(best) = allocate(&scores.choices(self.bench.mixed), room) {
            self.add(Mix::of(&best.allocation));
        }
        // The plain rule, largest weight first, is a candidate like the others: sums of single losses can be wrong.
        let plain = self.bench.largest_first(scores, budget);
        let loss = plain.iter().enumerate().map(|(place, bits)| scores.loss(place, *bits)).sum();
        self.add(Mix { bits: plain.clone(), loss, outcome: None });
        let mut fitting: Vec<usize> =
            (0..self.mixes.len()).filter(|place| self.size(*place) <= budget).collect();
        if fitting.is_empty() {
            self.measure(&[0], progress)?;
            return Ok((0, false));
        }
        let first = fitting.len().saturating_sub(JOINTLY);
        let mut place = 0;
        fitting.retain(|candidate| {
            place += 1;
            place > first || self.mixes[*candidate].bits == plain
        });
        self.measure(&fitting, progress)?;
        // By divergence if all have one, otherwise by SQNR.
        let all_have = fitting.iter().all(|place| self.outcome(*place).kl_mean.is_some());
        let harm = |place: usize| match (all_have, self.outcome(place)) {
            (true, outcome) => outcome.kl_mean.unwrap_or(f64::INFINITY),
            (false, outcome) => outcome.sqnr_db.map_or(f64::INFINITY, |sqnr| -sqnr),
        };
        let best = fitting.iter().copied().min_by(|one, other| harm(*one).total_cmp(&harm(*other)));
        Ok((best.unwrap_or(0), true))
    }

    /// The smallest that is accurate enough; false and the largest if none is.
    fn accurate(&mut self, progress: &dyn Progress) -> Result<(usize, bool)> {
        let is_accurate = |front: &mut Self, place: usize| -> Result<bool> {
            front.measure(&[place], progress)?;
            Ok(front.bench.is_accurate(&front.outcome(place)))
        };
        let (mut low, mut high) = (0, self.mixes.len() - 1);
        if !is_accurate(self, high)? {
            return Ok((high, false));
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_accurate(self, middle)? { high = middle } else { low = middle + 1 }
        }
        // Accuracy need not rise with size: a few smaller ones may be accurate enough as well.
        for place in (high.saturating_sub(JOINTLY)..high).rev() {
            if is_accurate(self, place)? {
                high = place;
            }
        }
        Ok((high, true))
    }

    /// Some of them measured; the largest that takes no more than 8 bits everywhere.
    fn without_target(&mut self, progress: &dyn Progress) -> Result<(usize, bool)> {
        let step = self.mixes.len().div_ceil(2 * JOINTLY).max(1);
        let most = self.bench.size(&vec![Bits::Eight; self.bench.mixed.layers.len()]);
        let chosen = (0..self.mixes.len()).rev().find(|place| self.size(*place) <= most).unwrap_or(0);
        let some: Vec<usize> = (0..self.mixes.len()).step_by(step).chain([chosen]).collect();
        self.measure(&some, progress)?;
        Ok((chosen, true))
    }

    fn found(self, chosen: usize, is_reached: bool) -> Found {
        let sizes: Vec<u64> = (0..self.mixes.len()).map(|place| self.size(place)).collect();
        let most = sizes.iter().copied().max().unwrap_or(1).max(1);
        let samples = self.outcome(chosen).samples;
        let choices = self.mixes[chosen].bits.clone();
        let row = |(place, mix): (usize, Mix)| FrontRow {
            bytes: sizes[place],
            layers_at: Bits::ALL.map(|bits| mix.bits.iter().filter(|choice| **choice == bits).count()),
            loss: mix.loss,
            outcome: mix.outcome,
            is_chosen: place == chosen,
            share: sizes[place] as f64 / most as f64,
        };
        let front = self.mixes.into_iter().enumerate().map(row).collect();
        Found { choices, is_reached, front, samples, measured: self.measured }
    }
}

/// The mean divergence of all samples, of the first half and of the second; for an output that is no scores of classes, the
/// relative squared error.
fn harms(tally: &Tally) -> [f64; 3] {
    let Some(agreement) = &tally.agreement else { return [0.0; 3] };
    let divergences = &agreement.divergences[..];
    if divergences.is_empty() {
        let error = agreement.errors.metrics().relative_l2.unwrap_or(0.0);
        return [error * error; 3];
    }
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
    let (first, second) = divergences.split_at(divergences.len() / 2);
    [mean(divergences), mean(first), mean(second)]
}
