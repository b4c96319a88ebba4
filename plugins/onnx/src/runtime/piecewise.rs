//! A capture in pieces: the values of one piece are delivered and freed before the next runs.

use super::Runtime;
use super::basis::{Basis, Feed, Outcome, Sizes, not_computed, options, tensor_bytes};
use super::pieces::{Piece, by_node, cut};
use super::plan::{Optimization, Plan};
use super::tensor::deliver;
use crate::proto::tensor_shape_proto::{Dimension, dimension::Value as Size};
use crate::proto::type_proto::Value;
use crate::proto::{GraphProto, ModelProto, TensorShapeProto};
use crate::source::Source;
use qp_abi::sdk::{LayerInfo, ModelInfo, Progress, Result, Sink, step_stage};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The stage of a piece that names no layer.
const RUNNING: &str = "running";

/// A model in pieces. The session of a piece is created before it runs and dropped afterwards: creating it costs
/// little, while keeping all of them would cost the memory of the weights.
#[derive(Debug)]
pub struct Piecewise {
    basis: Basis,
    /// The size in bytes of the inputs that the pieces were cut for.
    input_bytes: u64,
    pieces: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    piece: Piece,
    /// Values of earlier pieces that no later one reads.
    last: Vec<String>,
    /// What the progress tells before it runs.
    stage: String,
}

impl Piecewise {
    /// Cuts the model for the plan's requested values; without pieces if the graph cannot be cut. `None` if it is
    /// better run whole: nothing is captured, the runtime may change the graph, no budget is given, or everything
    /// fits.
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
        let sizes = Sizes::of(info, plan);
        if !plan.is_stepwise {
            if plan.captured.is_empty() || plan.settings.optimization != Optimization::Disable {
                return Ok(None);
            }
            let known: Option<Vec<u64>> = plan.wanted.iter().map(|name| sizes.bytes(name)).collect();
            let stored = info.tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add);
            if known.is_some_and(|bytes| bytes.into_iter().fold(stored, u64::saturating_add) <= budget) {
                return Ok(None);
            }
        }
        let basis = Basis::of(runtime, source, info, plan, progress)?;
        let graph = basis.graph();
        let cut = graph.and_then(|graph| match plan.is_stepwise {
            true => by_node(graph, &plan.wanted),
            false => cut(graph, &plan.wanted, &|name| sizes.bytes(name), &tensor_bytes, budget),
        });
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
        let stages = stages(&pieces, graph, info, plan);
        let pieces = pieces.into_iter().zip(ends).zip(stages);
        Ok(Some(Self {
            input_bytes: plan.input_bytes(),
            pieces: pieces.map(|((piece, last), stage)| Prepared { piece, last, stage }).collect(),
            basis,
        }))
    }

    /// Whether there are any.
    pub fn is_cut(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// From now on, run the model whole.
    pub fn give_up(&mut self) {
        self.pieces.clear();
    }

    /// Whether it is cut as the plan requires.
    pub fn fits(&self, plan: &Plan<'_>) -> bool {
        self.basis.fits(plan) && plan.input_bytes() <= self.input_bytes
    }

    /// Runs piece after piece, and delivers the requested values of each before the next.
    ///
    /// # Errors
    /// `RuntimeFailed`, `Cancelled`, or the sink's own.
    pub fn run(
        &self,
        runtime: &Runtime,
        source: &Source,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<Outcome> {
        let (mut feed, options) = (Feed::of(plan), options()?);
        let mut delivered = HashSet::new();
        for Prepared { piece, last, stage } in &self.pieces {
            progress.update(stage, delivered.len() as u64, plan.wanted.len() as u64)?;
            let takes = || piece.takes.iter().map(String::as_str);
            let Some(types) = feed.types(takes()) else { return Ok(Outcome::Stuck(delivered)) };
            let mut model = piece.model(&self.basis.model, &types);
            if stage != RUNNING {
                tell_shapes(&mut model, &feed);
            }
            let mut session = self.basis.open(runtime, source, &model)?;
            drop(model);
            let mut outputs = feed.run(&mut session, takes(), &options, progress)?;
            for name in &piece.gives {
                deliver(name, outputs.get(name).ok_or_else(|| not_computed(name))?, sink)?;
                delivered.insert(name.clone());
            }
            for name in &piece.hands_on {
                feed.alive.extend(outputs.remove(name).map(|value| (name.clone(), Arc::new(value))));
            }
            drop(outputs);
            for name in last {
                feed.alive.remove(name);
            }
        }
        progress.update(RUNNING, delivered.len() as u64, plan.wanted.len() as u64)?;
        Ok(Outcome::Done(self.basis.report(feed.elapsed, None)))
    }
}

/// Writes down the shapes of a piece's inputs: a runtime may crash over them before it runs anything.
fn tell_shapes(piece: &mut ModelProto, feed: &Feed<'_>) {
    for input in piece.graph.iter_mut().flat_map(|graph| &mut graph.input) {
        let (name, kind) = (input.name.as_deref().unwrap_or_default(), &mut input.r#type);
        if let Some((shape, kind)) = feed.shape(name).zip(kind.as_mut())
            && let Some(Value::TensorType(tensor)) = &mut kind.value
        {
            let size = |size| Dimension { value: Some(Size::DimValue(size)), ..Dimension::default() };
            tensor.shape = Some(TensorShapeProto { dim: shape.into_iter().map(size).collect() });
        }
    }
}

/// What the progress tells before each piece: in a run by steps the layer whose node it ends with.
fn stages(pieces: &[Piece], graph: Option<&GraphProto>, info: &ModelInfo, plan: &Plan<'_>) -> Vec<String> {
    let Some(graph) = graph.filter(|_| plan.is_stepwise) else {
        return vec![RUNNING.to_owned(); pieces.len()];
    };
    let computes =
        info.layers.iter().flat_map(|layer| layer.outputs.iter().map(move |value| (value.as_str(), layer)));
    let layers: HashMap<&str, &LayerInfo> = computes.collect();
    let stage = |piece: &Piece| {
        let node = piece.nodes.last().and_then(|node| graph.node.get(*node))?;
        let layer = node.output.iter().find_map(|value| layers.get(value.as_str()));
        let name = layer.map_or_else(|| node.name().to_owned(), |layer| layer.path.to_string());
        (!name.is_empty()).then(|| step_stage(&name))
    };
    pieces.iter().map(|piece| stage(piece).unwrap_or_else(|| RUNNING.to_owned())).collect()
}
