//! Pairs the leftover layers by what they compute from the same input.
//!
//! Two backends give the same layer different names, cut a network into layers differently, and order dimensions
//! differently. What the leftover layers compute from one batch still shows which are the same: the values that agree
//! best, in graph order.

use super::follow::{Followed, Follower, Partner};
use super::order::Order;
use super::pairing::{ActivationPair, Activations};
use super::real::Real;
use super::side::{OnlyCancel, Side};
use crate::backend::{Fetch, Progress, Spare};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::inspect::pairing::Ground;
use crate::model::{LayerInfo, LayerKind, QuantizationParameters, Tensor};
use qp_analysis::align;
use std::collections::HashMap;

/// Values that agree less are not paired: an SQNR of 6 dB gives a concordance of about 0.9.
const LEAST_CONCORDANCE: f64 = 0.9;
/// With fewer elements, agreement means little.
const LEAST_ELEMENTS: usize = 8;
/// How many elements of a value are compared.
const MOST_ELEMENTS: usize = 1 << 14;
/// How many layers of a side are compared: each is compared with each of the other side.
const MOST_LAYERS: usize = 512;
/// Of two layers that compute the same values, the one of the same kind is the partner.
const SAME_KIND: f64 = 1e-3;

/// What a layer computed from the batch.
struct Computed<'a> {
    layer: &'a LayerInfo,
    value: Followed<'a>,
    values: Vec<f64>,
    shape: Vec<u64>,
}

/// Adds pairs of leftover layers, whose values both models compute for `batch`.
///
/// If a backend cannot deliver a value, all pairs stay as they are: those found by names do not depend on it.
///
/// # Errors
/// `Cancelled`.
pub fn pair<'a>(
    found: &mut Activations<'a>,
    reference: &Side<'a>,
    candidate: &Side<'a>,
    batch: &Input,
    progress: &dyn Progress,
) -> Result<()> {
    if found.unmatched_reference.is_empty() || found.unmatched_candidate.is_empty() {
        return Ok(());
    }
    progress.update("pairing layers by what they compute", 0, 0);
    let both = computed(reference, &found.unmatched_reference, batch, progress)
        .and_then(|ours| Ok((ours, computed(candidate, &found.unmatched_candidate, batch, progress)?)));
    let (references, candidates) = match both {
        Err(error) if error.kind() != ErrorKind::Cancelled => return Ok(()),
        both => both?,
    };
    let mut agreements: HashMap<(usize, usize), (Order, f64)> = HashMap::new();
    for (left, ours) in references.iter().enumerate() {
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        for (right, theirs) in candidates.iter().enumerate() {
            let agreement = Order::of_values((&ours.values, &ours.shape), (&theirs.values, &theirs.shape));
            if let Some((order, Some(concordance))) = agreement {
                agreements.insert((left, right), (order, concordance));
            }
        }
    }
    let mut aligned = align(references.len(), candidates.len(), |left, right| {
        let (_, concordance) = agreements.get(&(left, right))?;
        let is_alike = references[left].layer.is_like(candidates[right].layer);
        let bonus = if is_alike { SAME_KIND } else { 0.0 };
        (*concordance >= LEAST_CONCORDANCE).then_some(concordance - LEAST_CONCORDANCE + SAME_KIND + bonus)
    });
    // Branches that two exporters write in different orders cross: leftovers pair with whatever agrees best.
    let mut best: Vec<(usize, usize)> = agreements
        .iter()
        .filter(|(_, (_, concordance))| *concordance >= LEAST_CONCORDANCE)
        .map(|(pair, _)| *pair)
        .filter(|(left, right)| references[*left].layer.is_like(candidates[*right].layer))
        .collect();
    best.sort_by(|first, second| {
        agreements[second].1.total_cmp(&agreements[first].1).then(first.cmp(second))
    });
    for (left, right) in best {
        if !aligned.iter().any(|pair| pair.0 == left || pair.1 == right) {
            aligned.push((left, right));
        }
    }
    for (left, right) in aligned {
        let Some((order, concordance)) = agreements.get(&(left, right)) else { continue };
        let (ours, theirs) = (&references[left], &candidates[right]);
        found.pairs.push(ActivationPair {
            reference: ours.layer,
            candidate: theirs.layer,
            ground: Ground::by_value(*concordance),
            reference_value: ours.value.clone(),
            candidate_value: theirs.value.clone(),
            order: Some(*order),
        });
        found.unmatched_reference.retain(|layer| layer.path != ours.layer.path);
        found.unmatched_candidate.retain(|layer| layer.path != theirs.layer.path);
    }
    take_in(found, reference, candidate);
    let layers = &reference.model.info().layers;
    let place: HashMap<&str, usize> =
        layers.iter().enumerate().map(|(place, layer)| (layer.path.as_str(), place)).collect();
    found.pairs.sort_by_key(|pair| place.get(pair.reference.path.as_str()).copied());
    Ok(())
}

/// A leftover layer whose value is read only by a layer paired by value is part of that layer on the other side: an
/// addition, as part of an addition with ReLU.
fn take_in<'a>(found: &mut Activations<'a>, reference: &Side<'a>, candidate: &Side<'a>) {
    let Activations { pairs, unmatched_reference, unmatched_candidate } = found;
    let of_reference = Follower::new(reference.model.info(), &[]);
    unmatched_reference.retain(|layer| {
        let reader = reader(&of_reference, layer);
        let pair = pairs.iter_mut().find(|pair| {
            pair.ground.is_by_value() && reader.is_some_and(|reader| reader.path == pair.reference.path)
        });
        let Some(pair) = pair else { return true };
        pair.reference_value.through.insert(0, pair.reference);
        pair.reference = layer;
        false
    });
    let of_candidate = Follower::new(candidate.model.info(), &[]);
    unmatched_candidate.retain(|layer| {
        let reader = reader(&of_candidate, layer);
        let pair = pairs.iter_mut().find(|pair| {
            pair.ground.is_by_value() && reader.is_some_and(|reader| reader.path == pair.candidate.path)
        });
        let Some(pair) = pair else { return true };
        pair.candidate_value.through.insert(0, pair.candidate);
        pair.candidate = layer;
        false
    });
}

/// The only layer that reads a layer's value, if it only clips it.
fn reader<'a>(follower: &Follower<'a>, layer: &'a LayerInfo) -> Option<&'a LayerInfo> {
    let value = follower.follow(layer, &Partner::default())?;
    let reader = follower.only_reader(value.name)?;
    (reader.kind == LayerKind::Clamp).then_some(reader)
}

/// What layers compute from the batch, without values that are not real numbers or have too few elements.
fn computed<'a>(
    side: &Side<'a>,
    layers: &[&'a LayerInfo],
    batch: &Input,
    progress: &dyn Progress,
) -> Result<Vec<Computed<'a>>> {
    let follower = Follower::new(side.model.info(), &[]);
    let values = side.model.info().values_by_name();
    let is_tensor = |name: &str| values.get(name).is_none_or(|value| value.type_name.is_none());
    let wanted: Vec<_> = layers
        .iter()
        .take(MOST_LAYERS)
        .filter_map(|layer| follower.follow(layer, &Partner::default()).map(|value| (*layer, value)))
        .filter(|(_, value)| is_tensor(value.name))
        .collect();
    let mut names: Vec<String> = wanted.iter().map(|(_, value)| value.name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    let codes: HashMap<&str, _> = wanted.iter().map(|(_, value)| (value.name, value.quantization)).collect();
    let mut sketches = HashMap::new();
    let spare = Spare::default();
    let mut receive = |tensor: Tensor| {
        let quantization = codes.get(tensor.name.as_str()).copied().flatten();
        sketches.extend(sketch(&tensor, quantization).map(|sketch| (tensor.name, sketch)));
        spare.give(tensor.bytes);
        Ok(())
    };
    let fetch = Fetch::Named(names);
    let session = &side.model.session;
    session.run_each(
        &side.fit(batch)?,
        &fetch,
        &side.options,
        (&spare, &mut receive),
        &OnlyCancel(progress),
    )?;
    let computed = wanted.into_iter().filter_map(|(layer, value)| {
        let (values, shape) = sketches.get(value.name)?.clone();
        Some(Computed { layer, value, values, shape })
    });
    Ok(computed.collect())
}

/// The samples of a value that are compared, and their shape.
fn sketch(tensor: &Tensor, quantization: Option<&QuantizationParameters>) -> Option<(Vec<f64>, Vec<u64>)> {
    let real = Real::of(tensor, quantization.or(tensor.quantization.as_ref())).ok()?;
    let mut shape = tensor.shape.clone();
    let samples = usize::try_from(*shape.first()?).ok().filter(|samples| *samples > 0)?;
    let of_one = real.len() / samples;
    let kept = (MOST_ELEMENTS / of_one.max(1)).clamp(1, samples);
    *shape.first_mut()? = kept as u64;
    let values = real.first(kept * of_one);
    (values.len() >= LEAST_ELEMENTS).then_some((values, shape))
}
