//! Mixes of bits, measured.

use super::declaration::{FrontRow, Outcome};
use super::scores::Scores;
use super::{Arguments, JOINTLY, TOGETHER};
use crate::backend::Progress;
use crate::capture::Side;
use crate::capture::evaluation;
use crate::capture::evaluation::{Plan, Tally, Truth};
use crate::commands::arguments::evidence::Given;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::playground::{Loaded, Playground};
use crate::quantization::{Bits, Mixed};
use qp_analysis::allocation::{allocate, convex_front};
use qp_analysis::rank_correlation;
use std::collections::HashMap;

pub(super) struct Found {
    pub(super) choices: Vec<Bits>,
    pub(super) is_reached: bool,
    pub(super) front: Vec<FrontRow>,
    pub(super) samples: u64,
    pub(super) measured: usize,
}

pub(super) struct Bench<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) model: &'a Loaded,
    pub(super) given: &'a Given,
    pub(super) mixed: &'a Mixed<'a>,
    pub(super) playground: &'a Playground,
}

impl Bench<'_> {
    /// Each layer alone at 4 and at 8 bits, everything else in float; the scores are those of all samples, the halves say how far
    /// they can be trusted.
    pub(super) fn score(&self, progress: &dyn Progress) -> Result<Scores> {
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
    pub(super) fn choose(&self, scores: &Scores, progress: &dyn Progress) -> Result<Found> {
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
