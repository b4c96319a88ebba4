//! Infers types and shapes from the operators where the file does not declare them.
//!
//! One rule per operator, from the operator documents of ONNX and of ONNX Runtime's `com.microsoft` domain. What
//! cannot be inferred stays unknown: no rule guesses. The file's declarations hold; rules only fill in what they
//! leave open. Small whole-number tensors are computed too, symbols included, because shapes are made from them:
//! `Shape`, `Gather`, `Concat`, `Reshape`.
//!
//! A Loop's carried values and a function's body may have other shapes each time: nothing is inferred for them.

mod elementwise;
mod fold;
mod layout;
mod matrix;
mod node;
mod select;
mod window;

use crate::document::Document;
use crate::graph::ValueId;
use crate::quant::parameters::{Reader, listed};
use crate::value_type::ValueType;
use node::Node;
use qp_abi::sdk::{AttributeValue, DType, Dimension};

/// Whole-number tensors up to this many elements are computed.
const MAX_FOLDED: usize = 256;
/// Values with more dimensions than this are ignored.
const MAX_RANK: usize = 64;
/// How much memory inferred shapes and elements may take: a value with 64 named dimensions, passed on by a hundred
/// thousand layers, would be stored as often. A fixed amount plus an amount per byte of the file; anything beyond
/// stays unknown.
const FOUND_BYTES: (usize, usize) = (4 << 20, 8);
/// How often all layers are visited while something new is found: files whose nodes are out of order, and graphs
/// inside nodes, need more than one pass.
const MAX_PASSES: usize = 4;

/// What is known about a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fact {
    /// The element type.
    pub dtype: Option<DType>,
    /// The shape; `None` when not even the number of dimensions is known.
    pub shape: Option<Vec<Dimension>>,
}

impl Fact {
    fn new(dtype: Option<DType>, shape: Option<Vec<Dimension>>) -> Self {
        Self { dtype, shape }
    }

    /// Fills in what is unknown; returns whether there was any.
    fn fill(&mut self, other: Self) -> bool {
        let before = (self.dtype, self.known_dimensions());
        self.dtype = self.dtype.or(other.dtype);
        match (&mut self.shape, other.shape) {
            (Some(known), Some(found)) if known.len() == found.len() => {
                for (known, found) in known.iter_mut().zip(found) {
                    if is_unknown(known) {
                        *known = found;
                    }
                }
            }
            (shape @ None, found) => *shape = found.filter(|shape| shape.len() <= MAX_RANK),
            _ => {}
        }
        before != (self.dtype, self.known_dimensions())
    }

    /// The approximate memory it takes.
    fn bytes(&self) -> usize {
        let dimension = |dimension: &Dimension| size_of::<Dimension>() + dimension.symbol.len();
        self.shape.iter().flatten().map(dimension).sum()
    }

    fn known_dimensions(&self) -> Option<usize> {
        Some(self.shape.as_ref()?.iter().filter(|dimension| !is_unknown(dimension)).count())
    }
}

/// Whether a dimension has neither size nor name.
fn is_unknown(dimension: &Dimension) -> bool {
    dimension.size < 0 && dimension.symbol.is_empty()
}

/// The elements of a whole-number tensor: sizes, symbols, or unknown. A number may be negative, which a dimension
/// cannot be: it is kept separately.
#[derive(Clone, Debug, PartialEq)]
enum Element {
    Number(i64),
    Symbol(String),
    Unknown,
}

impl Element {
    /// The approximate memory it takes.
    fn bytes(&self) -> usize {
        let symbol = match self {
            Self::Symbol(symbol) => symbol.len(),
            Self::Number(_) | Self::Unknown => 0,
        };
        size_of::<Self>() + symbol
    }
}

impl From<&Dimension> for Element {
    fn from(dimension: &Dimension) -> Self {
        match dimension {
            dimension if dimension.size >= 0 => Self::Number(dimension.size),
            dimension if !dimension.symbol.is_empty() => Self::Symbol(dimension.symbol.to_string()),
            _ => Self::Unknown,
        }
    }
}

impl From<&Element> for Dimension {
    fn from(element: &Element) -> Self {
        match element {
            Element::Number(size) if *size >= 0 => Self::fixed(*size),
            Element::Symbol(symbol) => Self::symbolic(symbol.clone()),
            _ => Self::unknown(),
        }
    }
}

/// The facts of all values of a model, by their ids.
pub struct Facts {
    facts: Vec<Fact>,
    elements: Vec<Option<Vec<Element>>>,
}

impl Facts {
    /// What the file declares and what follows from it.
    pub fn of(document: &Document) -> Self {
        let graph = &document.graph;
        let left = listed(document);
        let reader = Reader::new(document, &left);
        let mut facts = Self {
            facts: (0..graph.values.len()).map(|id| declared(reader, id)).collect(),
            elements: vec![None; graph.values.len()],
        };
        let opset = opset(document);
        let (base, factor) = FOUND_BYTES;
        let most = base.saturating_add(factor.saturating_mul(document.source.bytes().len()));
        let mut found_bytes = 0_usize;
        for _ in 0..MAX_PASSES {
            let mut is_new = false;
            for layer in &graph.layers {
                if found_bytes > most {
                    return facts;
                }
                let op = reader.op(layer);
                if op.is_empty() {
                    continue;
                }
                let (found, elements) = {
                    let node = Node { op, layer, opset, reader, facts: &facts };
                    (infer(&node), fold::elements(&node))
                };
                found_bytes += found.iter().map(Fact::bytes).sum::<usize>();
                found_bytes += elements.iter().flatten().map(Element::bytes).sum::<usize>();
                for (output, fact) in layer.outputs.iter().zip(found) {
                    if let Some(id) = *output
                        && is_tensor(reader, id)
                    {
                        is_new |= facts.facts[id].fill(fact);
                    }
                }
                if let (Some(id), Some(elements)) = (layer.output(0), elements)
                    && facts.elements[id].is_none()
                {
                    facts.elements[id] = Some(elements);
                    is_new = true;
                }
            }
            if !is_new {
                break;
            }
        }
        facts
    }

    /// What is known about a value.
    pub fn get(&self, id: ValueId) -> &Fact {
        &self.facts[id]
    }
}

fn is_tensor(reader: Reader<'_>, id: ValueId) -> bool {
    let ty = reader.graph.values[id].ty.as_ref();
    ty.is_none_or(|ty| matches!(ty, ValueType::Tensor(..)))
}

fn declared(reader: Reader<'_>, id: ValueId) -> Fact {
    let value = &reader.graph.values[id];
    let shape = match value.stored {
        Some(stored) => {
            let shape = &reader.tensors.get(stored).shape;
            Some(shape.iter().map(|&size| Dimension::fixed(size)).collect())
        }
        None => value.ty.as_ref().and_then(ValueType::tensor_shape).map(<[Dimension]>::to_vec),
    };
    Fact { dtype: reader.dtype(id), shape }
}

/// The version of ONNX's own operators; that of the first IR versions if the file names none.
fn opset(document: &Document) -> i64 {
    let own = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    let opsets = document.model.opset_import.iter();
    opsets.filter(|opset| own(opset.domain.as_deref())).filter_map(|opset| opset.version).next().unwrap_or(1)
}

/// What is known about a node's outputs, in order; fewer if nothing is known about the rest.
fn infer(node: &Node<'_>) -> Vec<Fact> {
    elementwise::infer(node)
        .or_else(|| window::infer(node))
        .or_else(|| matrix::infer(node))
        .or_else(|| layout::infer(node))
        .or_else(|| branches(node))
        .unwrap_or_default()
}

/// An If's outputs: what both branches agree on.
fn branches(node: &Node<'_>) -> Option<Vec<Fact>> {
    if node.op != "If" {
        return None;
    }
    let outputs = |name: &str| {
        let attribute = node.layer.attributes.iter().find(|attribute| attribute.name == name)?;
        match &attribute.value {
            AttributeValue::Graphs(graphs) => node.reader.graph.subgraphs.get(graphs.first()?.as_str()),
            _ => None,
        }
    };
    let (then, other) = (outputs("then_branch")?, outputs("else_branch")?);
    let common = |(&left, &right): (&ValueId, &ValueId)| {
        let (left, right) = (node.facts.get(left), node.facts.get(right));
        let shape = match (&left.shape, &right.shape) {
            (Some(left), Some(right)) if left.len() == right.len() => {
                let same = |(left, right): (&Dimension, &Dimension)| {
                    if left == right { left.clone() } else { Dimension::unknown() }
                };
                Some(left.iter().zip(right).map(same).collect())
            }
            _ => None,
        };
        Fact::new(left.dtype.filter(|_| left.dtype == right.dtype), shape)
    };
    Some(then.iter().zip(other).map(common).collect())
}
