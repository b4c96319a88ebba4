//! Faults in the weights and biases of a candidate, found by comparing them with the reference's.

use super::{Cause, Fault};
use crate::backend::Progress;
use crate::error::{ErrorKind, Result};
use crate::inspect::contrast::values_in_reference_order;
use crate::inspect::elements::{ChannelRun, Elements};
use crate::inspect::graph::{Graph, Node};
use crate::inspect::pairing::{TensorPair, tensors};
use crate::inspect::survey;
use crate::inspect::weight::{Stored, channel_axis};
use crate::model::{LayerInfo, LayerKind, ModelInfo, TensorRole};
use crate::playground::Loaded;
use qp_analysis::{FitSums, LinearFit};
use std::collections::HashSet;

/// Weights closer than this to the reference's are what quantization normally gives.
const HEALTHY_DB: f64 = 20.0;
/// A channel below this is worse than with 4 bits.
const POOR_DB: f64 = 10.0;
/// Undoing the fault must bring the weights closer to the reference's by at least this much.
const EXPLAINED_DB: f64 = 10.0;
/// The corrected weights must be at least this close: about what 4 bits give.
const LEFT_DB: f64 = 15.0;
/// A factor this close to 1 does not count.
const NO_GAIN: f64 = 0.1;
/// A channel of zeros whose largest value was below this share of the weight's is not missed.
const FAINT: f64 = 0.02;
/// A channel whose largest value is below this many steps of a shared scale has too few of them.
const FEW_STEPS: f64 = 8.0;

/// The faults of all weights and biases.
///
/// # Errors
/// `Cancelled`.
pub(super) fn faults(reference: &Loaded, candidate: &Loaded, progress: &dyn Progress) -> Result<Vec<Cause>> {
    let pairs = tensors(reference.info(), candidate.info()).pairs;
    let (ours, theirs) = (normalized(reference.info()), normalized(candidate.info()));
    let is_folded = |pair: &TensorPair<'_>| {
        let is_in = |layers: &HashSet<&str>, stored: &Stored<'_>| {
            stored.layer.is_some_and(|layer| layers.contains(layer.path.as_str()))
        };
        is_in(&ours, &pair.reference) && !is_in(&theirs, &pair.candidate)
    };
    let pairs: Vec<TensorPair<'_>> =
        pairs.into_iter().filter(|pair| is_comparable(pair) && !is_folded(pair)).collect();
    let sizes: Vec<u64> = pairs.iter().map(|pair| pair.reference.tensor.bytes).collect();
    let found = survey::each(&sizes, "comparing weights", progress, |index| {
        Contrast::of(reference, candidate, &pairs[index], progress)
            .map(|contrast| contrast.fault(&pairs[index]))
    })?;
    let mut causes = Vec::new();
    for (pair, found) in pairs.iter().zip(found) {
        let fault = match found {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            // Unreadable weights are not a fault of the numbers.
            Err(_) | Ok(None) => continue,
            Ok(Some(fault)) => fault,
        };
        let Some(layer) = pair.reference.layer else { continue };
        let own = pair.candidate.layer.unwrap_or(layer);
        let (layer, candidate_layer) = (layer.path.clone(), own.path.clone());
        causes.push(Cause { layer, candidate_layer, is_input: false, fault });
    }
    Ok(causes)
}

/// Layers followed by a batch normalization: quantizers fold it into the weights, which then differ.
fn normalized(info: &ModelInfo) -> HashSet<&str> {
    let graph = Graph::of(info, false);
    let is_normalization = |node: usize| matches!(graph.nodes[node], Node::Layer(layer) if layer.kind == LayerKind::BatchNormalization);
    let edges = graph.edges.iter().filter(|edge| is_normalization(edge.to));
    edges.map(|edge| graph.nodes[edge.from].name()).collect()
}

fn is_comparable(pair: &TensorPair<'_>) -> bool {
    let (reference, candidate) = (pair.reference.tensor, pair.candidate.tensor);
    reference.role == TensorRole::Parameter
        && reference.quantization.is_none()
        && reference.element_count() >= 4
        && candidate.is_quantized()
}

/// The numbers of a pair by output channel.
struct Contrast {
    channels: Vec<Channel>,
    /// All of them with the input channels in reversed order, for a weight with three of them.
    reversed: Option<FitSums>,
}

#[derive(Clone, Copy, Default)]
struct Channel {
    sums: FitSums,
    reference_max: f64,
    candidate_max: f64,
}

impl Contrast {
    fn of(
        reference: &Loaded,
        candidate: &Loaded,
        pair: &TensorPair<'_>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let tensor = pair.reference.tensor;
        let found = values_in_reference_order(candidate, pair, progress)?;
        let axis = channel_axis(pair.reference.layer, tensor).unwrap_or(0);
        // Of a convolution that reads pictures.
        let mut reversed = match tensor.shape[..] {
            [_, 3, height, width] => {
                usize::try_from(height * width).ok().map(|plane| (plane, FitSums::default()))
            }
            _ => None,
        };
        let add = &mut |channel: &mut Channel, ChannelRun { first, numbers, .. }: ChannelRun<'_>| {
            let start = usize::try_from(first).unwrap_or(usize::MAX);
            channel.add(numbers, found.get(start..).unwrap_or_default());
            if let Some((plane, sums)) = &mut reversed {
                for (index, number) in (start..).zip(numbers) {
                    let (kernel, rest) = (index / (3 * *plane), index % (3 * *plane));
                    let mirrored = (3 * kernel + 2 - rest / *plane) * *plane + rest % *plane;
                    sums.add(&[*number], found.get(mirrored..).unwrap_or_default());
                }
            }
        };
        let elements = Elements::values(reference, tensor, progress)?;
        let channels = elements.fold_channels(axis, &Channel::default(), progress, add)?;
        Ok(Self { channels, reversed: reversed.map(|(_, sums)| sums) })
    }

    /// All channels together.
    fn whole(&self) -> Option<LinearFit> {
        let mut whole = FitSums::default();
        self.channels.iter().for_each(|channel| whole.merge(&channel.sums));
        whole.fit()
    }

    /// The fault that turns the reference's numbers into the candidate's; `None` if there is none, or no known one: weights
    /// that were trained further, or that hold a folded normalization, differ in other ways.
    fn fault(&self, pair: &TensorPair<'_>) -> Option<Fault> {
        let largest = self.channels.iter().map(|channel| channel.reference_max).fold(0.0, f64::max);
        let scales =
            pair.candidate.tensor.quantization.as_ref().map(|codes| &codes.scales[..]).unwrap_or_default();
        let scale_of =
            |place: usize| if scales.len() == 1 { scales.first() } else { scales.get(place) }.copied();
        // Zeros from rounding values below half a step are not a fault of their own.
        let is_lost = |(place, channel): &(usize, &Channel)| {
            let own = channel.reference_max;
            channel.candidate_max == 0.0
                && own > FAINT * largest
                && scale_of(*place).is_none_or(|scale| own > scale / 2.0)
        };
        let zeros: Vec<usize> =
            self.channels.iter().enumerate().filter(is_lost).map(|(place, _)| place).collect();
        let is_bias = is_bias(pair);
        if !zeros.is_empty() && !is_bias {
            return Some(Fault::ZeroChannels { channels: zeros.len() as u64, first: zeros[0] as u64 });
        }
        let whole = self.whole()?;
        if whole.sqnr_db < HEALTHY_DB {
            if let Some(fault) = named(&whole, scale_of(0), is_bias) {
                return Some(fault);
            }
            let reversed = self.reversed.as_ref().and_then(FitSums::fit);
            if reversed.is_some_and(|fit| fit.sqnr_db > whole.sqnr_db + EXPLAINED_DB) {
                return Some(Fault::SwappedChannels);
            }
        }
        let fits: Vec<(usize, LinearFit)> = self
            .channels
            .iter()
            .enumerate()
            .filter_map(|(place, channel)| Some((place, channel.sums.fit()?)))
            .collect();
        let poor: Vec<&(usize, LinearFit)> = fits.iter().filter(|(_, fit)| fit.sqnr_db < POOR_DB).collect();
        let (first, fit) = *poor.first()?;
        // If most channels differ, the weights are different; if some do, and the others are close, something was done to
        // these.
        let near = fits.iter().filter(|(_, fit)| fit.sqnr_db >= LEFT_DB).count();
        if near + poor.len() == fits.len()
            && near >= poor.len()
            && let Some(fault) = named(fit, scale_of(*first), is_bias)
        {
            return Some(match fault {
                Fault::WeightScale { factor, .. } => {
                    Fault::WeightScale { factor, channels: Some((poor.len() as u64, *first as u64)) }
                }
                fault => fault,
            });
        }
        let scale = scales.first().filter(|_| scales.len() == 1 && self.channels.len() > 1)?;
        let has_few =
            |(place, _): &&&(usize, LinearFit)| self.channels[*place].reference_max < FEW_STEPS * scale;
        let narrow = poor.iter().filter(has_few).count();
        (narrow > 0 && whole.sqnr_db > 0.0)
            .then_some(Fault::SharedScale { channels: narrow as u64, of: self.channels.len() as u64 })
    }
}

impl Channel {
    /// Adds the reference's numbers, and as many of the candidate's.
    fn add(&mut self, reference: &[f64], candidate: &[f64]) {
        self.sums.add(reference, candidate);
        let largest = |so_far: f64, numbers: &[f64]| {
            numbers.iter().take(reference.len()).fold(so_far, |largest, number| largest.max(number.abs()))
        };
        self.reference_max = largest(self.reference_max, reference);
        self.candidate_max = largest(self.candidate_max, candidate);
    }
}

/// A factor or an offset that explains the difference.
fn named(fit: &LinearFit, scale: Option<f64>, is_bias: bool) -> Option<Fault> {
    if fit.fitted_sqnr_db < fit.sqnr_db + EXPLAINED_DB || fit.fitted_sqnr_db < LEFT_DB || fit.gain <= 0.0 {
        return None;
    }
    if (fit.gain - 1.0).abs() > NO_GAIN {
        return Some(match is_bias {
            true => Fault::BiasScale { factor: fit.gain },
            false => Fault::WeightScale { factor: fit.gain, channels: None },
        });
    }
    // real = (code − zero point) · scale: values one step too large have a zero point one too small.
    let steps = -fit.offset / scale?;
    (!is_bias && steps.abs() >= 1.5).then_some(Fault::WeightZeroPoint { steps })
}

fn is_bias(pair: &TensorPair<'_>) -> bool {
    let of = |layer: Option<&LayerInfo>, name: &str| {
        layer.is_some_and(|layer| layer.weights.iter().any(|used| used.is_bias && used.tensor == name))
    };
    of(pair.reference.layer, &pair.reference.tensor.name)
        || of(pair.candidate.layer, &pair.candidate.tensor.name)
        || pair.reference.tensor.shape.len() == 1
}
