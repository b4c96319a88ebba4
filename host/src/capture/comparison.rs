//! The errors of a candidate's layers against the reference's, taken as batches go by.

use super::batch::Batches;
use super::emulation::Emulation;
use super::order::Order;
use super::pairing::ActivationPair;
use super::real::Real;
use super::side::Side;
use crate::backend::{Fetch, Progress, RunReport};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::inspect::range::representable;
use crate::model::{DType, QuantizationParameters, Tensor};
use qp_analysis::{ErrorMetrics, RangeCount, ValueRange};
use std::collections::{HashMap, HashSet};
use std::num::NonZero;

/// How layers are computed alone, fed the reference's values.
pub enum Alone {
    /// Not at all.
    Not,
    /// By stand-ins in the reference's graph.
    Emulated(Box<Emulation>),
    /// By the candidate itself: each value that it computes gives way to the reference's (feature `substitute`).
    Substituted,
}

impl Alone {
    /// The stand-ins, where there are any.
    pub fn emulation(&self) -> Option<&Emulation> {
        match self {
            Self::Emulated(emulation) => Some(emulation),
            Self::Not | Self::Substituted => None,
        }
    }
}

/// What was found of one pair.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The sums over all elements of all samples.
    pub errors: ErrorMetrics,
    /// The same of the layer alone, fed the reference's values.
    pub local: ErrorMetrics,
    /// How many of the reference's values the candidate's codes can represent.
    pub within: RangeCount,
    /// How the candidate's elements lie, once it is known.
    pub order: Option<Order>,
    /// Whether the reference holds whole numbers that stand for nothing else: shapes, indices, masks are no activations.
    pub is_whole: bool,
    /// Why nothing was compared.
    pub obstacle: Option<Error>,
}

/// What was found of all pairs.
pub struct Comparison {
    /// One for each pair, in their order.
    pub compared: Vec<Compared>,
    /// How many samples were run.
    pub samples: u64,
    /// Why not all of the samples were run; what is here is of those that were.
    pub stopped: Option<Error>,
    /// What the reference's runtime said of the last batch.
    pub reference_run: Option<RunReport>,
    /// What the candidate's runtime said of the last batch.
    pub candidate_run: Option<RunReport>,
}

impl Comparison {
    /// Runs both models on the same samples, `batch` at a time, and compares the values of each pair. Memory holds
    /// the values of one batch of both.
    ///
    /// # Errors
    /// What the backends say; `Cancelled` before the first batch was compared.
    pub fn run(
        reference: &Side<'_>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        (input, samples, batch): (&Input, Option<u64>, u64),
        alone: &Alone,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let emulation = alone.emulation();
        let names = |value: fn(&ActivationPair<'_>) -> String| -> Fetch {
            let mut names: Vec<String> = pairs.iter().map(value).collect();
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            Fetch::Named(names)
        };
        let mut fetch_reference = names(|pair| pair.reference_value.name.to_owned());
        if let (Fetch::Named(names), Some(emulation)) = (&mut fetch_reference, emulation) {
            names.extend(emulation.layers.iter().filter_map(|stand_in| stand_in.value.clone()));
        }
        let session = emulation.map_or(&reference.model.session, |emulation| &emulation.session);
        let fetch_candidate = names(|pair| pair.candidate_value.name.to_owned());
        let batches = Batches::of(input, &[reference, candidate], samples, batch)?;
        let total = batches.samples();
        let mut comparison = Self {
            compared: vec![Compared::default(); pairs.len()],
            samples: 0,
            stopped: None,
            reference_run: None,
            candidate_run: None,
        };
        for (count, batch) in batches {
            progress.update("comparing samples", comparison.samples, total);
            // Two models side by side make better use of the cores than one after the other on all of them.
            let (ours, theirs) = std::thread::scope(|scope| {
                let ours = scope
                    .spawn(|| reference.run_on(session, &reference.fit(&batch)?, &fetch_reference, progress));
                let theirs = candidate.run(&batch, &fetch_candidate, progress);
                (ours.join().unwrap_or_else(|_| Err(Error::internal("a run panicked"))), theirs)
            });
            let (ours, theirs) = match (ours, theirs) {
                _ if progress.is_cancelled() => {
                    let error = Error::cancelled()
                        .with_cause(format!("{} of {total} samples were compared", comparison.samples));
                    if comparison.samples == 0 {
                        return Err(error);
                    }
                    comparison.stopped = Some(error);
                    break;
                }
                (ours, theirs) => (ours?, theirs?),
            };
            comparison.add(pairs, emulation, &ours.tensors, &theirs.tensors);
            if let Alone::Substituted = alone {
                let mut inputs = candidate.fit(&batch)?;
                inputs.extend(comparison.substitutes(pairs, &ours.tensors, &theirs.tensors));
                let session = &candidate.model.session;
                let outcome = candidate.run_on(session, &inputs, &fetch_candidate, progress);
                // When it was stopped, the next round says so.
                match outcome {
                    Ok(outcome) => comparison.add_substituted(pairs, &ours.tensors, &outcome.tensors),
                    Err(error) if !progress.is_cancelled() => return Err(error),
                    Err(_) => {}
                }
            }
            comparison.samples += count;
            comparison.reference_run = Some(ours.report);
            comparison.candidate_run = Some(theirs.report);
        }
        Ok(comparison)
    }

    /// The reference's values under the candidate's names, with the codes that the candidate rounds them to; those that
    /// lie in the same order.
    fn substitutes(
        &self,
        pairs: &[ActivationPair<'_>],
        references: &[Tensor],
        candidates: &[Tensor],
    ) -> Vec<Tensor> {
        let (references, candidates) = (by_name(references), by_name(candidates));
        let mut seen = HashSet::new();
        let given = pairs.iter().zip(&self.compared).filter_map(|(pair, compared)| {
            let reference = references.get(pair.reference_value.name)?;
            let candidate = candidates.get(pair.candidate_value.name)?;
            let is_alike = compared.obstacle.is_none()
                && compared.order == Some(Order::Same)
                && reference.shape == candidate.shape;
            if !is_alike || !seen.insert(pair.candidate_value.name) {
                return None;
            }
            let codes = codes_of(reference, pair.reference_value.quantization);
            let values = Real::of(reference, codes).ok()?.to_vec();
            Some(Tensor {
                name: pair.candidate_value.name.to_owned(),
                dtype: DType::FLOAT32,
                shape: candidate.shape.clone(),
                bytes: values.into_iter().flat_map(|value| (value as f32).to_le_bytes()).collect(),
                quantization: codes_of(candidate, pair.candidate_value.quantization).cloned(),
            })
        });
        given.collect()
    }

    /// Adds the errors of one batch; of layers that were emulated, those of the layer alone too.
    fn add(
        &mut self,
        pairs: &[ActivationPair<'_>],
        emulation: Option<&Emulation>,
        references: &[Tensor],
        candidates: &[Tensor],
    ) {
        let (references, candidates) = (by_name(references), by_name(candidates));
        self.each(pairs, |place, pair, compared| {
            if compared.obstacle.is_some() {
                return;
            }
            let reference = references.get(pair.reference_value.name);
            let candidate = candidates.get(pair.candidate_value.name);
            let Some((reference, candidate)) = reference.zip(candidate) else {
                compared.obstacle = Some(Error::internal("a value was not delivered"));
                return;
            };
            compared.obstacle = compared.add(pair, reference, candidate).err();
            let stand_in = emulation.and_then(|emulation| emulation.layers.get(place)?.value.as_deref());
            if let Some(alone) = stand_in.and_then(|name| references.get(name)) {
                // A stand-in has the reference's own form.
                compared.add_local(pair, reference, (alone, pair.reference_value.quantization));
            }
        });
    }

    /// Adds what the candidate's layers make of the reference's values.
    fn add_substituted(&mut self, pairs: &[ActivationPair<'_>], references: &[Tensor], alone: &[Tensor]) {
        let (references, alone) = (by_name(references), by_name(alone));
        self.each(pairs, |_, pair, compared| {
            let reference = references.get(pair.reference_value.name);
            let alone = alone.get(pair.candidate_value.name);
            if let (Some(reference), Some(alone), Some(Order::Same)) = (reference, alone, compared.order) {
                compared.add_local(pair, reference, (alone, pair.candidate_value.quantization));
            }
        });
    }

    /// Does a work for each pair, given its place, on all cores.
    fn each<'a>(
        &mut self,
        pairs: &'a [ActivationPair<'a>],
        work: impl Fn(usize, &ActivationPair<'a>, &mut Compared) + Sync,
    ) {
        // Neighbours are of about the same size: taken in turns, each thread has its share.
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(pairs.len().max(1));
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (place, (pair, compared)) in pairs.iter().zip(&mut self.compared).enumerate() {
            shares[place % threads].push((place, pair, compared));
        }
        let work = |share: Vec<_>| {
            share.into_iter().for_each(|(place, pair, compared)| work(place, pair, compared));
        };
        let work = &work;
        std::thread::scope(|scope| {
            let mut shares = shares.into_iter();
            let own = shares.next();
            for share in shares {
                scope.spawn(move || work(share));
            }
            own.into_iter().for_each(work);
        });
    }
}

fn by_name(tensors: &[Tensor]) -> HashMap<&str, &Tensor> {
    tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect()
}

/// What the codes of a delivered tensor mean: what the runtime says of them is so; a file may say less.
fn codes_of<'a>(
    tensor: &'a Tensor,
    described: Option<&'a QuantizationParameters>,
) -> Option<&'a QuantizationParameters> {
    tensor.quantization.as_ref().or(described)
}

impl Compared {
    /// Adds what a layer alone computes, with the parameters of its codes.
    fn add_local(
        &mut self,
        pair: &ActivationPair<'_>,
        reference: &Tensor,
        (alone, parameters): (&Tensor, Option<&QuantizationParameters>),
    ) {
        let reference = Real::of(reference, codes_of(reference, pair.reference_value.quantization));
        if let (Ok(reference), Ok(alone)) = (reference, Real::of(alone, codes_of(alone, parameters))) {
            reference.each_pair(&alone, |expected, found| {
                // Blocks of both are of one length.
                let _ = self.local.add(expected, found);
            });
        }
    }

    fn add(&mut self, pair: &ActivationPair<'_>, reference: &Tensor, candidate: &Tensor) -> Result<()> {
        let [reference_codes, candidate_codes] =
            [(reference, &pair.reference_value), (candidate, &pair.candidate_value)]
                .map(|(tensor, value)| codes_of(tensor, value.quantization));
        self.is_whole |=
            reference_codes.is_none() && (reference.dtype.is_integer() || reference.dtype == DType::BOOL);
        if self.is_whole {
            return Ok(());
        }
        for (tensor, codes) in [(reference, reference_codes), (candidate, candidate_codes)] {
            let other = if std::ptr::eq(tensor, reference) { candidate } else { reference };
            if tensor.dtype.is_integer() && other.dtype.is_float() && codes.is_none() {
                return Err(Error::invalid_input(format!(
                    "`{}` holds {} whose scale the file does not say",
                    tensor.name, tensor.dtype
                )));
            }
        }
        let (reference_shape, candidate_shape) = (&reference.shape, &candidate.shape);
        let reference = Real::of(reference, reference_codes)?;
        let candidate = Real::of(candidate, candidate_codes)?;
        let order = match self.order.or(pair.order) {
            Some(order) => order,
            None => find_order((&reference, reference_shape), (&candidate, candidate_shape))?,
        };
        self.order = Some(order);
        let range = candidate_codes.and_then(range_of);
        let mut mismatch = None;
        let mut add = |expected: &[f64], found: &[f64]| {
            mismatch = self.errors.add(expected, found).err().or(mismatch);
            if let Some(range) = range {
                self.within.add(expected, range);
            }
        };
        if order == Order::Same {
            reference.each_pair(&candidate, add);
        } else {
            add(&reference.to_vec(), &order.restored(&candidate.to_vec(), candidate_shape));
        }
        match mismatch {
            Some(mismatch) => Err(Error::internal(mismatch.to_string())),
            None => Ok(()),
        }
    }
}

/// The order of the candidate's elements: what the shapes say, and the values where shapes leave it open.
fn find_order(reference: (&Real<'_>, &[u64]), candidate: (&Real<'_>, &[u64])) -> Result<Order> {
    let mut fitting = Order::that_fit(reference.1, candidate.1);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(_)) => {
            let (ours, theirs) = (reference.0.to_vec(), candidate.0.to_vec());
            Ok(Order::of_values((&ours, reference.1), (&theirs, candidate.1)).map_or(first, |found| found.0))
        }
        (None, _) => Err(Error::invalid_input(format!(
            "the shapes {:?} and {:?} do not belong together",
            reference.1, candidate.1
        ))),
    }
}

/// Of channels that have ranges of their own nothing is said.
fn range_of(parameters: &QuantizationParameters) -> Option<ValueRange> {
    let (low, high) = representable(parameters).filter(|_| parameters.scales.len() == 1)?;
    ValueRange::new(low, high)
}
