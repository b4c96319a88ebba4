//! Whether the ranges of the candidate's codes fit the values that the reference computes.

use super::{Cause, Fault};
use crate::backend::Progress;
use crate::capture::pairing::{ActivationPair, Activations};
use crate::capture::real::Real;
use crate::capture::streaming::{each_tensor, groups};
use crate::capture::{Feed, Side};
use crate::error::Result;
use crate::inspect::graph::Graph;
use crate::inspect::range::{Beyond, representable};
use crate::model::{LayerInfo, LayerKind, ModelInfo, QuantizationParameters, ValueInfo};
use crate::playground::Loaded;
use qp_analysis::{RangeCount, Statistics, ValueRange};
use std::collections::HashMap;

/// No calibration clips more than this share on purpose.
const CLIPPED_SHARE: f64 = 0.01;
/// A range below this share of the values' range was calibrated for other values; clipping cuts less.
const NARROW: f64 = 0.7;
/// If more of the values become 0, a few extreme ones have set the range.
const LOST_SHARE: f64 = 0.5;
/// A range this many times too wide costs two bits.
const TOO_WIDE: f64 = 4.0;
/// The same for an input: a few samples may be darker than those of the calibration.
const INPUT_TOO_WIDE: f64 = 8.0;
/// A shifted range leaves at least this share of the codes unused, and of the values outside.
const UNUSED: f64 = 0.2;
/// Memory for the values that are captured together.
const BUDGET: u64 = 64 << 20;

/// The range of the reference's values on some samples, and how many lie outside the candidate's codes.
#[derive(Default)]
pub struct Observed {
    values: HashMap<String, Seen>,
}

#[derive(Default)]
struct Seen {
    statistics: Statistics,
    within: RangeCount,
    /// Values that are rounded to 0, zeros included.
    lost: RangeCount,
}

impl Observed {
    /// Runs the reference on the samples and observes all values that have a partner in the candidate.
    ///
    /// # Errors
    /// Those of the backend; `Cancelled`.
    pub fn of(
        side: &Side<'_>,
        values: &Activations<'_>,
        feed: Feed<'_>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let ranges: HashMap<&str, Option<Reach>> = values
            .pairs
            .iter()
            .filter_map(|pair| {
                let codes = pair.candidate_value.quantization.filter(|codes| !codes.is_dynamic)?;
                Some((pair.reference_value.name, Reach::of(codes)))
            })
            .collect();
        let mut names: Vec<String> = ranges.keys().map(|name| (*name).to_owned()).collect();
        names.sort_unstable();
        let mut observed = Self::default();
        if names.is_empty() {
            return Ok(observed);
        }
        let groups = groups(side, &names, feed.batch, BUDGET);
        let streamed = each_tensor(side, &groups, feed, progress, &mut |tensor| {
            let Ok(real) = Real::of(tensor, tensor.quantization.as_ref()) else { return Ok(()) };
            let seen = observed.values.entry(tensor.name.clone()).or_default();
            seen.add(&real, ranges.get(tensor.name.as_str()).copied().flatten());
            Ok(())
        })?;
        streamed.stopped.map_or(Ok(observed), Err)
    }

    /// Adds the values of the candidate's inputs.
    ///
    /// # Errors
    /// Those of fitting.
    pub fn add_inputs(&mut self, candidate: &Side<'_>, feed: Feed<'_>) -> Result<()> {
        let rounded: Vec<RoundedInput<'_>> = RoundedInput::all(candidate.model.info());
        if rounded.is_empty() {
            return Ok(());
        }
        for (_, batch) in feed.batches(&[candidate])? {
            for tensor in candidate.fit(&batch)? {
                let Some(input) = rounded.iter().find(|input| input.name == tensor.name) else { continue };
                let Ok(real) = Real::of(&tensor, tensor.quantization.as_ref()) else { continue };
                self.values.entry(tensor.name.clone()).or_default().add(&real, Reach::of(input.codes));
            }
        }
        Ok(())
    }

    /// The pairs whose codes begin at 0 where the reference's values do not: the codes cut them off as a ReLU does.
    pub fn rectified<'p, 'a>(
        &'p self,
        values: &'p Activations<'a>,
    ) -> impl Iterator<Item = &'p ActivationPair<'a>> {
        values.pairs.iter().filter(|pair| {
            let codes = pair.candidate_value.quantization.and_then(representable);
            let seen = self.values.get(pair.reference_value.name);
            codes.is_some_and(|(low, _)| low == 0.0)
                && seen.and_then(|seen| seen.statistics.min()).is_some_and(|least| least < 0.0)
        })
    }
}

/// What codes can represent: all of it, and what becomes 0.
#[derive(Clone, Copy)]
struct Reach {
    all: ValueRange,
    zero: ValueRange,
}

impl Reach {
    fn of(codes: &QuantizationParameters) -> Option<Self> {
        let (low, high) = representable(codes)?;
        let half = codes.scales.first().filter(|_| codes.scales.len() == 1)? / 2.0;
        Some(Self { all: ValueRange::new(low, high)?, zero: ValueRange::new(-half, half)? })
    }
}

impl Seen {
    fn add(&mut self, real: &Real<'_>, reach: Option<Reach>) {
        real.each(&mut |numbers| {
            self.statistics.add(numbers);
            if let Some(reach) = reach {
                self.within.add(numbers, reach.all);
                self.lost.add(numbers, reach.zero);
            }
        });
    }

    /// The share of the values other than 0 that become 0.
    fn lost_share(&self) -> f64 {
        let zeros = self.statistics.zero_count();
        let lost = self.lost.inside().saturating_sub(zeros);
        lost as f64 / self.lost.count().saturating_sub(zeros).max(1) as f64
    }
}

/// An input that is rounded before anything computes with it.
struct RoundedInput<'a> {
    name: &'a str,
    codes: &'a QuantizationParameters,
    /// The layer that reads it.
    reader: &'a str,
}

impl<'a> RoundedInput<'a> {
    fn all(info: &'a ModelInfo) -> Vec<Self> {
        let graph = Graph::of(info, false);
        let of = |(node, input): (usize, &'a ValueInfo)| {
            let edge = graph.outgoing(node).find(|edge| edge.quantization.is_some())?;
            let codes = edge.quantization.filter(|codes| !codes.is_dynamic)?;
            Some(Self { name: &input.name, codes, reader: graph.nodes[edge.to].name() })
        };
        info.inputs.iter().enumerate().filter_map(of).collect()
    }
}

/// Ranges that do not fit the values.
pub(super) fn faults(candidate: &Loaded, values: &Activations<'_>, observed: &Observed) -> Vec<Cause> {
    let mut causes = of_inputs(candidate.info(), values, observed);
    let graph = Graph::of(candidate.info(), false);
    // Layers that pass on their input's codes have no range of their own.
    let passes_on = |layer: &LayerInfo, codes: &QuantizationParameters| {
        let computes = matches!(
            layer.kind,
            LayerKind::Convolution | LayerKind::Linear | LayerKind::Addition | LayerKind::Multiplication
        );
        let mut data = graph.layer(&layer.path).into_iter().flat_map(|node| graph.incoming(node));
        !computes
            && data.any(|edge| {
                edge.is_data && edge.quantization.is_some_and(|own| own.gives_the_values_of(codes))
            })
    };
    for pair in &values.pairs {
        let Some(codes) = pair.candidate_value.quantization.filter(|codes| !codes.is_dynamic) else {
            continue;
        };
        let Some(seen) = observed.values.get(pair.reference_value.name) else { continue };
        // A layer that only moves values has the range of its reader.
        let only_moves = matches!(
            pair.reference.kind,
            LayerKind::Movement | LayerKind::Identity | LayerKind::Concatenation | LayerKind::Constant
        );
        if only_moves || passes_on(pair.candidate, codes) {
            continue;
        }
        if let Some(fault) = fault(codes, seen, TOO_WIDE) {
            let (layer, candidate_layer) = (pair.reference.path.clone(), pair.candidate.path.clone());
            causes.push(Cause { layer, candidate_layer, is_input: false, fault });
        }
    }
    causes
}

/// The inputs, each under the layer that reads it.
fn of_inputs(info: &ModelInfo, values: &Activations<'_>, observed: &Observed) -> Vec<Cause> {
    let of = |RoundedInput { name, codes, reader }: RoundedInput<'_>| {
        let fault = fault(codes, observed.values.get(name)?, INPUT_TOO_WIDE)?;
        let pair = values.pairs.iter().find(|pair| pair.candidate.path == reader);
        let layer = pair.map_or(reader, |pair| pair.reference.path.as_str()).to_owned();
        Some(Cause { layer, candidate_layer: reader.to_owned(), is_input: true, fault })
    };
    RoundedInput::all(info).into_iter().filter_map(of).collect()
}

fn fault(codes: &QuantizationParameters, seen: &Seen, too_wide: f64) -> Option<Fault> {
    let (low, high) = representable(codes)?;
    let scale = codes.scales.first().filter(|_| codes.scales.len() == 1)?;
    let range = ValueRange::new(low, high)?;
    let (mut least, mut most) = (seen.statistics.min()?, seen.statistics.max()?);
    // Codes that begin at 0 act as a ReLU, and codes that end at 6 as a ReLU6: what they cut off is meant to be.
    if low == 0.0 {
        least = least.max(0.0);
        if (high - 6.0).abs() < 6e-4 {
            most = most.min(6.0);
        }
    }
    let (codes_width, width) = (high - low, most - least);
    if width <= 0.0 || codes_width <= 0.0 {
        return None;
    }
    let (codes, values) = ((low, high), (least, most));
    let share = Beyond::new(range, &seen.within).clipped_share.unwrap_or(0.0);
    let unused = ((least - low).max(0.0) + (high - most).max(0.0)) / codes_width;
    let lost = seen.lost_share();
    // Probabilities are small where there are many classes, whatever the range.
    let are_probabilities = low >= 0.0 && high <= 1.01;
    if lost > LOST_SHARE && !are_probabilities {
        return Some(Fault::Extreme { codes, share: lost });
    }
    let overhang = (low - least).max(most - high) / width;
    if share > CLIPPED_SHARE && overhang > UNUSED && unused > UNUSED {
        let steps = ((least + most) - (low + high)) / 2.0 / scale;
        return Some(Fault::ZeroPoint { steps, codes, values });
    }
    if share > CLIPPED_SHARE && codes_width < NARROW * width {
        return Some(Fault::Clipped { codes, values, share });
    }
    (codes_width > too_wide * width).then_some(Fault::TooWide { codes, values })
}
