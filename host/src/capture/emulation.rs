//! The candidate's quantization, put into the reference's graph layer by layer.
//!
//! Whatever the candidate is made of (Q/DQ pairs, integer operators, another backend), what it does to a layer can be
//! expressed in the reference's own terms: the layer with the weights that the candidate's codes stand for, and its
//! inputs and its result rounded to the candidate's codes. Such an emulated layer, a stand-in, is added next to each
//! layer. Left there, and fed the reference's values, it shows what this layer alone does. Selected in place of the
//! layer by a switch, an input of the graph, it lets one prepared model compute the network with any set of layers
//! quantized.
//!
//! What an integer kernel rounds internally, such as the 32-bit product to its result, is not emulated: the sum of
//! all stand-ins is close to the candidate but not the same, which is why every result is shown next to the
//! candidate's own.

use super::edits::{Editing, argument, dequantized, round, store};
use super::pairing::{ActivationPair, Followed};
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::contrast::{lie_alike, values_in_reference_order};
use crate::inspect::elements::Elements;
use crate::inspect::graph::{Graph, Node, Rounding};
use crate::inspect::pairing::{Ground, TensorPair, tensors};
use crate::inspect::weight::Stored;
use crate::model::{DType, LayerInfo, LayerKind, ModelInfo, QuantizationParameters, Tensor, TensorInfo};
use crate::playground::Loaded;
use std::collections::HashMap;

/// The suffix of added names.
const MARK: &str = "#quantized";

/// Where the stand-ins go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Next to the layers, which stay as they are.
    Beside,
    /// In place of the layers whose switch is on.
    Switched,
}

/// The reference with its stand-ins.
pub struct Emulation {
    /// The edited reference.
    pub session: Session,
    /// One per pair, in order.
    pub layers: Vec<StandIn>,
}

/// What stands for one layer of the reference.
#[derive(Clone, Debug, Default)]
pub struct StandIn {
    /// The value it computes; `None` without a stand-in.
    pub value: Option<String>,
    /// The graph input that puts it in place of the layer.
    pub switch: Option<String>,
    /// Why there is none although the candidate quantizes the layer.
    pub obstacle: Option<Error>,
    /// The reference's value that it stands for.
    target: String,
}

impl Emulation {
    /// Adds a stand-in for each pair whose layer the candidate quantizes.
    ///
    /// # Errors
    /// `UnsupportedOp` when the reference's backend cannot edit models; those of the backends.
    pub fn new(
        reference: &Loaded,
        candidate: &Loaded,
        pairs: &[ActivationPair<'_>],
        place: Place,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let manifest = reference.session.plugin();
        if !manifest.has_feature("emulate") {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("the backend `{}` of `{}` cannot edit models", manifest.id, reference.id),
            )
            .with_hint("Use an ONNX model as the reference."));
        }
        progress.update("emulating the quantization", 0, 0);
        let builder = Builder::new(reference, candidate, pairs);
        let (mut editing, mut layers) = (Editing::of(&reference.session), Vec::new());
        for (index, pair) in pairs.iter().enumerate() {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            let mut stand_in = StandIn::default();
            match builder.stand_in(index, pair, place, progress) {
                Ok(Some(made)) => {
                    editing.add(made.edits, progress)?;
                    stand_in.value = Some(made.value);
                    stand_in.target = made.target;
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => stand_in.obstacle = Some(error),
            }
            layers.push(stand_in);
        }
        // Only now: the stand-ins after a replaced layer read its replacement.
        if place == Place::Switched {
            for (index, stand_in) in layers.iter_mut().enumerate() {
                let Some(value) = &stand_in.value else { continue };
                let switch = format!("switch{MARK}{index}");
                let select = Edit {
                    action: "select",
                    target: stand_in.target.clone(),
                    arguments: vec![argument("switch", &switch), argument("then", value)],
                    elements: None,
                };
                editing.add([select], progress)?;
                stand_in.switch = Some(switch);
            }
        }
        Ok(Self { session: editing.finish(progress)?, layers })
    }

    /// The values of the switches: on for the pairs for which `is_on` holds.
    pub fn switches(&self, is_on: impl Fn(usize) -> bool) -> Vec<Tensor> {
        let switch = |(index, stand_in): (usize, &StandIn)| {
            Some(Tensor {
                name: stand_in.switch.clone()?,
                dtype: DType::BOOL,
                shape: Vec::new(),
                bytes: vec![u8::from(is_on(index))],
                quantization: None,
            })
        };
        self.layers.iter().enumerate().filter_map(switch).collect()
    }
}

struct Builder<'a, 'b> {
    pairs: &'b [ActivationPair<'a>],
    reference: &'a ModelInfo,
    candidate: &'a ModelInfo,
    candidate_model: &'a Loaded,
    candidate_graph: Graph<'a>,
    reference_graph: Graph<'a>,
    weights: HashMap<&'a str, TensorPair<'a>>,
    /// Candidate tensors without a partner.
    lonely: Vec<Stored<'a>>,
    /// The pair that a layer is in, by its path: for the reference, and for the candidate.
    of_reference: HashMap<&'a str, usize>,
    of_candidate: HashMap<&'a str, usize>,
}

impl<'a, 'b> Builder<'a, 'b> {
    fn new(reference: &'a Loaded, candidate: &'a Loaded, pairs: &'b [ActivationPair<'a>]) -> Self {
        let matched = tensors(reference.info(), candidate.info());
        let members = |layer: fn(&ActivationPair<'a>) -> (&'a LayerInfo, Vec<&'a LayerInfo>)| {
            let mut members = HashMap::new();
            for (index, pair) in pairs.iter().enumerate() {
                let (first, through) = layer(pair);
                members.insert(first.path.as_str(), index);
                members.extend(through.into_iter().map(|layer| (layer.path.as_str(), index)));
            }
            members
        };
        Self {
            pairs,
            reference: reference.info(),
            candidate: candidate.info(),
            candidate_model: candidate,
            candidate_graph: Graph::of(candidate.info(), false),
            reference_graph: Graph::of(reference.info(), false),
            weights: matched
                .pairs
                .into_iter()
                .map(|pair| (pair.reference.tensor.name.as_str(), pair))
                .collect(),
            lonely: matched.unmatched_candidate,
            of_reference: members(|pair| (pair.reference, pair.reference_value.through.clone())),
            of_candidate: members(|pair| (pair.candidate, pair.candidate_value.through.clone())),
        }
    }

    /// How a stand-in is made; `None` for a layer that the candidate does not quantize.
    fn stand_in(
        &self,
        index: usize,
        pair: &ActivationPair<'a>,
        place: Place,
        progress: &dyn Progress,
    ) -> Result<Option<Made>> {
        let mark = format!("{MARK}{index}");
        let mut edits = Vec::new();
        let mut copy = vec![argument("suffix", &mark)];
        let real = self.real_type(pair.reference_value.name);
        if let Some(input) = self.lost(pair) {
            let value = round(input, &format!("{input}{mark}"), &self.of_output(pair), real, &mut edits)?;
            return Ok(Some(Made { value, target: pair.reference_value.name.to_owned(), edits }));
        }
        self.weights(pair, &mark, &mut edits, &mut copy, progress)?;
        for (input, roundings) in self.inputs(pair)? {
            let name = (format!("input:{input}"), format!("{input}{mark}.in"));
            // A layer may read one value twice.
            if !copy.iter().any(|(argument, _)| *argument == name.0) {
                let quantized = round(input, &name.1, &roundings, real, &mut edits)?;
                copy.push((name.0, quantized));
            }
        }
        let inner = self.before_bias(pair);
        let output = self.of_output(pair);
        if edits.is_empty() && output.is_empty() && inner.is_none() {
            return Ok(None);
        }
        let first = compared_output(pair)?;
        let mut value = format!("{first}{mark}");
        if let Some(inner) = inner {
            let bias = inner.take_bias(&mark, &mut edits, &mut copy)?;
            edits.push(Edit { action: "copy-layer", target: first.clone(), arguments: copy, elements: None });
            let rounded = round(&value, &format!("{value}.product"), &inner.roundings, real, &mut edits)?;
            value = format!("{value}.sum");
            let arguments = vec![
                argument("other", &bias),
                argument("as", &value),
                argument("behind", &inner.dimensions_behind.to_string()),
            ];
            edits.push(Edit { action: "add", target: rounded, arguments, elements: None });
        } else {
            edits.push(Edit { action: "copy-layer", target: first.clone(), arguments: copy, elements: None });
        }
        let mut through = &pair.reference_value.through[..];
        // Layers other than the last may read a value before it was moved: it is rounded there, which moving does not
        // change.
        let is_by_channel = output.iter().any(|rounding| rounding.quantize.axis.is_some());
        while let [before @ .., last] = through
            && place == Place::Switched
            && last.kind == LayerKind::Movement
            && !is_by_channel
        {
            through = before;
        }
        let (target, value) = self.through(through, first, value, &mark, &mut edits);
        let rounded = format!("{value}.out");
        let value = round(&value, &rounded, &output, real, &mut edits)?;
        Ok(Some(Made { value, target, edits }))
    }

    /// What a clamp reads if the candidate has lost it: the candidate has one value for what is before and after the
    /// clamp, and its codes do not cut off what the clamp would (otherwise the clamp would be part of the preceding layer).
    fn lost(&self, pair: &ActivationPair<'a>) -> Option<&'a str> {
        pair.reference.bounds.filter(|_| pair.reference_value.through.is_empty())?;
        let reads = data(&self.reference_graph, pair.reference);
        let [Some(read)] = &reads[..] else { return None };
        let Node::Layer(producer) = self.reference_graph.nodes[read.from] else { return None };
        let before = &self.pairs[*self.of_reference.get(producer.path.as_str())?];
        let origin = |pair: &ActivationPair<'a>| self.candidate_graph.origin(pair.candidate_value.name);
        (before.reference_value.name == read.value && origin(before) == origin(pair)).then_some(read.value)
    }

    /// What the candidate rounds the layer's result to.
    fn of_output(&self, pair: &ActivationPair<'a>) -> Vec<Rounding<'a>> {
        let Followed { name, quantization, .. } = pair.candidate_value;
        let Some(codes) = quantization.filter(|codes| !codes.is_dynamic) else { return Vec::new() };
        let mut roundings = self.candidate_graph.roundings(name);
        roundings.retain(|rounding| !rounding.quantize.is_dynamic);
        if roundings.is_empty() {
            roundings.push(Rounding { value: name, quantize: codes, dequantize: codes });
        }
        roundings
    }

    /// What the candidate rounds where the reference's layer adds its bias at once: the candidate's bias is a
    /// separate layer that reads codes.
    fn before_bias(&self, pair: &ActivationPair<'a>) -> Option<BeforeBias<'a>> {
        let mut biases = pair.reference.weights.iter().filter(|used| used.is_bias);
        let (Some(bias), None) = (biases.next(), biases.next()) else { return None };
        let bias = self.reference.tensor(&bias.tensor).filter(|tensor| tensor.dtype.is_float())?;
        pair.reference.inputs.contains(&bias.name).then_some(())?;
        let through = &pair.candidate_value.through;
        let addition = through.iter().position(|layer| layer.kind == LayerKind::Addition)?;
        if through[..addition].iter().any(|layer| layer.kind != LayerKind::Movement) {
            return None;
        }
        let reads = through[..=addition].iter().flat_map(|layer| data(&self.candidate_graph, layer));
        let roundings = reads.flatten().flat_map(|read| read.roundings);
        let mut found: Vec<Rounding<'a>> = Vec::new();
        // Per-channel codes would have a different axis after a move.
        for rounding in roundings.filter(|rounding| !rounding.quantize.is_dynamic) {
            if rounding.quantize.axis.is_some() && addition > 0 {
                return None;
            }
            if found.last().is_none_or(|last| !last.dequantize.gives_the_values_of(rounding.quantize)) {
                found.push(rounding);
            }
        }
        let weight = pair.reference.inputs.iter().filter_map(|name| self.reference.tensor(name));
        let rank = weight.map(|weight| weight.shape.len()).max()?;
        let dimensions_behind = match pair.reference.kind {
            LayerKind::Convolution => rank.checked_sub(2)?,
            _ => 0,
        };
        (!found.is_empty()).then_some(BeforeBias { bias, roundings: found, dimensions_behind })
    }

    /// The layers that are part of the one on the other side. A normalization that the candidate's weights already
    /// contain is left out. Returns the value that the last of them computes, and its stand-in.
    fn through(
        &self,
        through: &[&'a LayerInfo],
        first: &str,
        value: String,
        mark: &str,
        edits: &mut Vec<Edit>,
    ) -> (String, String) {
        let (mut exact, mut value) = (first.to_owned(), value);
        for layer in through {
            let output = layer.outputs.first().cloned().unwrap_or_default();
            if !is_normalization(layer) {
                let arguments = vec![argument("suffix", mark), (format!("input:{exact}"), value)];
                edits.push(Edit { action: "copy-layer", target: output.clone(), arguments, elements: None });
                value = format!("{output}{mark}");
            }
            exact = output;
        }
        (exact, value)
    }

    /// The weights that the candidate's codes stand for, in the reference's order.
    fn weights(
        &self,
        pair: &ActivationPair<'a>,
        mark: &str,
        edits: &mut Vec<Edit>,
        copy: &mut Vec<(String, String)>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let through = &pair.reference_value.through;
        let is_folded = through.iter().any(|layer| is_normalization(layer));
        let is_quantized = self.candidate_layer_is_quantized(pair);
        let mut stored = 0;
        // Shapes and axes are not weights.
        let is_real =
            |name: &&String| self.reference.tensor(name).is_some_and(|tensor| tensor.dtype.is_float());
        for name in pair.reference.inputs.iter().filter(is_real) {
            let Some(matched) = self.weights.get(name.as_str()) else {
                let is_weight = self.reference.tensor(name).is_some_and(|tensor| tensor.shape.len() > 1);
                if is_weight && is_quantized {
                    return Err(Error::not_found(format!("no weight of the candidate matches `{name}`")));
                }
                continue;
            };
            let own = self.own_weight(pair, matched);
            let matched = own.as_ref().unwrap_or(matched);
            let tensor = matched.candidate.tensor;
            let comes_real = Elements::come_real(self.candidate_model, tensor);
            if tensor.quantization.is_none() && !is_folded && !comes_real {
                if tensor.dtype.is_integer() {
                    return Err(Error::invalid_input(format!("the scale of `{}` is not known", tensor.name)));
                }
                continue;
            }
            let new = format!("{name}{mark}");
            match codes(matched).filter(|_| !comes_real) {
                Some(parameters) => {
                    let codes = self.candidate_model.session.read_whole_tensor(&tensor.name, progress)?;
                    edits.extend(dequantized(&new, codes, parameters));
                }
                None => {
                    let values = values_in_reference_order(self.candidate_model, matched, progress)?;
                    let real = matched.reference.tensor;
                    edits.push(store(&new, &values, real.dtype, &real.shape)?);
                }
            }
            copy.push((format!("input:{name}"), new));
            stored += 1;
        }
        // A normalization that was folded into the convolution brought a bias with it.
        let channels = pair.reference.inputs.iter().find_map(|name| {
            self.reference.tensor(name).filter(|tensor| tensor.shape.len() > 1)?.shape.first().copied()
        });
        let has_bias = pair.reference.inputs.len() > 2;
        let bias = self.lonely.iter().find(|lonely| {
            lonely.layer.is_some_and(|layer| layer.path == pair.candidate.path)
                && lonely.tensor.shape.len() == 1
                && lonely.tensor.shape.first().copied() == channels
        });
        if let Some(bias) = bias.filter(|_| is_folded && !has_bias && stored > 0) {
            let alone = TensorPair {
                reference: *bias,
                candidate: *bias,
                ground: Ground::SAME,
                fit: qp_analysis::ShapeFit::Same,
            };
            let values = values_in_reference_order(self.candidate_model, &alone, progress)?;
            let new = format!("bias{mark}");
            edits.push(store(&new, &values, DType::FLOAT32, &bias.tensor.shape)?);
            copy.push(argument("append", &new));
        }
        Ok(())
    }

    /// The weight that the candidate's layer reads, if the name pairs with a tensor that it does not read: an embedding
    /// table stored as codes may also be stored as real numbers for another layer.
    fn own_weight(&self, pair: &ActivationPair<'a>, matched: &TensorPair<'a>) -> Option<TensorPair<'a>> {
        let mut uses = pair.candidate.weights.iter().filter(|used| !used.is_bias);
        let (only, None) = (uses.next()?, uses.next()) else { return None };
        if pair.reference.weights.iter().filter(|used| !used.is_bias).count() != 1
            || only.tensor == matched.candidate.tensor.name
            || matched.reference.tensor.shape.len() < 2
        {
            return None;
        }
        let tensor = self.candidate.tensor(&only.tensor).filter(|tensor| tensor.quantization.is_some())?;
        let fit = qp_analysis::shape_fit(&matched.reference.tensor.shape, &tensor.shape, true)?;
        let candidate = Stored { layer: Some(pair.candidate), tensor };
        Some(TensorPair { candidate, fit, ..*matched })
    }

    fn candidate_layer_is_quantized(&self, pair: &ActivationPair<'_>) -> bool {
        let reads_codes = pair
            .candidate
            .inputs
            .iter()
            .chain(&pair.candidate.tensors)
            .any(|name| self.candidate.tensor(name).is_some_and(|tensor| tensor.quantization.is_some()));
        reads_codes || pair.candidate.quantization.is_some()
    }

    /// The values that the layer reads, each with the codes to which the candidate rounds it.
    fn inputs(&self, pair: &ActivationPair<'a>) -> Result<Vec<(&'a str, Vec<Rounding<'a>>)>> {
        let mut ours = data(&self.reference_graph, pair.reference);
        let mut theirs = data(&self.candidate_graph, pair.candidate);
        if theirs.iter().flatten().all(|read| read.roundings.is_empty()) {
            return Ok(Vec::new());
        }
        if ours.len() != theirs.len() {
            // Only one of the two has constant operands.
            let computed = |reads: &mut Vec<Option<Read<'a>>>| {
                reads.retain(|read| read.as_ref().is_some_and(|read| read.is_computed));
                reads.len()
            };
            let counts = (computed(&mut ours), computed(&mut theirs));
            if counts.0 != counts.1 {
                let plural = if counts.0 == 1 { "" } else { "s" };
                return Err(Error::invalid_input(format!(
                    "`{}` reads {} computed value{plural}, and `{}` of the candidate {}",
                    pair.reference.path, counts.0, pair.candidate.path, counts.1
                )));
            }
        }
        let pair_of =
            |graph: &Graph<'a>, members: &HashMap<&'a str, usize>, node: usize| match graph.nodes[node] {
                Node::Layer(layer) => members.get(layer.path.as_str()).copied(),
                Node::Input(_) | Node::Output(_) => None,
            };
        let mut inputs = Vec::new();
        for (place, read) in ours.iter().enumerate() {
            let Some(read) = read else { continue };
            // Two inputs may have swapped places.
            let pair = pair_of(&self.reference_graph, &self.of_reference, read.from);
            let same = theirs.iter().flatten().find(|other| {
                pair.is_some() && pair_of(&self.candidate_graph, &self.of_candidate, other.from) == pair
            });
            let other = same.or_else(|| theirs.get(place)?.as_ref());
            let roundings = other.map(|other| self.of_input(other)).unwrap_or_default();
            if !roundings.is_empty() {
                inputs.push((read.value, roundings));
            }
        }
        Ok(inputs)
    }

    /// What the candidate rounds a layer's input to. What a pair's result is already rounded to is not rescaled a
    /// second time.
    fn of_input(&self, read: &Read<'a>) -> Vec<Rounding<'a>> {
        let Node::Layer(producer) = self.candidate_graph.nodes[read.from] else {
            return read.roundings.clone();
        };
        let result =
            self.of_candidate.get(producer.path.as_str()).map(|pair| self.pairs[*pair].candidate_value.name);
        let is_result = |rounding: &Rounding<'a>| Some(rounding.value) == result;
        let done = read.roundings.iter().position(is_result).map_or(0, |last| last + 1);
        let settled = |(place, rounding): (usize, &Rounding<'a>)| match place < done {
            true => Rounding { quantize: rounding.dequantize, ..*rounding },
            false => *rounding,
        };
        read.roundings.iter().enumerate().skip(done.saturating_sub(1)).map(settled).collect()
    }

    /// The type of a value that is quantized.
    fn real_type(&self, name: &str) -> DType {
        self.reference_graph.value(name).map_or(DType::FLOAT32, |value| value.dtype)
    }
}

/// A stand-in on its way into the graph.
struct Made {
    /// What it computes.
    value: String,
    /// The reference's value that it stands for.
    target: String,
    edits: Vec<Edit>,
}

/// What the candidate rounds before it adds the bias.
struct BeforeBias<'a> {
    /// The reference's bias.
    bias: &'a TensorInfo,
    roundings: Vec<Rounding<'a>>,
    /// How many dimensions of the layer's result come after that of the bias.
    dimensions_behind: usize,
}

impl BeforeBias<'_> {
    /// Makes the copy of the layer add nothing; returns the name of what to add after the rounding.
    fn take_bias(
        &self,
        mark: &str,
        edits: &mut Vec<Edit>,
        copy: &mut Vec<(String, String)>,
    ) -> Result<String> {
        let bias = self.bias;
        let count = bias.shape.iter().product::<u64>() as usize;
        let zeros = format!("{}{mark}.zero", bias.name);
        edits.push(store(&zeros, &vec![0.0; count], bias.dtype, &bias.shape)?);
        let place = format!("input:{}", bias.name);
        match copy.iter_mut().find(|(argument, _)| *argument == place) {
            Some((_, stored)) => Ok(std::mem::replace(stored, zeros)),
            None => {
                copy.push((place, zeros));
                Ok(bias.name.clone())
            }
        }
    }
}

/// What a layer reads as data.
struct Read<'a> {
    /// The value, where it is computed.
    value: &'a str,
    /// The node that computes it.
    from: usize,
    /// What it is rounded to on the way.
    roundings: Vec<Rounding<'a>>,
    /// Whether it depends on the elements of the inputs.
    is_computed: bool,
}

/// What a layer reads as data, in order; `None` for what is stored.
fn data<'a>(graph: &Graph<'a>, layer: &'a LayerInfo) -> Vec<Option<Read<'a>>> {
    let Some(node) = graph.layer(&layer.path) else { return Vec::new() };
    let of_slot = |(slot, name): (usize, &'a str)| {
        let edge = graph.incoming(node).find(|edge| edge.slot == slot)?;
        let mut roundings = graph.roundings(name);
        if let Some(codes) = layer.codes_of_input(slot).filter(|_| edge.quantization.is_none()) {
            roundings.push(Rounding { value: name, quantize: codes, dequantize: codes });
        }
        Some(Read {
            value: edge.value,
            from: edge.from,
            roundings,
            is_computed: match graph.nodes[edge.from] {
                Node::Layer(layer) => layer.kind.computes_activations(),
                Node::Input(_) | Node::Output(_) => true,
            },
        })
    };
    layer.data().map(of_slot).collect()
}

/// The layer's output that is compared, or from which the following layers compute what is compared.
fn compared_output<'a>(pair: &ActivationPair<'a>) -> Result<&'a String> {
    let outputs = &pair.reference.outputs;
    let is_read = |output: &&String| match pair.reference_value.through.first() {
        Some(next) => next.inputs.contains(output),
        None => output.as_str() == pair.reference_value.name,
    };
    let first = || outputs.iter().find(|output| !output.is_empty());
    outputs.iter().find(is_read).or_else(first).ok_or_else(|| Error::internal("a layer computes nothing"))
}

/// Whether a layer is a batch normalization, which a candidate's weights may already contain.
fn is_normalization(layer: &LayerInfo) -> bool {
    layer.kind == LayerKind::BatchNormalization
}

/// The parameters of codes that can be stored as they are, in a quarter of the space of the real numbers: bytes in
/// the reference's element order, with scales that a `float32` holds, so that the runtime computes the same numbers.
fn codes<'a>(matched: &TensorPair<'a>) -> Option<&'a QuantizationParameters> {
    let (reference, candidate) = (matched.reference.tensor, matched.candidate.tensor);
    let parameters = candidate.quantization.as_ref()?;
    let is_plain = matches!(candidate.dtype, DType::INT8 | DType::UINT8)
        && candidate.dtype == parameters.dtype
        && reference.dtype == DType::FLOAT32
        && reference.shape == candidate.shape
        && lie_alike(matched)
        && parameters.block_size.is_none()
        && !parameters.is_dynamic
        && !parameters.scales.is_empty();
    let is_exact = |scale: &f64| f64::from(*scale as f32) == *scale;
    (is_plain && parameters.scales.iter().all(is_exact)).then_some(parameters)
}
