//! Changes to a model in memory.
//!
//! The actions are small and build on each other: an action may name what an earlier one added.
//!
//! | action | target | does |
//! |---|---|---|
//! | `store` | a new name | adds a stored tensor with the given elements |
//! | `copy-layer` | a value | adds a copy of the node that computes it; its outputs have the original's names followed by `suffix`; `input:OLD` = NEW reads another value, `append` = NAME adds an input |
//! | `quantize` | a value | adds the value `as`: the target quantized to `dtype` and back, with `scales` and `zero-points` (one, or one for each channel along `axis`), or with `dynamic` ones; `codes` = LOW,HIGH keeps to fewer codes than the dtype has, with one scale; with `read-scales` and `read-zero-points` the codes are read with these instead of the parameters they were made with |
//! | `dequantize` | stored codes | adds the value `as`: the real numbers that the codes stand for with `scales` and `zero-points`, along `axis` if there are several |
//! | `add` | a value | adds the value `as`: the target plus the value `other`, to which `behind` trailing dimensions of 1 are added |
//! | `set-quantization` | a value, or stored codes | gives the codes `scales` and `zero-points` (one for all, or as many as there are), wherever the graph makes or reads them; a stored scale that other codes share is copied |
//! | `replace` | a stored tensor | gives it other elements, of the same type and shape |
//! | `unquantize` | a value | lets the layer that computes it read real numbers: what was rounded for it, or, in place of the stored codes C, the stored tensor that `real:C` names; readers that compute with real numbers get the value unrounded; with `if-any` it may have nothing to read so |
//! | `widen` | a value | lets the layer that computes it read codes of `bits` bits (8 or 16): what is rounded for it is rounded to a finer grid of the same range, in place of the stored codes C come the stored codes that `codes:C` names, each step of C divided into `steps:C`, or the real numbers that `real:C` names |
//! | `convert` | – | writes the whole model in the form `to`: `qdq`, `qoperator`, `float` (nothing is rounded any more), or with `uint8` or `int8` activations that mean the same; with `opset` = N in place of `to`, with the operators of a newer version |
//! | `prepare` | – | stores constants as tensors, removes layers that only pass on, folds batch normalizations into convolutions |
//! | `fold-clamp` | a value | removes the clamp that computes it; what was clamped gets the target's name |
//! | `quantize-value` | a value | lets all readers get it rounded to codes of `dtype` and back, with `scales` and `zero-points`, or those of the value or tensor `same-as` |
//! | `quantize-tensor` | a stored tensor | stores these codes in its place, with `scales` and `zero-points`, along `axis` if there are several |
//! | `quantize-bias` | a stored tensor | stores these integers in its place for the layer that computes `value`, with `scales`; under the name `copy`, if given, for that layer alone |
//! | `quantize-dynamic` | a stored tensor | stores these codes for the layers that compute the values named `value`, which multiply with them and round what they read at each run |
//! | `quantize-blocks` | a stored matrix | stores these codes for the layers that compute the values named `value`, with `scales` and `zero-points` for each `block-size` elements along `axis`; `to` = `product` makes one operator of blocks and product, with `accuracy-level` if given, otherwise the matrix is dequantized |
//! | `select` | a value | all readers of the target get the value `then`, which must not depend on it, when the new boolean input `switch` is true |
//!
//! The first six add to the graph, for measurements; the others change what it has, for a model that is used and saved; `select` switches.
//!
//! Numbers are computed as ONNX Runtime computes them: by its own QuantizeLinear and DequantizeLinear in the domain
//! `com.microsoft`, which support 16-bit codes whatever the model's opset.

mod blocks;
mod codes;
mod convert;
mod describe;
mod dynamic;
mod operators;
mod opset;
mod parameters;
mod prepare;
mod unquantize;
mod widen;

use crate::external_data::ExternalFiles;
use crate::held::{Held, give};
use crate::proto::type_proto::{Tensor, Value};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};
use codes::Codes;
pub(crate) use codes::{inner_reads, int, is_plain_product};
pub use describe::{describe_values, need_shapes};
use dynamic::Dynamic;
use half::f16;
use qp_abi::manifest::Pair;
use qp_abi::sdk::{BackendError, DType, Edit, Result, lookup};
use std::collections::{HashMap, HashSet};

const CONTRIB: &str = "com.microsoft";

/// More than any layer's values have.
const MAX_DIMENSIONS: usize = 16;

/// Changes the model; large tensors that are stored go to `held`. `external` has the elements that are not in the model.
///
/// # Errors
/// `NotFound` for a target that does not exist, `InvalidInput` for arguments that make no sense, `UnsupportedOp` for
/// an unknown action.
pub fn apply(
    model: &mut ModelProto,
    held: &mut Held,
    external: &ExternalFiles,
    edits: &[Edit],
) -> Result<()> {
    let opset = opset(model);
    let graph = model.graph.get_or_insert_default();
    let written = graph.node.len();
    let codes = Codes::of(edits, opset);
    let dynamic = Dynamic::default();
    let mut editor = Editor { names: names(graph), graph, held, external, written, opset, codes, dynamic };
    if edits.iter().any(blocks::need_their_opset) {
        editor.raise_opset(opset.max(blocks::OPSET))?;
        editor.codes = Codes::of(edits, editor.opset);
    }
    for edit in edits {
        match edit.action.as_str() {
            "store" => editor.store(edit)?,
            "copy-layer" => editor.copy_layer(edit)?,
            "quantize" => editor.quantize(edit)?,
            "dequantize" => editor.dequantize(edit)?,
            "add" => editor.add(edit)?,
            "select" => editor.select(edit)?,
            "set-quantization" => editor.set_quantization(edit)?,
            "replace" => editor.replace(edit)?,
            "unquantize" => editor.unquantize(edit)?,
            "widen" => editor.widen(edit)?,
            "convert" => editor.convert(edit)?,
            "prepare" => editor.prepare()?,
            "fold-clamp" => editor.fold_clamp(edit)?,
            "quantize-value" => editor.quantize_value(edit)?,
            "quantize-tensor" => editor.quantize_tensor(edit)?,
            "quantize-bias" => editor.quantize_bias(edit)?,
            "quantize-dynamic" => editor.quantize_dynamic(edit)?,
            "quantize-blocks" => editor.quantize_blocks(edit)?,
            other => {
                return Err(BackendError::unsupported_op(format!(
                    "unknown change `{other}` to an ONNX model"
                ))
                .with_help(
                    "The changes are `store`, `copy-layer`, `quantize`, `dequantize`, `add`, `select`, \
                     `set-quantization`, `replace`, `unquantize`, `widen`, `convert`, `prepare`, `fold-clamp`, \
                     `quantize-value`, `quantize-tensor`, `quantize-bias`, `quantize-dynamic` and `quantize-blocks`.",
                ));
            }
        }
    }
    editor.settle_codes();
    let (written, raised) = (editor.written, editor.opset);
    place(&mut graph.node, written);
    if raised != opset {
        let own = model.opset_import.iter_mut().filter(|import| is_own(import));
        own.for_each(|import| import.version = Some(raised));
        opset::raise_form_version(&mut model.ir_version, raised);
    }
    let is_contrib = |node: &NodeProto| node.domain.as_deref() == Some(CONTRIB);
    let quantizes = graph.node.iter().any(is_contrib);
    let knows_contrib = model.opset_import.iter().any(|opset| opset.domain.as_deref() == Some(CONTRIB));
    if quantizes && !knows_contrib {
        model.opset_import.push(OperatorSetIdProto { domain: Some(CONTRIB.to_owned()), version: Some(1) });
    }
    codes::raise_version(model);
    Ok(())
}

/// Moves each node after the first `written` ones directly behind the last node that it reads from: what is computed
/// from a value is computed while the value exists.
fn place(nodes: &mut Vec<NodeProto>, written: usize) {
    let added = nodes.split_off(written);
    // The number of written nodes after which a value is known.
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        known.extend(node.output.iter().map(|name| (name.clone(), index + 1)));
    }
    // Added nodes may read values of later ones.
    let made_by: HashMap<&str, usize> = added
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)))
        .collect();
    let mut order = Vec::with_capacity(added.len());
    let mut is_seen = vec![false; added.len()];
    for index in 0..added.len() {
        let mut waiting = vec![(index, false)];
        while let Some((index, is_ready)) = waiting.pop() {
            if is_ready {
                order.push(index);
            } else if !std::mem::replace(&mut is_seen[index], true) {
                waiting.push((index, true));
                let sources = added[index].input.iter().filter_map(|name| made_by.get(name.as_str()));
                waiting.extend(sources.filter(|source| !is_seen[**source]).map(|source| (*source, false)));
            }
        }
    }
    let mut behind: Vec<Vec<NodeProto>> = (0..=written).map(|_| Vec::new()).collect();
    let mut added: Vec<Option<NodeProto>> = added.into_iter().map(Some).collect();
    for node in order.into_iter().filter_map(|index| added[index].take()) {
        let place = node.input.iter().filter_map(|name| known.get(name)).max().copied().unwrap_or(0);
        known.extend(node.output.iter().map(|name| (name.clone(), place)));
        behind[place].push(node);
    }
    let mut behind = behind.into_iter();
    let first = behind.next().unwrap_or_default();
    let rest = std::mem::take(nodes).into_iter().zip(behind);
    *nodes =
        first.into_iter().chain(rest.flat_map(|(node, added)| std::iter::once(node).chain(added))).collect();
}

/// Whether an import is that of ONNX's own operators.
fn is_own(import: &OperatorSetIdProto) -> bool {
    matches!(import.domain.as_deref(), None | Some("" | "ai.onnx"))
}

/// The version of ONNX's own operators that a model uses.
pub fn opset(model: &ModelProto) -> i64 {
    model.opset_import.iter().find(|import| is_own(import)).and_then(|opset| opset.version).unwrap_or(1)
}

/// The names of all values of the main graph.
fn names(graph: &GraphProto) -> HashSet<String> {
    let inputs = graph.input.iter().filter_map(|value| value.name.as_ref());
    let stored = graph.initializer.iter().filter_map(|tensor| tensor.name.as_ref());
    let computed = graph.node.iter().flat_map(|node| &node.output);
    inputs.chain(stored).chain(computed).cloned().collect()
}

struct Editor<'a> {
    graph: &'a mut GraphProto,
    names: HashSet<String>,
    /// Where large tensors go.
    held: &'a mut Held,
    /// Where elements are that are not in the model.
    external: &'a ExternalFiles,
    /// How many of the nodes stand where the file has them; added ones follow.
    written: usize,
    /// The version of ONNX's own operators.
    opset: i64,
    codes: Codes,
    dynamic: Dynamic,
}

impl Editor<'_> {
    fn claim(&mut self, name: &str) -> Result<String> {
        if name.is_empty() || !self.names.insert(name.to_owned()) {
            return Err(BackendError::invalid_input(format!("the name `{name}` is empty or taken")));
        }
        Ok(name.to_owned())
    }

    /// The stored tensor with this name.
    fn initializer(&self, name: &str) -> Option<&TensorProto> {
        self.graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name))
    }

    fn known(&self, name: &str) -> Result<String> {
        if self.names.contains(name) {
            return Ok(name.to_owned());
        }
        Err(BackendError::not_found(format!("the graph has no value `{name}`")))
    }

    fn store(&mut self, edit: &Edit) -> Result<()> {
        let name = self.claim(&edit.target)?;
        self.add_tensor(name, edit.dtype, edit.shape.to_vec(), edit.bytes.as_slice());
        Ok(())
    }

    fn add_tensor(&mut self, name: String, dtype: DType, dims: Vec<i64>, bytes: &[u8]) {
        let data_type = Some(i32::from(dtype.0));
        let mut tensor = TensorProto { name: Some(name), data_type, dims, ..TensorProto::default() };
        give(&mut tensor, bytes, self.held);
        self.graph.initializer.push(tensor);
    }

    fn copy_layer(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let suffix = needed(arguments, "suffix")?.to_owned();
        let original = self
            .graph
            .node
            .iter()
            .find(|node| node.output.iter().any(|output| *output == edit.target))
            .ok_or_else(|| BackendError::not_found(format!("no layer computes `{}`", edit.target)))?;
        let mut copy = original.clone();
        for argument in arguments {
            let new = argument.1.to_string();
            if argument.0 == "append" {
                copy.input.push(self.known(&new)?);
            } else if let Some(old) = argument.0.strip_prefix("input:") {
                let new = self.known(&new)?;
                copy.input.iter_mut().filter(|input| *input == old).for_each(|input| input.clone_from(&new));
            }
        }
        for output in copy.output.iter_mut().filter(|output| !output.is_empty()) {
            *output = self.claim(&format!("{output}{suffix}"))?;
        }
        copy.name = copy.name.map(|name| format!("{name}{suffix}"));
        self.graph.node.push(copy);
        Ok(())
    }

    fn quantize(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let target = self.known(&edit.target)?;
        let result = self.claim(needed(arguments, "as")?)?;
        let named = |part: &str| format!("{result}/{part}");
        let (codes, scale, zero_point) = (named("codes"), named("scale"), named("zero_point"));
        for name in [&codes, &scale, &zero_point] {
            self.claim(name)?;
        }
        if lookup(arguments, "dynamic").is_some() {
            let outputs = [codes.clone(), scale.clone(), zero_point.clone()];
            self.node("DynamicQuantizeLinear", "", &[target], &outputs, Vec::new());
            self.node("DequantizeLinear", CONTRIB, &[codes, scale, zero_point], &[result], Vec::new());
            return Ok(());
        }
        let axis = axis(arguments)?;
        let made = Affine::of(arguments, "scales", "zero-points", &target)?;
        let read = match lookup(arguments, "read-scales") {
            Some(_) => Some(Affine::of(arguments, "read-scales", "read-zero-points", &target)?),
            None => None,
        };
        let count = made.scales.len();
        if axis.is_none() && count != 1 || read.as_ref().is_some_and(|read| read.scales.len() != count) {
            return Err(BackendError::invalid_input(format!(
                "`{target}` needs an axis for its scales, and the same number to read it with"
            )));
        }
        let bounds = match lookup(arguments, "codes") {
            Some(_) => Some(reals(&numbers(arguments, "codes")?, read.as_ref().unwrap_or(&made))?),
            None => None,
        };
        let real = match lookup(arguments, "real") {
            Some("float16") => DType::FLOAT16,
            _ => DType::FLOAT32,
        };
        let dims = if axis.is_some() { vec![count as i64] } else { Vec::new() };
        let pieces = |affine: &Affine| -> Result<[(DType, Vec<u8>); 2]> {
            let scales = affine.scales.iter().flat_map(|scale| real_bytes(*scale, real)).collect();
            Ok([(real, scales), (edit.dtype, pack(&affine.zero_points, edit.dtype)?)])
        };
        for (name, (dtype, bytes)) in [&scale, &zero_point].into_iter().zip(pieces(&made)?) {
            self.add_tensor(name.clone(), dtype, dims.clone(), &bytes);
        }
        let (mut read_scale, mut read_zero_point) = (scale.clone(), zero_point.clone());
        if let Some(read) = &read {
            (read_scale, read_zero_point) = (named("read_scale"), named("read_zero_point"));
            for (name, (dtype, bytes)) in [&read_scale, &read_zero_point].into_iter().zip(pieces(read)?) {
                let name = self.claim(name)?;
                self.add_tensor(name, dtype, dims.clone(), &bytes);
            }
        }
        let attributes = || axis_attribute(axis);
        let inputs = [target, scale, zero_point];
        self.node("QuantizeLinear", CONTRIB, &inputs, std::slice::from_ref(&codes), attributes());
        let inputs = [codes, read_scale, read_zero_point];
        let Some((low, high)) = bounds else {
            self.node("DequantizeLinear", CONTRIB, &inputs, &[result], attributes());
            return Ok(());
        };
        // From opset 11 on, `Clip` has its bounds elsewhere; these two are the same in all opsets.
        let [wide, least, most, above] = ["wide", "least", "most", "above"].map(named);
        for (name, bound) in [(&least, low), (&most, high)] {
            let name = self.claim(name)?;
            self.add_tensor(name, real, Vec::new(), &real_bytes(bound, real));
        }
        let (wide, above) = (self.claim(&wide)?, self.claim(&above)?);
        self.node("DequantizeLinear", CONTRIB, &inputs, std::slice::from_ref(&wide), attributes());
        self.node("Max", "", &[wide, least], std::slice::from_ref(&above), Vec::new());
        self.node("Min", "", &[above, most], &[result], Vec::new());
        Ok(())
    }

    fn dequantize(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let target = self.known(&edit.target)?;
        let result = self.claim(needed(arguments, "as")?)?;
        let (scale, zero_point) = (format!("{result}/scale"), format!("{result}/zero_point"));
        let axis = axis(arguments)?;
        let affine = Affine::of(arguments, "scales", "zero-points", &target)?;
        if axis.is_none() && affine.scales.len() != 1 {
            return Err(BackendError::invalid_input(format!("`{target}` needs an axis for its scales")));
        }
        let dims = if axis.is_some() { vec![affine.scales.len() as i64] } else { Vec::new() };
        let bytes: Vec<u8> =
            affine.scales.iter().flat_map(|scale| real_bytes(*scale, DType::FLOAT32)).collect();
        let name = self.claim(&scale)?;
        self.add_tensor(name, DType::FLOAT32, dims.clone(), &bytes);
        let name = self.claim(&zero_point)?;
        self.add_tensor(name, edit.dtype, dims, &pack(&affine.zero_points, edit.dtype)?);
        self.node("DequantizeLinear", CONTRIB, &[target, scale, zero_point], &[result], axis_attribute(axis));
        Ok(())
    }

    fn add(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let target = self.known(&edit.target)?;
        let mut other = self.known(needed(arguments, "other")?)?;
        let result = self.claim(needed(arguments, "as")?)?;
        if let Some(text) = lookup(arguments, "behind").filter(|text| *text != "0") {
            let count = text.parse().ok().filter(|count| *count <= MAX_DIMENSIONS);
            let count: usize = count
                .ok_or_else(|| BackendError::invalid_input(format!("cannot add `{text}` dimensions")))?;
            let dims: Vec<i64> = [-1].into_iter().chain(std::iter::repeat_n(1, count)).collect();
            let shape = self.claim(&format!("{result}/shape"))?;
            let bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
            self.add_tensor(shape.clone(), DType::INT64, vec![dims.len() as i64], &bytes);
            let reshaped = self.claim(&format!("{result}/other"))?;
            self.node("Reshape", "", &[other, shape], std::slice::from_ref(&reshaped), Vec::new());
            other = reshaped;
        }
        self.node("Add", "", &[target, other], &[result], Vec::new());
        Ok(())
    }

    fn select(&mut self, edit: &Edit) -> Result<()> {
        let arguments = edit.arguments.as_slice();
        let switch = needed(arguments, "switch")?.to_owned();
        let then = self.known(needed(arguments, "then")?)?;
        let target = edit.target.to_string();
        let original = self.claim(&format!("{target}#original"))?;
        let producer =
            self.graph.node.iter_mut().find(|node| node.output.contains(&target)).ok_or_else(|| {
                BackendError::not_found(format!("no layer computes `{target}`"))
                    .with_help("Inputs and stored tensors cannot be switched.")
            })?;
        for output in producer.output.iter_mut().filter(|output| **output == target) {
            output.clone_from(&original);
        }
        if self.names.insert(switch.clone()) {
            let tensor = Tensor {
                elem_type: Some(i32::from(DType::BOOL.0)),
                shape: Some(TensorShapeProto::default()),
            };
            self.graph.input.push(ValueInfoProto {
                name: Some(switch.clone()),
                r#type: Some(TypeProto { value: Some(Value::TensorType(tensor)), denotation: None }),
                ..ValueInfoProto::default()
            });
        }
        self.node("Where", "", &[switch, then, original], &[target], Vec::new());
        Ok(())
    }

    fn node(
        &mut self,
        op_type: &str,
        domain: &str,
        inputs: &[String],
        outputs: &[String],
        attribute: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            name: outputs.first().map(|output| format!("{output}/{op_type}")),
            input: inputs.to_vec(),
            output: outputs.to_vec(),
            attribute,
            ..NodeProto::default()
        });
    }
}

fn needed<'a>(arguments: &'a [Pair], name: &str) -> Result<&'a str> {
    lookup(arguments, name)
        .ok_or_else(|| BackendError::invalid_input(format!("the change needs the argument `{name}`")))
}

/// The values that stand for the layers an edit is for.
fn values(edit: &Edit) -> Vec<String> {
    let own = edit.arguments.iter().filter(|argument| argument.0 == "value");
    own.map(|argument| argument.1.to_string()).collect()
}

fn axis(arguments: &[Pair]) -> Result<Option<i64>> {
    let number =
        |text: &str| text.parse().map_err(|_| BackendError::invalid_input(format!("invalid axis `{text}`")));
    lookup(arguments, "axis").map(number).transpose()
}

fn axis_attribute(axis: Option<i64>) -> Vec<AttributeProto> {
    axis.map(|axis| codes::whole("axis", axis)).into_iter().collect()
}

/// Scales with one zero point each.
struct Affine {
    scales: Vec<f64>,
    zero_points: Vec<f64>,
}

impl Affine {
    fn of(arguments: &[Pair], scales: &str, zero_points: &str, target: &str) -> Result<Self> {
        let (scales, zero_points) = (numbers(arguments, scales)?, numbers(arguments, zero_points)?);
        if scales.is_empty() || scales.len() != zero_points.len() {
            return Err(BackendError::invalid_input(format!(
                "cannot quantize `{target}` with {} scales and {} zero points",
                scales.len(),
                zero_points.len()
            )));
        }
        Ok(Self { scales, zero_points })
    }
}

fn real_bytes(value: f64, real: DType) -> Vec<u8> {
    match real {
        DType::FLOAT16 => f16::from_f64(value).to_le_bytes().to_vec(),
        DType::FLOAT64 => value.to_le_bytes().to_vec(),
        _ => (value as f32).to_le_bytes().to_vec(),
    }
}

/// The real numbers of the smallest and the largest code, for a single scale.
fn reals(codes: &[f64], affine: &Affine) -> Result<(f64, f64)> {
    match (codes, &affine.scales[..], &affine.zero_points[..]) {
        ([low, high], [scale], [zero_point]) if low <= high => {
            Ok(((low - zero_point) * scale, (high - zero_point) * scale))
        }
        _ => Err(BackendError::invalid_input("`codes` takes a lower and an upper code, for a single scale")),
    }
}

/// Numbers separated by commas.
fn numbers(arguments: &[Pair], name: &str) -> Result<Vec<f64>> {
    let text = needed(arguments, name)?;
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    text.split(',')
        .map(number)
        .collect::<Option<_>>()
        .ok_or_else(|| BackendError::invalid_input(format!("`{name}` is `{text}`")))
}

/// Codes as a tensor of their type stores them.
fn pack(codes: &[f64], dtype: DType) -> Result<Vec<u8>> {
    let nibbles = |low: f64, high: f64| {
        let nibble = move |code: f64| (code.clamp(low, high) as i64 & 0xf) as u8;
        codes.chunks(2).map(move |pair| nibble(pair[0]) | pair.get(1).map_or(0, |code| nibble(*code) << 4))
    };
    Ok(match dtype {
        DType::INT8 => codes.iter().map(|code| (*code as i8) as u8).collect(),
        DType::UINT8 => codes.iter().map(|code| *code as u8).collect(),
        DType::INT16 => codes.iter().flat_map(|code| (*code as i16).to_le_bytes()).collect(),
        DType::UINT16 => codes.iter().flat_map(|code| (*code as u16).to_le_bytes()).collect(),
        DType::INT32 => codes.iter().flat_map(|code| (*code as i32).to_le_bytes()).collect(),
        DType::INT4 => nibbles(-8.0, 7.0).collect(),
        DType::UINT4 => nibbles(0.0, 15.0).collect(),
        other => {
            return Err(BackendError::unsupported_op(format!("values cannot be quantized to {other}")));
        }
    })
}
