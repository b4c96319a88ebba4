//! Follows a value to the point where it means what the other model's value means: through the quantization that
//! rounds it, and through layers that have no counterpart because they are part of another layer there.

use crate::inspect::graph::{Graph, Node};
use crate::model::{Dimension, LayerInfo, LayerKind, ModelInfo, QuantizationParameters, ValueOrigin};
use std::collections::HashSet;

/// How far a value is followed.
const MAX_STEPS: usize = 24;

/// Where following a layer's value led.
#[derive(Clone, Debug)]
pub struct Followed<'a> {
    /// The value to compare.
    pub name: &'a str,
    /// Its codes, or those it was rounded to on the way.
    pub quantization: Option<&'a QuantizationParameters>,
    /// The layers it was followed through, quantization aside.
    pub through: Vec<&'a LayerInfo>,
}

/// What is known about the other side when a value is followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Partner<'b> {
    /// The other side's layer.
    pub layer: Option<&'b LayerInfo>,
    /// What its codes can represent: a clamp that they do not perform is not part of it.
    pub range: Option<(f64, f64)>,
}

/// What may follow an integer product until it is a real number, in reverse order: the bias, the product with the
/// scales, a cast.
const CONVERSION: [LayerKind; 3] = [LayerKind::Addition, LayerKind::Multiplication, LayerKind::Identity];

impl Partner<'_> {
    /// Whether the other side keeps its elements within a clamp's bounds, to within a hundredth: because of what its
    /// codes can represent, or because it clamps them. Unknown counts as yes.
    pub fn clamps(&self, layer: &LayerInfo) -> bool {
        let Some(bounds) = layer.bounds else { return true };
        let is_within = |(low, high): (f64, f64)| {
            let width = high - low;
            let slack = if width.is_finite() { width.abs() / 100.0 } else { 0.0 };
            low >= bounds.low - slack && high <= bounds.high + slack
        };
        let own = self.layer.and_then(|layer| layer.bounds).map(|bounds| (bounds.low, bounds.high));
        own.is_some_and(is_within) || self.range.is_none_or(is_within)
    }
}

/// Follows values of one model.
pub struct Follower<'a> {
    graph: Graph<'a>,
    /// Layers without a counterpart on the other side.
    lonely: HashSet<&'a str>,
}

impl<'a> Follower<'a> {
    /// `lonely` are the layers without a counterpart on the other side.
    pub fn new(info: &'a ModelInfo, lonely: &[&'a LayerInfo]) -> Self {
        let lonely = lonely.iter().map(|layer| layer.path.as_str()).collect();
        Self { graph: Graph::of(info, true), lonely }
    }

    /// Marks a layer as a partner's, or part of one: nothing is followed through it any more.
    pub fn take(&mut self, layer: &LayerInfo) {
        self.lonely.remove(layer.path.as_str());
    }

    /// The layer that computes a value.
    pub fn producer(&self, value: &str) -> Option<&'a LayerInfo> {
        self.layer(self.graph.producer(value)?)
    }

    fn layer(&self, node: usize) -> Option<&'a LayerInfo> {
        match self.graph.nodes[node] {
            Node::Layer(layer) => Some(layer),
            Node::Input(_) | Node::Output(_) => None,
        }
    }

    /// Where the first value of a layer means what the other side's means.
    pub fn follow(&self, layer: &'a LayerInfo, partner: &Partner<'_>) -> Option<Followed<'a>> {
        let name = layer.outputs.first().filter(|name| !name.is_empty())?;
        Some(self.follow_value(name, layer, (Vec::new(), None), partner))
    }

    /// The same for any value of a layer, or a value computed from it by the layers of `through`; `home` is an
    /// earlier value with an order of dimensions that this one once had, and how often it was moved since.
    pub fn follow_value(
        &self,
        name: &'a str,
        layer: &'a LayerInfo,
        (through, home): (Vec<&'a LayerInfo>, Option<(&'a str, usize)>),
        partner: &Partner<'_>,
    ) -> Followed<'a> {
        let (home, mut moves) = home.unwrap_or((name, 0));
        let mut followed = Followed { name, quantization: None, through };
        let mut left = if self.is_integer_product(layer) { CONVERSION.to_vec() } else { Vec::new() };
        let has_bias = |layer: &LayerInfo| layer.weights.iter().any(|weight| weight.is_bias);
        let mut may_add_bias = partner.layer.is_some_and(|partner| has_bias(partner) && !has_bias(layer));
        // Layers passed since the value last had a meaning of its own.
        let (mut passed, mut at) = (Vec::new(), name);
        for _ in 0..MAX_STEPS {
            let next = self.only_reader(at).or_else(|| self.mover(at, home).filter(|_| moves > 0));
            let Some((next, output)) = next.and_then(|next| Some((next, next.outputs.first()?))) else {
                break;
            };
            if next.kind.is_plumbing() {
                // Only the layer that reads them can make real numbers of codes whose scale depends on the input.
                if self.is_dynamic(output) {
                    break;
                }
                if !passed.is_empty() {
                    at = output;
                    continue;
                }
            } else if left.last() == Some(&next.kind) && self.is_lonely(next) {
                left.pop();
                passed.push(next);
            } else if self.is_folded(next) && partner.clamps(next) {
                passed.push(next);
            } else if may_add_bias && self.is_lonely(next) && self.adds_constant(next) {
                may_add_bias = false;
                passed.push(next);
            } else if self.is_lonely(next) && self.permutes(at, output) {
                // Only to a layer that is a part, or back to the original order: a reordered value is not yet the same.
                passed.push(next);
                at = output;
                moves += 1;
                if moves >= 2 && self.has_shape_of(output, home) {
                    followed.through.append(&mut passed);
                    followed.name = output;
                }
                continue;
            } else {
                break;
            }
            at = output;
            followed.through.append(&mut passed);
            followed.name = output;
        }
        followed.quantization = self.parameters(followed.name);
        followed
    }

    /// How many layers of a chain reorder a value's dimensions.
    pub fn moves_of(&self, chain: &[&'a LayerInfo]) -> usize {
        chain.iter().filter(|layer| self.moves(layer)).count()
    }

    /// Of several layers that read a value, the one without a counterpart that gives it the dimension order of
    /// `home`.
    fn mover(&self, value: &str, home: &str) -> Option<&'a LayerInfo> {
        let readers = self.graph.outgoing(self.graph.producer(value)?).filter(|edge| edge.value == value);
        readers.filter_map(|edge| self.layer(edge.to)).find(|reader| {
            let output = reader.outputs.first();
            self.is_lonely(reader)
                && output
                    .is_some_and(|output| self.permutes(value, output) && self.has_shape_of(output, home))
        })
    }

    /// The layers before `layer` that it may be part of in the other model, the nearest first: each is read by the
    /// next alone, and none satisfies `is_own`, which marks layers with pairs of their own.
    pub fn heads(&self, layer: &'a LayerInfo, is_own: impl Fn(&LayerInfo) -> bool) -> Vec<&'a LayerInfo> {
        let (mut heads, mut at) = (Vec::new(), layer);
        for _ in 0..MAX_STEPS {
            let is_part = self.is_part(at) || self.adds_constant(at) || self.moves(at);
            let converted = self.converted(at);
            let source = converted.or_else(|| self.only_source(at).filter(|_| is_part));
            let Some(source) = source else { break };
            let Some(head) = self.source_through_plumbing(source) else { break };
            if is_own(head) {
                break;
            }
            heads.push(head);
            at = head;
        }
        heads
    }

    /// The layer that computes a value, after quantization; `None` if others read it on the way.
    fn source_through_plumbing(&self, value: &'a str) -> Option<&'a LayerInfo> {
        let mut at = value;
        for _ in 0..MAX_STEPS {
            self.only_reader(at)?;
            let layer = self.producer(at)?;
            if !layer.kind.is_plumbing() {
                return Some(layer);
            }
            at = layer.inputs.first()?;
        }
        None
    }

    /// The only activation that a layer reads.
    fn only_source(&self, layer: &'a LayerInfo) -> Option<&'a str> {
        let mut sources = layer.data().filter(|(_, name)| self.is_activation(name)).map(|(_, name)| name);
        let source = sources.next()?;
        sources.next().is_none().then_some(source)
    }

    /// The one layer that reads a value, if no other does and it is not an output; of several that do the same to it,
    /// as when each reader has its own quantizer, the first. Layers that only look at the value's shape do not count.
    pub fn only_reader(&self, value: &str) -> Option<&'a LayerInfo> {
        let producer = self.graph.producer(value)?;
        let reader = |node: usize| self.layer(node);
        let counts = |node: usize| reader(node).is_none_or(|layer| layer.kind.computes_activations());
        let mut readers = self.graph.outgoing(producer).filter(|edge| edge.value == value && counts(edge.to));
        let first = reader(readers.next()?.to)?;
        let are_alike = readers.all(|edge| {
            reader(edge.to).is_some_and(|other| first.kind.is_plumbing() && other.kind == first.kind)
        });
        are_alike.then_some(first)
    }

    /// The parameters of the codes that a value is, or was rounded to.
    pub fn parameters(&self, value: &str) -> Option<&'a QuantizationParameters> {
        self.graph.value(value).and_then(|value| value.quantization.as_ref())
    }

    /// Whether a value is computed from the inputs' elements.
    fn is_activation(&self, value: &str) -> bool {
        self.graph.producer(value).is_some_and(|node| {
            self.layer(node).is_none_or(|layer| layer.kind.computes_activations() && !self.is_constant(value))
        })
    }

    fn is_constant(&self, value: &str) -> bool {
        self.graph.value(value).is_some_and(|value| value.origin != ValueOrigin::Activation)
    }

    fn is_dynamic(&self, value: &str) -> bool {
        self.parameters(value).is_some_and(|codes| codes.is_dynamic)
    }

    fn is_lonely(&self, layer: &LayerInfo) -> bool {
        self.lonely.contains(layer.path.as_str())
    }

    /// Whether a layer may be part of the preceding one in another model. A layer that computes from several values,
    /// such as an addition with ReLU, is part of none of them.
    fn is_part(&self, layer: &'a LayerInfo) -> bool {
        let is_part =
            matches!(layer.kind, LayerKind::Clamp | LayerKind::BatchNormalization | LayerKind::Identity);
        is_part && layer.data().filter(|(_, name)| self.is_activation(name)).count() <= 1
    }

    fn is_folded(&self, layer: &'a LayerInfo) -> bool {
        self.is_lonely(layer) && self.is_part(layer)
    }

    /// The operand of a product with scales that makes a product of codes real: the cast of that product.
    fn converted(&self, layer: &'a LayerInfo) -> Option<&'a str> {
        let is_cast = |name: &str| {
            let cast = self.producer(name).filter(|cast| cast.kind == LayerKind::Identity)?;
            let product = self.producer(self.only_source(cast)?)?;
            self.is_integer_product(product).then_some(())
        };
        let mut inputs = layer.data().filter(|_| layer.kind == LayerKind::Multiplication);
        inputs.find(|(_, name)| is_cast(name).is_some()).map(|(_, name)| name)
    }

    /// Whether a layer adds a constant, as when a bias is a separate layer.
    fn adds_constant(&self, layer: &'a LayerInfo) -> bool {
        layer.kind == LayerKind::Addition && self.only_source(layer).is_some()
    }

    /// Whether a layer only reorders a value's dimensions.
    fn moves(&self, layer: &'a LayerInfo) -> bool {
        let ends = self.only_source(layer).zip(layer.outputs.first());
        ends.is_some_and(|(input, output)| self.permutes(input, output))
    }

    /// Whether a value has another's dimensions in another order, and is computed by moving them.
    fn permutes(&self, from: &str, to: &str) -> bool {
        let is_movement = self.producer(to).is_some_and(|layer| layer.kind == LayerKind::Movement);
        let sorted = |value: &str| {
            let mut shape: Vec<String> = self.known_shape(value)?.iter().map(ToString::to_string).collect();
            shape.sort_unstable();
            Some(shape)
        };
        is_movement && sorted(from).is_some_and(|from| sorted(to) == Some(from))
    }

    fn has_shape_of(&self, value: &str, other: &str) -> bool {
        self.known_shape(value).is_some_and(|shape| self.known_shape(other) == Some(shape))
    }

    /// A shape whose dimensions all have a size or a name.
    fn known_shape(&self, value: &str) -> Option<&'a Vec<Dimension>> {
        let shape = self.graph.value(value)?.shape.as_ref()?;
        shape.iter().all(|dimension| *dimension != Dimension::Unknown).then_some(shape)
    }

    /// Whether a layer computes a product of codes that has no scale yet.
    fn is_integer_product(&self, layer: &LayerInfo) -> bool {
        let is_product = matches!(layer.kind, LayerKind::Convolution | LayerKind::Linear);
        let value = layer.outputs.first().and_then(|name| self.graph.value(name));
        is_product && value.is_some_and(|value| value.dtype.is_integer() && value.quantization.is_none())
    }
}
