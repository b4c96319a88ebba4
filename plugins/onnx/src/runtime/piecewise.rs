//! A capture in pieces: the values of one piece are delivered and let go before the next is run.

use super::Runtime;
use super::basis::{Basis, Feed, Outcome, Sizes, not_computed, options, stored_bytes};
use super::pieces::{Piece, cut};
use super::plan::{Optimization, Plan};
use super::tensor::deliver;
use crate::source::Source;
use qp_abi::sdk::{BackendError, ModelInfo, Progress, Result, Sink};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Sessions are kept while what they store is not more than so many budgets.
const HEAVY: u64 = 4;

/// A model of which each piece has a session.
#[derive(Debug)]
pub struct Piecewise {
    basis: Basis,
    /// The bytes of the inputs that the pieces were cut for.
    input_bytes: u64,
    pieces: Vec<Prepared>,
    /// Whether a session is let go when its piece was run: all of them together would take more than a new one costs.
    is_heavy: bool,
}

#[derive(Debug)]
struct Prepared {
    piece: Piece,
    session: Option<ort::session::Session>,
    /// Values of earlier pieces that no later one reads.
    last: Vec<String>,
}

impl Piecewise {
    /// Cuts the model for what the plan wants; without pieces where the graph cannot be cut. `None` where it is better run
    /// whole: nothing is captured, the graph may be changed by the runtime, no budget is given, or all fits.
    ///
    /// # Errors
    /// Those of [`Runtime::load`] and of decoding the file.
    pub fn prepare(
        runtime: &Runtime,
        source: &Source,
        info: &ModelInfo,
        plan: &Plan<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Self>> {
        let Some(budget) = plan.settings.budget else { return Ok(None) };
        if plan.captured.is_empty() || plan.settings.optimization != Optimization::Disable {
            return Ok(None);
        }
        let sizes = Sizes::of(info, plan);
        let known: Option<Vec<u64>> = plan.wanted.iter().map(|name| sizes.bytes(name)).collect();
        if known.is_some_and(|bytes| bytes.into_iter().fold(0, u64::saturating_add) <= budget) {
            return Ok(None);
        }
        let basis = Basis::of(runtime, source, info, plan, progress)?;
        let graph = basis.graph();
        let cut = graph.and_then(|graph| cut(graph, &plan.wanted, &|name| sizes.bytes(name), budget));
        let mut pieces = cut.unwrap_or_default();
        let others = info.values.iter().chain(&info.outputs).filter(|value| !value.type_name.is_empty());
        let others: HashSet<&str> = others.map(|value| value.name.as_str()).collect();
        if pieces.iter().any(|piece| piece.hands_on.iter().any(|name| others.contains(name.as_str()))) {
            pieces.clear();
        }
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, piece) in pieces.iter().enumerate() {
            last.extend(piece.takes.iter().map(|name| (name.as_str(), index)));
        }
        let mut ends: Vec<Vec<String>> = vec![Vec::new(); pieces.len()];
        for (name, index) in last {
            ends[index].push(name.to_owned());
        }
        let pieces = pieces.into_iter().zip(ends);
        Ok(Some(Self {
            input_bytes: plan.input_bytes(),
            pieces: pieces.map(|(piece, last)| Prepared { piece, session: None, last }).collect(),
            is_heavy: stored_bytes(&basis.model) > budget.saturating_mul(HEAVY),
            basis,
        }))
    }

    /// Whether there are any.
    pub fn is_cut(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// From now on the model is run whole.
    pub fn give_up(&mut self) {
        self.pieces.clear();
    }

    /// Whether it is cut as the plan needs it.
    pub fn fits(&self, plan: &Plan<'_>) -> bool {
        self.basis.fits(plan) && plan.input_bytes() <= self.input_bytes
    }

    /// Runs piece after piece, and delivers the wanted values of each before the next.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`, or the sink's own.
    pub fn run(
        &mut self,
        runtime: &Runtime,
        source: &Source,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<Outcome> {
        progress.update("running", 0, 0)?;
        let (mut feed, options) = (Feed::of(plan), options()?);
        let mut delivered = HashSet::new();
        for Prepared { piece, session: kept, last } in &mut self.pieces {
            let takes = || piece.takes.iter().map(String::as_str);
            if kept.is_none() {
                let Some(types) = feed.types(takes()) else { return Ok(Outcome::Stuck(delivered)) };
                let model = piece.model(&self.basis.model, &types);
                *kept = Some(self.basis.open(runtime, source, &model)?);
            }
            let Some(session) = kept else { return Err(BackendError::internal("a session was lost")) };
            let mut outputs = feed.run(session, takes(), &options, progress)?;
            for name in &piece.gives {
                deliver(name, outputs.get(name).ok_or_else(|| not_computed(name))?, sink)?;
                delivered.insert(name.clone());
            }
            for name in &piece.hands_on {
                feed.alive.extend(outputs.remove(name).map(|value| (name.clone(), Arc::new(value))));
            }
            drop(outputs);
            if self.is_heavy {
                *kept = None;
            }
            for name in last {
                feed.alive.remove(name);
            }
            progress.update("running", delivered.len() as u64, plan.wanted.len() as u64)?;
        }
        Ok(Outcome::Done(self.basis.report(feed.elapsed)))
    }
}
