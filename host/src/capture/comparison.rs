//! The errors of a candidate's layers against the reference's, taken batch by batch.

use super::alone::Alone;
use super::batch::Feed;
use super::emulation::{Emulation, StandIn};
use super::in_step::{Meeting, Run, Work};
use super::order::{Order, SURE};
use super::pairing::ActivationPair;
use super::real::Real;
use super::side::{OnlyCancel, Side};
use crate::backend::{Fetch, Progress, RunReport, Session, Spare};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::inspect::range::representable;
use crate::model::{DType, QuantizationParameters, Tensor};
use qp_analysis::{ErrorMetrics, RangeCount, ValueRange};
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

/// The results for one pair.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// The sums over all elements of all samples.
    pub errors: ErrorMetrics,
    /// The same for the layer alone, given the reference's values.
    pub local: ErrorMetrics,
    /// How many of the reference's values the candidate's codes can represent.
    pub within: RangeCount,
    /// The candidate's element order, once it is known.
    pub order: Option<Order>,
    /// Whether the reference's value is plain whole numbers: shapes, indices, masks are not activations.
    pub is_whole: bool,
    /// Why nothing was compared.
    pub obstacle: Option<Error>,
}

impl Compared {
    /// Whether there are errors to show.
    pub fn was_compared(&self) -> bool {
        self.obstacle.is_none() && self.errors.count() > 0
    }

    /// Whether the errors of the layer alone are worth showing: the candidate quantizes it, or computes something else.
    pub fn is_alone(&self, pair: &ActivationPair<'_>, stand_in: Option<&StandIn>) -> bool {
        let is_other = self.local.metrics().max_abs_error.is_some_and(|error| error > 0.0);
        self.local.count() > 0 && (stand_in.is_some() || is_other || pair.candidate.quantization.is_some())
    }
}

/// The results for all pairs.
pub struct Comparison {
    /// One per pair, in order.
    pub compared: Vec<Compared>,
    /// How many samples were run.
    pub samples: u64,
    /// Why not all samples were run; the results are those of the samples that were.
    pub stopped: Option<Error>,
    /// What the reference's runtime reported for the last batch.
    pub reference_run: Option<RunReport>,
    /// What the candidate's runtime reported for the last batch.
    pub candidate_run: Option<RunReport>,
}

impl Comparison {
    /// The pair with the lowest SQNR, in dB; whole numbers are not activations.
    pub fn worst<'p, 'a>(&self, pairs: &'p [ActivationPair<'a>]) -> Option<(f64, &'p ActivationPair<'a>)> {
        let compared = self.compared.iter().zip(pairs);
        let compared = compared.filter(|(found, _)| found.was_compared() && !found.is_whole);
        let found = compared.filter_map(|(found, pair)| Some((found.errors.metrics().sqnr_db?, pair)));
        found.min_by(|left, right| left.0.total_cmp(&right.0))
    }

    /// Runs both models on the same samples and compares the values of each pair. Memory holds
    /// what one run has delivered and the other has not yet, within `budget` bytes; with [`Alone::Substituted`], all
    /// values of one batch.
    ///
    /// # Errors
    /// Those of the backends; `Cancelled` if no batch was compared before.
    pub fn run(
        reference: &Side<'_>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        feed: Feed<'_>,
        (alone, budget): (&Alone, u64),
        progress: &dyn Progress,
    ) -> Result<Self> {
        let batches = feed.batches(&[reference, candidate])?;
        let total = batches.samples();
        let mut comparison = Self {
            compared: vec![Compared::default(); pairs.len()],
            samples: 0,
            stopped: None,
            reference_run: None,
            candidate_run: None,
        };
        let spare = Spare::new(budget / 2);
        for (count, batch) in batches {
            progress.update("comparing samples", comparison.samples, total);
            // An incomplete batch does not count.
            let before = comparison.compared.clone();
            let outcome = match alone {
                Alone::Substituted => {
                    comparison.substituted_batch(reference, candidate, pairs, &batch, progress)
                }
                Alone::Not => {
                    comparison.batch(reference, candidate, (pairs, None), &batch, (budget, &spare), progress)
                }
                Alone::Emulated(emulation) => {
                    let pairs = (pairs, Some(&**emulation));
                    comparison.batch(reference, candidate, pairs, &batch, (budget, &spare), progress)
                }
            };
            if progress.is_cancelled() {
                let error = Error::cancelled()
                    .with_cause(format!("{} of {total} samples were compared", comparison.samples));
                if comparison.samples == 0 {
                    return Err(error);
                }
                comparison.compared = before;
                comparison.stopped = Some(error);
                break;
            }
            let (reference_run, candidate_run) = outcome?;
            comparison.samples += count;
            comparison.reference_run = Some(reference_run);
            comparison.candidate_run = Some(candidate_run);
        }
        Ok(comparison)
    }

    /// Runs both models on one batch side by side, which uses the cores better than running one after the other on
    /// all of them, and compares each pair of values as soon as both exist.
    fn batch(
        &mut self,
        reference: &Side<'_>,
        candidate: &Side<'_>,
        (pairs, emulation): (&[ActivationPair<'_>], Option<&Emulation>),
        batch: &Input,
        (budget, spare): (u64, &Spare),
        progress: &dyn Progress,
    ) -> Result<(RunReport, RunReport)> {
        let stand_ins = emulation.map(|emulation| &emulation.layers[..]).unwrap_or_default();
        let alone_of = |place: usize| stand_ins.get(place)?.value.as_deref();
        // The pair that each task belongs to: first the tasks of the pairs, then those of the layers alone.
        let places: Vec<usize> =
            (0..pairs.len()).chain((0..pairs.len()).filter(|place| alone_of(*place).is_some())).collect();
        let work = |(index, place): (usize, &usize)| {
            let pair = &pairs[*place];
            let left = (Run::Reference, pair.reference_value.name);
            let right = match alone_of(*place).filter(|_| index >= pairs.len()) {
                Some(stand_in) => (Run::Reference, stand_in),
                None => (Run::Candidate, pair.candidate_value.name),
            };
            Work { left, right }
        };
        let works: Vec<Work<'_>> = places.iter().enumerate().map(work).collect();
        let session = emulation.map_or(&reference.model.session, |emulation| &emulation.session);
        // Runs of one session follow one another.
        let is_one = std::ptr::eq(session, &candidate.model.session);
        let meeting = Meeting::new(&works, if is_one { u64::MAX } else { budget / 2 }, spare);
        let had_obstacle: Vec<bool> =
            self.compared.iter().map(|compared| compared.obstacle.is_some()).collect();
        let cells: Vec<Mutex<&mut Compared>> = self.compared.iter_mut().map(Mutex::new).collect();
        let compare = |index: usize, left: &Tensor, right: &Tensor| {
            let place = places[index];
            if had_obstacle[place] {
                return;
            }
            let (pair, mut compared) =
                (&pairs[place], cells[place].lock().unwrap_or_else(PoisonError::into_inner));
            if index < pairs.len() {
                compared.obstacle = compared.add(pair, left, right).err();
            } else {
                // An emulated layer has the reference's own layout.
                compared.add_local(pair, left, (right, pair.reference_value.quantization));
            }
        };
        let fetched = |run: Run| {
            let ends = works.iter().flat_map(|work| [work.left, work.right]);
            let mut seen = HashSet::new();
            let names = ends.filter(|end| end.0 == run && seen.insert(end.1)).map(|end| end.1.to_owned());
            Fetch::Named(names.collect())
        };
        let run = |run: Run, side: &Side<'_>, session: &Session| {
            let deliver = &mut |tensor| meeting.deliver(run, tensor, progress, &compare);
            let outcome = side.fit(batch).and_then(|inputs| {
                session.run_each(
                    &inputs,
                    &fetched(run),
                    &side.options,
                    (spare, deliver),
                    &OnlyCancel(progress),
                )
            });
            meeting.end(run, outcome.is_err());
            outcome
        };
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| run(Run::Reference, reference, session));
            let theirs = run(Run::Candidate, candidate, &candidate.model.session);
            (ours.join().unwrap_or_else(|_| Err(Error::internal("a run panicked"))), theirs)
        });
        let undone = meeting.undone();
        drop(cells);
        match (ours, theirs) {
            // A run that was only asked to stop does not give a reason.
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(ours), Err(theirs)) => Err(if ours.kind() == ErrorKind::Cancelled { theirs } else { ours }),
            (Ok(ours), Ok(theirs)) => {
                for place in undone.into_iter().filter(|index| *index < pairs.len()) {
                    let obstacle = &mut self.compared[place].obstacle;
                    obstacle.get_or_insert_with(|| Error::internal("a value was not delivered"));
                }
                Ok((ours, theirs))
            }
        }
    }

    /// The same for a batch on which the candidate runs a second time, given the reference's values.
    fn substituted_batch(
        &mut self,
        reference: &Side<'_>,
        candidate: &Side<'_>,
        pairs: &[ActivationPair<'_>],
        batch: &Input,
        progress: &dyn Progress,
    ) -> Result<(RunReport, RunReport)> {
        let names = |value: fn(&ActivationPair<'_>) -> String| -> Fetch {
            let mut names: Vec<String> = pairs.iter().map(value).collect();
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            Fetch::Named(names)
        };
        let fetch_reference = names(|pair| pair.reference_value.name.to_owned());
        let fetch_candidate = names(|pair| pair.candidate_value.name.to_owned());
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| reference.run(batch, &fetch_reference, progress));
            let theirs = candidate.run(batch, &fetch_candidate, progress);
            (ours.join().unwrap_or_else(|_| Err(Error::internal("a run panicked"))), theirs)
        });
        let (ours, theirs) = (ours?, theirs?);
        self.add(pairs, &ours.tensors, &theirs.tensors);
        let mut inputs = candidate.fit(batch)?;
        inputs.extend(self.substitutes(pairs, &ours.tensors, &theirs.tensors));
        let outcome = candidate.run_on(&candidate.model.session, &inputs, &fetch_candidate, progress)?;
        self.add_substituted(pairs, &ours.tensors, &outcome.tensors);
        Ok((ours.report, theirs.report))
    }

    /// The reference's values under the candidate's names, with the codes that the candidate rounds them to; only
    /// those whose elements lie in the same order.
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

    /// Adds the errors of one batch.
    fn add(&mut self, pairs: &[ActivationPair<'_>], references: &[Tensor], candidates: &[Tensor]) {
        let (references, candidates) = (by_name(references), by_name(candidates));
        self.each(pairs, |pair, compared| {
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
        });
    }

    /// Adds what the candidate's layers compute from the reference's values.
    fn add_substituted(&mut self, pairs: &[ActivationPair<'_>], references: &[Tensor], alone: &[Tensor]) {
        let (references, alone) = (by_name(references), by_name(alone));
        self.each(pairs, |pair, compared| {
            let reference = references.get(pair.reference_value.name);
            let alone = alone.get(pair.candidate_value.name);
            if let (Some(reference), Some(alone), Some(Order::Same)) = (reference, alone, compared.order) {
                compared.add_local(pair, reference, (alone, pair.candidate_value.quantization));
            }
        });
    }

    /// Runs a task for each pair, on all cores.
    fn each<'a>(
        &mut self,
        pairs: &'a [ActivationPair<'a>],
        work: impl Fn(&ActivationPair<'a>, &mut Compared) + Sync,
    ) {
        // Neighbours are of similar size: dealing them out in turns gives each thread its share.
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(pairs.len().max(1));
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (place, one) in pairs.iter().zip(&mut self.compared).enumerate() {
            shares[place % threads].push(one);
        }
        let work = |share: Vec<_>| {
            share.into_iter().for_each(|(pair, compared)| work(pair, compared));
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

/// What the codes of a delivered tensor mean: the runtime knows best; a file may say less.
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
                // Blocks of both have one length.
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
                    "`{}` holds {} codes without a scale in the file",
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

/// The order of the candidate's elements: from the shapes, and from the values where the shapes leave it open.
fn find_order(reference: (&Real<'_>, &[u64]), candidate: (&Real<'_>, &[u64])) -> Result<Order> {
    let mut fitting = Order::that_fit(reference.1, candidate.1);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(_)) => {
            let of_samples = |count: Option<u64>| {
                let values = |(real, shape): (&Real<'_>, &[u64])| -> (Vec<f64>, Vec<u64>) {
                    let Some(count) = count else { return (real.to_vec(), shape.to_vec()) };
                    let shape: Vec<u64> = std::iter::once(count).chain(shape[1..].iter().copied()).collect();
                    let elements = crate::model::element_count(&shape).unwrap_or(u64::MAX);
                    (real.first(usize::try_from(elements).unwrap_or(usize::MAX)), shape)
                };
                let (ours, theirs) = (values(reference), values(candidate));
                Order::of_values((&ours.0, &ours.1), (&theirs.0, &theirs.1))
            };
            // None of the orders moves the first of four dimensions, so one sample is enough.
            let is_sure = |found: &(Order, Option<f64>)| found.1.is_some_and(|found| found >= SURE);
            let may_cut =
                reference.1.len() == 4 && candidate.1.len() == 4 && reference.1[0] == candidate.1[0];
            let found = if may_cut { of_samples(Some(1)).filter(is_sure) } else { None };
            Ok(found.or_else(|| of_samples(None)).map_or(first, |found| found.0))
        }
        (None, _) => {
            Err(Error::invalid_input(format!("incompatible shapes {:?} and {:?}", reference.1, candidate.1)))
        }
    }
}

/// `None` if each channel has its own range.
fn range_of(parameters: &QuantizationParameters) -> Option<ValueRange> {
    let (low, high) = representable(parameters).filter(|_| parameters.scales.len() == 1)?;
    ValueRange::new(low, high)
}
