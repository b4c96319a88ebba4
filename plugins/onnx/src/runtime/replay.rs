//! Runs of one model that differ in a few switches: their common part is computed once.
//!
//! A switch is a boolean input that chooses between two values (`Where`). Its value is known before a run, so the
//! branch that is not chosen is not computed. The graph is cut into pieces, and each value passed on has a key made
//! of its piece's nodes, the branches chosen there, and the keys of the piece's inputs. A run begins where keys are
//! known. The values kept are those on the border between the pieces whose switches are all in one position and the
//! pieces after them: if the switches change from run to run in the order of computation, the next run begins there
//! or one piece further.

use super::Runtime;
use super::basis::{Basis, Feed, Outcome, Sizes, dtype_of_value, not_computed, options, stored_bytes};
use super::pieces::{Piece, Wiring, ends};
use super::plan::{Optimization, Plan};
use super::tensor::deliver;
use crate::proto::{ModelProto, NodeProto};
use crate::source::Source;
use ort::value::{DynValue, ValueType};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, ModelInfo, Progress, Result, Sink, TensorView};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// About how many pieces a graph is cut into: fewer compute more twice, more keep more.
const PIECES: u64 = 24;

/// What the weights of sessions that are kept may take: to make one again costs less than so much memory.
const MOST_SESSION_BYTES: u64 = 512 << 20;

/// A model with what its last runs handed on.
#[derive(Debug)]
pub struct Replay {
    basis: Basis,
    outline: Outline,
    /// The last node of each piece.
    ends: Vec<usize>,
    sessions: Kept<ort::session::Session>,
    handed: Kept<HashMap<String, Arc<DynValue>>>,
    /// The key of the last run's inputs other than switches.
    data: u64,
    /// The nodes of all runs so far, and how many of them were computed.
    nodes: Nodes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Nodes {
    needed: u64,
    computed: u64,
}

impl Nodes {
    fn count(&mut self, parts: &[Part<'_>], schedule: &Schedule) {
        for (part, must_run) in parts.iter().zip(&schedule.must_run) {
            let own = part.nodes.len() as u64;
            self.needed += own;
            self.computed += if *must_run { own } else { 0 };
        }
    }

    /// The share that was not computed again, for display.
    fn reused(self) -> String {
        let share = 1.0 - self.computed as f64 / self.needed.max(1) as f64;
        format!("{:.0} % of the nodes", share * 100.0)
    }
}

/// What is known about the graph, by the positions of its nodes.
#[derive(Debug)]
struct Outline {
    /// The computed values and inputs that each node reads.
    reads: Vec<Vec<String>>,
    outputs: Vec<Vec<String>>,
    /// The nodes that depend only on stored tensors and that each node reads from.
    constants: Vec<Vec<usize>>,
    is_constant: Vec<bool>,
    /// The stored tensors that each node reads.
    stored: Vec<Vec<usize>>,
    producers: HashMap<String, usize>,
    /// Nodes that a switch decides: the switch, and the values for true and for false.
    choices: HashMap<usize, [String; 3]>,
}

impl Outline {
    fn of(wiring: &Wiring<'_>, switches: &HashSet<&str>) -> Self {
        let graph = wiring.graph;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let choice = |(index, node): (usize, &NodeProto)| match &node.input[..] {
            [switch, then, other]
                if node.op_type() == "Where"
                    && node.domain().is_empty()
                    && switches.contains(switch.as_str()) =>
            {
                Some((index, [switch.clone(), then.clone(), other.clone()]))
            }
            _ => None,
        };
        let nodes = 0..graph.node.len();
        Self {
            reads: wiring.reads.iter().map(|names| owned(names)).collect(),
            outputs: graph.node.iter().map(|node| node.output.clone()).collect(),
            constants: nodes.clone().map(|node| wiring.constants_of(node)).collect(),
            is_constant: wiring.is_constant.clone(),
            stored: nodes.map(|node| wiring.stored_of(node)).collect(),
            producers: wiring.producers.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect(),
            choices: graph.node.iter().enumerate().filter_map(choice).collect(),
        }
    }

    /// What a node reads with the switches in these positions.
    fn reads<'s>(&'s self, node: usize, switches: &HashMap<&str, bool>) -> Vec<&'s str> {
        match self.chosen(node, switches) {
            Some(chosen) => vec![chosen],
            None => self.reads[node].iter().map(String::as_str).collect(),
        }
    }

    fn chosen(&self, node: usize, switches: &HashMap<&str, bool>) -> Option<&str> {
        let [switch, then, other] = self.choices.get(&node)?;
        Some(if *switches.get(switch.as_str())? { then } else { other })
    }
}

/// A piece of the graph in one run.
#[derive(Default)]
struct Part<'s> {
    nodes: Vec<usize>,
    takes: Vec<&'s str>,
    /// Requested values, and those that later pieces read.
    hands_on: Vec<&'s str>,
    key: u64,
    /// The positions of the switches that decide something in it.
    own: Positions,
    /// The positions of all switches that its results depend on.
    all: Positions,
}

/// Whether any switches are off, and whether any are on.
#[derive(Clone, Copy, Default)]
struct Positions {
    off: bool,
    on: bool,
}

impl Positions {
    fn and(self, other: Self) -> Self {
        Self { off: self.off || other.off, on: self.on || other.on }
    }

    /// Whether the same positions recur: runs with some switches on and some off all differ.
    fn come_again(self) -> bool {
        !(self.off && self.on)
    }
}

impl Replay {
    /// Prepares a model whose runs repeat each other; `None` if that would gain nothing.
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
        let Some(most) = plan.settings.replay else { return Ok(None) };
        if plan.settings.optimization != Optimization::Disable {
            return Ok(None);
        }
        let basis = Basis::of(runtime, source, info, plan, progress)?;
        let Some(wiring) = basis.graph().and_then(Wiring::of) else { return Ok(None) };
        let switches: HashSet<&str> =
            plan.inputs.iter().filter(|(_, view)| is_switch(view)).map(|(name, _)| *name).collect();
        let outline = Outline::of(&wiring, &switches);
        if outline.choices.is_empty() || !plan.wanted.iter().all(|name| outline.producers.contains_key(*name))
        {
            return Ok(None);
        }
        let sizes = Sizes::of(info, plan);
        let order: Vec<usize> =
            (0..wiring.is_constant.len()).filter(|node| !wiring.is_constant[*node]).collect();
        let known = wiring.sizes(&order, &|name| sizes.bytes(name));
        let total = known.values().copied().fold(0, u64::saturating_add);
        let every: HashSet<&str> = known.keys().copied().collect();
        let no_constants = vec![0; order.len()];
        let ends = ends(&wiring, &order, &known, &every, &no_constants, (total / PIECES).max(1));
        let ends = ends.into_iter().map(|end| order[end]).collect();
        Ok(Some(Self {
            outline,
            ends,
            // The sessions of two whole runs, and those of the pieces that are neither.
            sessions: Kept::new(stored_bytes(&basis.model).saturating_mul(3).clamp(1, MOST_SESSION_BYTES)),
            handed: Kept::new(most),
            data: 0,
            nodes: Nodes::default(),
            basis,
        }))
    }

    /// Whether it is prepared as the plan requires.
    pub fn fits(&self, plan: &Plan<'_>) -> bool {
        self.basis.fits(plan)
    }

    /// Computes what is new, and delivers what was requested.
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
        let switches: HashMap<&str, bool> = plan
            .inputs
            .iter()
            .filter(|(_, view)| is_switch(view))
            .map(|(name, view)| (*name, view.bytes.first() == Some(&1)))
            .collect();
        let inputs: HashMap<&str, u64> =
            plan.inputs.iter().map(|(name, view)| (*name, key_of_input(view))).collect();
        let data = plan.inputs.iter().filter(|(_, view)| !is_switch(view)).map(|(name, _)| inputs[name]);
        let data = key(&data.collect::<Vec<u64>>());
        if data != self.data {
            // With other samples, nothing recurs.
            self.handed.clear();
            self.data = data;
        }
        let Self { basis, outline, ends, sessions, handed, nodes, .. } = self;
        let (basis, outline, ends, wanted) = (&*basis, &*outline, &ends[..], basis.wanted());
        let parts = parts(outline, ends, wanted, &switches, &inputs);
        let piece_of =
            |name: &str| outline.producers.get(name).map(|node| ends.partition_point(|end| end < node));
        let schedule = Schedule::of(&parts, wanted, &piece_of, handed);
        let (mut feed, options) = (Feed::of(plan), options()?);
        for (part, _) in parts.iter().zip(&schedule.is_kept).filter(|(_, is_kept)| **is_kept) {
            let kept = handed.touch(part.key).into_iter().flatten();
            feed.alive.extend(kept.map(|(name, value)| (name.clone(), Arc::clone(value))));
        }
        nodes.count(&parts, &schedule);
        let to_run = || parts.iter().enumerate().filter(|(index, _)| schedule.must_run[*index]);
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, part) in to_run() {
            last.extend(part.takes.iter().map(|name| (*name, index)));
        }
        for (index, part) in to_run() {
            let session_key = key(&(&part.nodes, choices(outline, &part.nodes, &switches), &part.hands_on));
            if sessions.get(session_key).is_none() {
                let types = feed.types(part.takes.iter().copied());
                let Some(types) = types else { return Ok(Outcome::Stuck(HashSet::new())) };
                let piece = piece_model(outline, &basis.model, part, &switches, &types);
                let session = basis.open(runtime, source, &piece)?;
                sessions.put(session_key, session, stored_bytes(&piece));
            }
            let Some(session) = sessions.touch(session_key) else {
                return Err(BackendError::internal("a session was lost"));
            };
            let mut outputs = feed.run(session, part.takes.iter().copied(), &options, progress)?;
            let mut handed_on = HashMap::new();
            for name in &part.hands_on {
                let value = Arc::new(outputs.remove(name).ok_or_else(|| not_computed(name))?);
                feed.alive.insert((*name).to_owned(), Arc::clone(&value));
                handed_on.insert((*name).to_owned(), value);
            }
            drop(outputs);
            if schedule.is_border[index] {
                let bytes = handed_on.values().map(|value| bytes_of_value(value)).sum();
                handed.put(part.key, handed_on, bytes);
            }
            if !part.own.come_again() {
                sessions.remove(session_key);
            }
            for name in part.takes.iter().filter(|name| last.get(*name) == Some(&index)) {
                if !wanted.iter().any(|wanted| wanted == name) {
                    feed.alive.remove(*name);
                }
            }
        }
        for name in &plan.wanted {
            deliver(name, feed.alive.get(*name).ok_or_else(|| not_computed(name))?, sink)?;
        }
        Ok(Outcome::Done(basis.report(feed.elapsed, Some(pair("reused", nodes.reused())))))
    }
}

/// What a run does with a piece.
struct Schedule {
    /// Compute it.
    must_run: Vec<bool>,
    /// Read its results, which are kept.
    is_kept: Vec<bool>,
    /// Keep its results.
    is_border: Vec<bool>,
}

impl Schedule {
    fn of(
        parts: &[Part<'_>],
        wanted: &[String],
        piece_of: &dyn Fn(&str) -> Option<usize>,
        handed: &Kept<HashMap<String, Arc<DynValue>>>,
    ) -> Self {
        let none = || vec![false; parts.len()];
        let mut schedule = Self { must_run: none(), is_kept: none(), is_border: none() };
        let mut is_due = none();
        wanted.iter().filter_map(|name| piece_of(name)).for_each(|piece| is_due[piece] = true);
        // From the end: a piece is due if a later one that is computed reads it.
        for (index, part) in parts.iter().enumerate().rev() {
            if !is_due[index] {
                continue;
            }
            let has_all = |kept: &HashMap<String, Arc<DynValue>>| {
                part.hands_on.iter().all(|name| kept.contains_key(*name))
            };
            if handed.get(part.key).is_some_and(has_all) {
                schedule.is_kept[index] = true;
                continue;
            }
            schedule.must_run[index] = true;
            for piece in part.takes.iter().filter_map(|name| piece_of(name)) {
                is_due[piece] = true;
                schedule.is_border[piece] |= !part.all.come_again() && parts[piece].all.come_again();
            }
        }
        schedule
    }
}

/// The pieces of a run: what each needs with the switches in these positions.
fn parts<'s>(
    outline: &'s Outline,
    ends: &[usize],
    wanted: &'s [String],
    switches: &HashMap<&str, bool>,
    inputs: &HashMap<&str, u64>,
) -> Vec<Part<'s>> {
    let mut is_needed = vec![false; outline.reads.len()];
    let mut waiting: Vec<usize> =
        wanted.iter().filter_map(|name| outline.producers.get(name).copied()).collect();
    while let Some(node) = waiting.pop() {
        if !std::mem::replace(&mut is_needed[node], true) {
            let reads = outline.reads(node, switches);
            waiting.extend(reads.iter().filter_map(|name| outline.producers.get(*name)));
        }
    }
    let mut parts: Vec<Part<'s>> = Vec::with_capacity(ends.len());
    // The piece that computes each value in this run.
    let mut computed: HashMap<&str, usize> = HashMap::new();
    let mut start = 0;
    for (index, end) in ends.iter().enumerate() {
        let own: Vec<usize> =
            (start..=*end).filter(|node| is_needed[*node] && !outline.is_constant[*node]).collect();
        start = end + 1;
        let names = own.iter().flat_map(|node| &outline.outputs[*node]);
        computed.extend(names.map(|name| (name.as_str(), index)));
        let mut takes = Vec::new();
        for node in &own {
            for name in outline.reads(*node, switches) {
                let is_constant = outline.producers.get(name).is_some_and(|node| outline.is_constant[*node]);
                if !is_constant && computed.get(name) != Some(&index) {
                    takes.push(name);
                }
            }
        }
        takes.sort_unstable();
        takes.dedup();
        for name in &takes {
            if let Some(piece) = computed.get(name) {
                parts[*piece].hands_on.push(name);
            }
        }
        parts.push(Part { nodes: own, takes, ..Part::default() });
    }
    for name in wanted {
        if let Some(piece) = computed.get(name.as_str()) {
            parts[*piece].hands_on.push(name);
        }
    }
    for index in 0..parts.len() {
        parts[index].hands_on.sort_unstable();
        parts[index].hands_on.dedup();
        let part = &parts[index];
        let source = |name: &&str| match computed.get(name) {
            Some(piece) => key(&(parts[*piece].key, name)),
            None => inputs.get(name).copied().unwrap_or_default(),
        };
        let sources: Vec<u64> = part.takes.iter().map(source).collect();
        let key = key(&(&part.nodes, choices(outline, &part.nodes, switches), sources));
        let position = |node: &usize| {
            let [switch, ..] = outline.choices.get(node)?;
            let is_on = *switches.get(switch.as_str())?;
            Some(Positions { off: !is_on, on: is_on })
        };
        let own = part.nodes.iter().filter_map(position).fold(Positions::default(), Positions::and);
        let before = part.takes.iter().filter_map(|name| computed.get(name)).map(|piece| parts[*piece].all);
        let all = before.fold(own, Positions::and);
        let part = &mut parts[index];
        (part.key, part.own, part.all) = (key, own, all);
    }
    parts
}

/// Which values the nodes decided by a switch take.
fn choices(outline: &Outline, nodes: &[usize], switches: &HashMap<&str, bool>) -> Vec<String> {
    nodes.iter().filter_map(|node| outline.chosen(*node, switches)).map(str::to_owned).collect()
}

/// A piece as a model, with its switches resolved.
fn piece_model(
    outline: &Outline,
    whole: &ModelProto,
    part: &Part<'_>,
    switches: &HashMap<&str, bool>,
    types: &HashMap<&str, DType>,
) -> ModelProto {
    let mut nodes: Vec<usize> =
        part.nodes.iter().flat_map(|node| outline.constants[*node].iter().chain([node])).copied().collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut stored: Vec<usize> = nodes.iter().flat_map(|node| &outline.stored[*node]).copied().collect();
    stored.sort_unstable();
    stored.dedup();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let piece = Piece {
        nodes: nodes.clone(),
        takes: owned(&part.takes),
        gives: Vec::new(),
        hands_on: owned(&part.hands_on),
        stored,
    };
    let mut model = piece.model(whole, types);
    let list = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
    for (node, place) in list.zip(nodes) {
        if let Some(chosen) = outline.chosen(place, switches) {
            node.op_type = Some("Identity".to_owned());
            node.input = vec![chosen.to_owned()];
        }
    }
    model
}

fn is_switch(view: &TensorView<'_>) -> bool {
    view.dtype == DType::BOOL && view.shape.is_empty()
}

fn key(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn key_of_input(view: &TensorView<'_>) -> u64 {
    key(&(view.dtype.0, view.shape.as_slice(), view.bytes.as_slice()))
}

fn bytes_of_value(value: &DynValue) -> u64 {
    match value.dtype() {
        ValueType::Tensor { shape, .. } => {
            let elements = qp_abi::sdk::element_count(shape).unwrap_or(0);
            dtype_of_value(value).and_then(|dtype| dtype.packed_bytes(elements)).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Values kept by key, within a number of bytes; the least recently used go first.
#[derive(Debug)]
struct Kept<T> {
    entries: HashMap<u64, (T, u64, u64)>,
    bytes: u64,
    most: u64,
    clock: u64,
}

impl<T> Kept<T> {
    fn new(most: u64) -> Self {
        Self { entries: HashMap::new(), bytes: 0, most, clock: 0 }
    }

    fn get(&self, key: u64) -> Option<&T> {
        self.entries.get(&key).map(|(value, ..)| value)
    }

    fn touch(&mut self, key: u64) -> Option<&mut T> {
        self.clock += 1;
        let (value, _, used) = self.entries.get_mut(&key)?;
        *used = self.clock;
        Some(value)
    }

    /// Keeps a value of this many bytes; it stays even if it alone is too large.
    fn put(&mut self, key: u64, value: T, bytes: u64) {
        self.clock += 1;
        if let Some((_, old, _)) = self.entries.insert(key, (value, bytes, self.clock)) {
            self.bytes = self.bytes.saturating_sub(old);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > self.most && self.entries.len() > 1 {
            let oldest =
                self.entries.iter().filter(|(other, _)| **other != key).min_by_key(|(_, entry)| entry.2);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some((_, bytes, _)) = self.entries.remove(&key) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
