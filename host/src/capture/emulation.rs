//! The candidate's quantization, put into the reference's graph layer by layer.
//!
//! Whatever the candidate is (Q/DQ pairs, integer operators, another backend), what it does to a layer can be told
//! in the reference's own terms: the layer with the weights that the candidate's codes stand for, its inputs and its
//! result rounded to the candidate's codes. Such a stand-in is added beside each layer. Left beside it, and fed the
//! reference's values, it shows what this layer alone does. Put in its place behind a switch that is an input of the
//! graph, one prepared model computes the network with any set of layers quantized.
//!
//! What an integer kernel rounds inside, such as the 32-bit product to its result, is not emulated: the sum of all
//! stand-ins is close to the candidate and not the same, which is why every result is shown with the candidate's own.

use super::pairing::{ActivationPair, Followed};
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::input::element_type;
use crate::inspect::contrast::values_in_reference_order;
use crate::inspect::elements::Elements;
use crate::inspect::graph::{Graph, Node};
use crate::inspect::pairing::{Ground, TensorPair, tensors};
use crate::inspect::weight::Stored;
use crate::model::{DType, LayerInfo, LayerKind, ModelInfo, QuantizationParameters, Tensor};
use crate::playground::Loaded;
use std::collections::HashMap;

/// Ends the names of what is added.
const MARK: &str = "#quantized";

/// Where the stand-ins are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the layers, which stay as they are.
    Beside,
    /// In place of the layers whose switch is on.
    Switched,
}

/// The reference with stand-ins.
pub struct Emulation {
    /// The changed reference.
    pub session: Session,
    /// One for each pair, in their order.
    pub layers: Vec<StandIn>,
}

/// What stands for one layer of the reference.
#[derive(Clone, Debug, Default)]
pub struct StandIn {
    /// The value it computes; `None` if there is no stand-in.
    pub value: Option<String>,
    /// The graph input that puts it in place of the layer.
    pub switch: Option<String>,
    /// Why there is none although the candidate quantizes the layer.
    pub obstacle: Option<Error>,
}

impl Emulation {
    /// Adds a stand-in for each pair whose layer the candidate quantizes.
    ///
    /// # Errors
    /// `UnsupportedOp` when the reference's backend cannot edit models; what the backends say.
    pub fn new(
        reference: &Loaded,
        candidate: &Loaded,
        pairs: &[ActivationPair<'_>],
        place: Place,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let manifest = reference.session.plugin();
        if !manifest.has_feature("edit") {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("the backend `{}` of `{}` cannot edit models", manifest.id, reference.id),
            )
            .with_hint("Use an ONNX model as the reference."));
        }
        progress.update("emulating the quantization", 0, 0);
        let builder = Builder::new(reference, candidate, pairs);
        let (mut edits, mut layers) = (Vec::new(), Vec::new());
        for (index, pair) in pairs.iter().enumerate() {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            let mut stand_in = StandIn::default();
            match builder.stand_in(index, pair, progress) {
                Ok(Some((value, own))) => {
                    edits.extend(own);
                    stand_in.value = Some(value);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => stand_in.obstacle = Some(error),
            }
            layers.push(stand_in);
        }
        // Only now: what is put in place of a layer is read by the stand-ins behind it.
        if place == Place::Switched {
            for (index, (stand_in, pair)) in layers.iter_mut().zip(pairs).enumerate() {
                let Some(value) = &stand_in.value else { continue };
                let switch = format!("switch{MARK}{index}");
                edits.push(Edit {
                    action: "select",
                    target: pair.reference_value.name.to_owned(),
                    arguments: vec![argument("switch", &switch), argument("then", value)],
                    elements: None,
                });
                stand_in.switch = Some(switch);
            }
        }
        Ok(Self { session: reference.session.edit(&edits, progress)?, layers })
    }

    /// The values of the switches: on for the pairs that `is_on` says.
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

struct Builder<'a> {
    reference: &'a ModelInfo,
    candidate: &'a ModelInfo,
    candidate_model: &'a Loaded,
    candidate_graph: Graph<'a>,
    reference_graph: Graph<'a>,
    weights: HashMap<&'a str, TensorPair<'a>>,
    /// Candidate tensors that are in no pair.
    lonely: Vec<Stored<'a>>,
    /// The pair that a layer is in, by its path: of the reference, and of the candidate.
    of_reference: HashMap<&'a str, usize>,
    of_candidate: HashMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    fn new(reference: &'a Loaded, candidate: &'a Loaded, pairs: &[ActivationPair<'a>]) -> Self {
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

    /// The stand-in's value and how it is made; `None` for a layer that the candidate does not quantize.
    fn stand_in(
        &self,
        index: usize,
        pair: &ActivationPair<'a>,
        progress: &dyn Progress,
    ) -> Result<Option<(String, Vec<Edit>)>> {
        let mark = format!("{MARK}{index}");
        let mut edits = Vec::new();
        let mut copy = vec![argument("suffix", &mark)];
        let real = self.real_type(pair.reference_value.name);
        self.weights(pair, &mark, &mut edits, &mut copy, progress)?;
        for (input, quantization) in self.inputs(pair)? {
            let quantized = format!("{input}{mark}.in");
            let renamed = (format!("input:{input}"), quantized.clone());
            // A layer may read one value twice.
            if !copy.contains(&renamed) {
                edits.push(quantize(input, &quantized, quantization, real)?);
                copy.push(renamed);
            }
        }
        let output = pair.candidate_value.quantization.filter(|output| !output.is_dynamic);
        if edits.is_empty() && output.is_none() {
            return Ok(None);
        }
        let first =
            pair.reference.outputs.first().ok_or_else(|| Error::internal("a layer computes nothing"))?;
        edits.push(Edit { action: "copy-layer", target: first.clone(), arguments: copy, elements: None });
        let mut value = format!("{first}{mark}");
        value = self.through(&pair.reference_value, first, value, &mark, &mut edits)?;
        if let Some(output) = output {
            let quantized = format!("{value}.out");
            edits.push(quantize(&value, &quantized, output, real)?);
            value = quantized;
        }
        Ok(Some((value, edits)))
    }

    /// The layers that are part of the one on the other side. A normalization that the candidate's weights hold
    /// already is left out.
    fn through(
        &self,
        followed: &Followed<'a>,
        first: &str,
        value: String,
        mark: &str,
        edits: &mut Vec<Edit>,
    ) -> Result<String> {
        let (mut exact, mut value) = (first.to_owned(), value);
        for layer in &followed.through {
            let output = layer.outputs.first().cloned().unwrap_or_default();
            if !is_normalization(layer) {
                let arguments = vec![argument("suffix", mark), (format!("input:{exact}"), value)];
                edits.push(Edit { action: "copy-layer", target: output.clone(), arguments, elements: None });
                value = format!("{output}{mark}");
            }
            exact = output;
        }
        Ok(value)
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
        // Shapes and axes are no weights.
        let is_real =
            |name: &&String| self.reference.tensor(name).is_some_and(|tensor| tensor.dtype.is_float());
        for name in pair.reference.inputs.iter().filter(is_real) {
            let Some(matched) = self.weights.get(name.as_str()) else {
                let is_weight = self.reference.tensor(name).is_some_and(|tensor| tensor.shape.len() > 1);
                if is_weight && is_quantized {
                    return Err(Error::not_found(format!("no weight of the candidate belongs to `{name}`")));
                }
                continue;
            };
            let tensor = matched.candidate.tensor;
            let comes_real = Elements::come_real(self.candidate_model, tensor);
            if tensor.quantization.is_none() && !is_folded && !comes_real {
                if tensor.dtype.is_integer() {
                    return Err(Error::invalid_input(format!("the scale of `{}` is not known", tensor.name)));
                }
                continue;
            }
            let values = values_in_reference_order(self.candidate_model, matched, progress)?;
            let new = format!("{name}{mark}");
            edits.push(store(
                &new,
                &values,
                matched.reference.tensor.dtype,
                &matched.reference.tensor.shape,
            )?);
            copy.push((format!("input:{name}"), new));
            stored += 1;
        }
        // A normalization that became part of the convolution brought a bias with it.
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
    fn inputs(&self, pair: &ActivationPair<'a>) -> Result<Vec<(&'a str, &'a QuantizationParameters)>> {
        let mut ours = data(&self.reference_graph, pair.reference);
        let mut theirs = data(&self.candidate_graph, pair.candidate);
        if theirs.iter().flatten().all(|read| read.quantization.is_none()) {
            return Ok(Vec::new());
        }
        if ours.len() != theirs.len() {
            // One of the two has constants among its operands that the other lacks.
            let computed = |reads: &mut Vec<Option<Read<'a>>>| {
                reads.retain(|read| read.is_some_and(|read| read.is_computed));
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
            // Two inputs may have changed places.
            let pair = pair_of(&self.reference_graph, &self.of_reference, read.from);
            let same = theirs.iter().flatten().find(|other| {
                pair.is_some() && pair_of(&self.candidate_graph, &self.of_candidate, other.from) == pair
            });
            let other = same.or_else(|| theirs.get(place)?.as_ref());
            let quantization = other.and_then(|other| other.quantization);
            inputs.extend(quantization.map(|quantization| (read.value, quantization)));
        }
        Ok(inputs)
    }

    /// The type of a value that is quantized.
    fn real_type(&self, name: &str) -> DType {
        self.reference_graph.value(name).map_or(DType::FLOAT32, |value| value.dtype)
    }
}

/// What a layer reads as data.
#[derive(Clone, Copy)]
struct Read<'a> {
    /// The value, where it is computed.
    value: &'a str,
    /// The node that computes it.
    from: usize,
    /// The codes to which it is rounded.
    quantization: Option<&'a QuantizationParameters>,
    /// Whether it depends on the elements of the inputs.
    is_computed: bool,
}

/// What a layer reads as data, in order; `None` for what is stored.
fn data<'a>(graph: &Graph<'a>, layer: &'a LayerInfo) -> Vec<Option<Read<'a>>> {
    let Some(node) = graph.layer(&layer.path) else { return Vec::new() };
    let of_slot = |slot: usize| {
        graph.incoming(node).find(|edge| edge.slot == slot).map(|edge| Read {
            value: edge.value,
            from: edge.from,
            quantization: edge.quantization.or_else(|| layer.codes_of_input(slot)),
            is_computed: match graph.nodes[edge.from] {
                Node::Layer(layer) => layer.kind.computes_activations(),
                Node::Input(_) | Node::Output(_) => true,
            },
        })
    };
    layer.data().map(|(slot, _)| of_slot(slot)).collect()
}

/// Whether a layer normalizes a batch: what a candidate's weights may hold already.
fn is_normalization(layer: &LayerInfo) -> bool {
    layer.kind == LayerKind::BatchNormalization
}

fn argument(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

fn store(name: &str, values: &[f64], dtype: DType, shape: &[u64]) -> Result<Edit> {
    let element = element_type(dtype).filter(|_| dtype.is_float()).ok_or_else(|| {
        Error::new(ErrorKind::UnsupportedOp, format!("weights of {dtype} are not emulated"))
    })?;
    let mut bytes = Vec::with_capacity(element.packed_bytes(values.len()));
    for value in values {
        element.push(&mut bytes, *value).ok_or_else(|| Error::internal("a weight has no such type"))?;
    }
    let elements = Some((dtype, shape.to_vec(), bytes));
    Ok(Edit { action: "store", target: name.to_owned(), arguments: Vec::new(), elements })
}

/// `value` rounded to codes and back, as `result`.
fn quantize(value: &str, result: &str, codes: &QuantizationParameters, real: DType) -> Result<Edit> {
    let mut arguments = vec![argument("as", result)];
    if codes.is_dynamic {
        arguments.push(argument("dynamic", "true"));
    } else {
        if codes.scales.is_empty() || codes.block_size.is_some() {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("the scales of `{value}` are not known, or belong to blocks"),
            ));
        }
        let text = |numbers: &mut dyn Iterator<Item = f64>| {
            numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
        };
        let count = codes.scales.len();
        arguments.push(argument("scales", &text(&mut codes.scales.iter().copied())));
        arguments.push(argument("zero-points", &text(&mut (0..count).map(|index| codes.zero_point(index)))));
        if let Some(axis) = codes.axis.filter(|_| count > 1) {
            arguments.push(argument("axis", &axis.to_string()));
        }
        if real == DType::FLOAT16 {
            arguments.push(argument("real", "float16"));
        }
        if let Some((low, high)) = codes.code_range.filter(|_| count == 1) {
            arguments.push(argument("codes", &format!("{low},{high}")));
        }
    }
    let elements = Some((codes.dtype, Vec::new(), Vec::new()));
    Ok(Edit { action: "quantize", target: value.to_owned(), arguments, elements })
}
