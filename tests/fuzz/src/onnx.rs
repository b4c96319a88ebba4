//! What the fuzz target of ONNX does with its bytes, and mutations of models that stay messages.

use crate::random::Random;
use prost::Message;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{
    Backend, BackendError, Edit, ErrorKind, Model, Progress, QuantizableOf, Setup, Sink, TensorView,
    conformance,
};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_plugin_onnx::OnnxBackend;
use qp_plugin_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};

/// A model, described, its tensors read, planned to be quantized, cleaned up, and written.
pub fn onnx(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes).expect("files can be written there");
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = &Progress::new(Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque));
    let backend = accept(OnnxBackend::create(Setup::default())).expect("it needs nothing");
    let Some(model) = accept(backend.open(path.to_str().unwrap_or_default(), &[], progress)) else { return };
    look_at(&model, progress);
    accept(model.quantizable(&QuantizableOf { per_channel: true, ..QuantizableOf::default() }, progress));
    for action in ["prepare", "fold-clamp"] {
        let edit = Edit {
            action: action.into(),
            target: "y".into(),
            arguments: Vec::new().into(),
            dtype: qp_abi::sdk::DType::FLOAT32,
            shape: Vec::new().into(),
            bytes: Vec::new().into(),
        };
        accept(model.edit(&[edit], progress));
    }
    let out = folder.path().join("out.onnx");
    accept(model.export(out.to_str().unwrap_or_default(), &[], progress));
}

fn look_at(model: &impl Model, progress: &Progress<'_>) {
    let Some(info) = accept(model.info()) else { return };
    assert_eq!(conformance::description(&OnnxBackend::manifest(), &info), conformance::Verdict::Passed);
    for tensor in info.tensors.iter().take(40) {
        let mut bytes = 0;
        let read = {
            let mut sink = FnSink(|view: TensorView<'_>| {
                bytes += view.bytes.len() as u64;
                Ok(())
            });
            let mut sink = Sink::new(TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque));
            accept(model.read_tensor(&tensor.name, &mut sink, progress))
        };
        assert!(read.is_none() || bytes == tensor.bytes, "{tensor:?}: {bytes} bytes");
    }
}

fn accept<T>(result: Result<T, BackendError>) -> Option<T> {
    result
        .inspect_err(|error| {
            assert!(error.kind != ErrorKind::INTERNAL, "{error:?}");
            assert!(!error.message.is_empty(), "{error:?}");
        })
        .ok()
}

const NUMBERS: [i64; 12] = [0, 1, 2, 3, 4, 7, 64, -1, i64::MAX, i64::MIN, 1 << 31, 1 << 40];
const OPERATORS: [&str; 44] = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "Relu",
    "Clip",
    "Reshape",
    "Transpose",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Shape",
    "Expand",
    "Tile",
    "Range",
    "ConstantOfShape",
    "Constant",
    "Pad",
    "Resize",
    "If",
    "Loop",
    "Scan",
    "Cast",
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
    "BatchNormalization",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
    "ReduceMean",
    "Einsum",
    "MatMulNBits",
    "QLinearAdd",
    "SequenceConstruct",
    "SequenceAt",
    "LSTM",
];
const ATTRIBUTES: [&str; 20] = [
    "axis",
    "axes",
    "perm",
    "shape",
    "to",
    "group",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "value",
    "then_branch",
    "else_branch",
    "body",
    "block_size",
    "num_outputs",
    "equation",
    "K",
    "N",
    "bits",
];

/// `seed` with nodes, inputs, attributes, tensors, types and functions swapped, repeated, removed, nested or otherwise
/// described; also with those of `other`.
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let Ok(mut model) = ModelProto::decode(seed) else { return seed.to_vec() };
    let other = ModelProto::decode(other).ok();
    for _ in 0..=random.below(5) {
        match random.below(8) {
            0 => change_functions(random, &mut model, other.as_ref()),
            1 => {
                if let Some(opset) = model.opset_import.first_mut() {
                    opset.version =
                        Some(NUMBERS[random.below(NUMBERS.len())].max(5 + random.below(20) as i64));
                }
            }
            _ => {
                let given = other.as_ref().and_then(|other| other.graph.as_ref());
                if let Some(graph) = &mut model.graph {
                    change_graph(random, graph, given, 0);
                }
            }
        }
    }
    model.encode_to_vec()
}

fn change_graph(random: &mut Random, graph: &mut GraphProto, other: Option<&GraphProto>, depth: usize) {
    // Into a subgraph, if there is one.
    if random.below(3) == 0 && depth < 8 {
        let inner = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        let mut inner: Vec<&mut GraphProto> = inner.filter_map(|attribute| attribute.g.as_mut()).collect();
        let at = random.below(inner.len());
        if let Some(inner) = inner.get_mut(at) {
            return change_graph(random, inner, other, depth + 1);
        }
    }
    match random.below(12) {
        0 => nest(random, graph),
        1 => repeat(random, &mut graph.initializer, other.map(|other| other.initializer.as_slice())),
        2 => repeat(random, &mut graph.input, other.map(|other| other.input.as_slice())),
        3 => repeat(random, &mut graph.output, other.map(|other| other.output.as_slice())),
        4 => repeat(random, &mut graph.value_info, other.map(|other| other.value_info.as_slice())),
        5 => {
            let at = random.below(graph.initializer.len());
            if let Some(tensor) = graph.initializer.get_mut(at) {
                change_tensor(random, tensor);
            }
        }
        6 => {
            let name = name(random, graph);
            let lists = [&mut graph.input, &mut graph.output, &mut graph.value_info];
            let mut values: Vec<&mut ValueInfoProto> = lists.into_iter().flatten().collect();
            let at = random.below(values.len());
            if let Some(value) = values.get_mut(at) {
                match random.below(3) {
                    0 => value.name = name,
                    _ => change_type(random, &mut value.r#type),
                }
            }
        }
        7 => repeat(random, &mut graph.node, other.map(|other| other.node.as_slice())),
        _ => {
            let name = name(random, graph);
            let at = random.below(graph.node.len());
            let tensor = random.pick(&graph.initializer).cloned();
            if let Some(node) = graph.node.get_mut(at) {
                change_node(random, node, name, tensor);
            }
        }
    }
}

/// Some name that the graph knows, or another.
fn name(random: &mut Random, graph: &GraphProto) -> Option<String> {
    let node = random.pick(&graph.node);
    match random.below(6) {
        0 => Some(String::new()),
        1 => None,
        2 => random.pick(&graph.initializer).and_then(|tensor| tensor.name.clone()),
        3 => random.pick(&graph.input).and_then(|value| value.name.clone()),
        4 => node.and_then(|node| random.pick(&node.input).cloned()),
        _ => node.and_then(|node| random.pick(&node.output).cloned()),
    }
}

/// Swaps, removes and repeats parts, and takes some of another list.
fn repeat<T: Clone>(random: &mut Random, list: &mut Vec<T>, other: Option<&[T]>) {
    let (at, to) = (random.below(list.len()), random.below(list.len()));
    match random.below(5) {
        0 if !list.is_empty() => list.swap(at, to),
        1 if !list.is_empty() => drop(list.remove(at)),
        2 if !list.is_empty() => list.insert(to, list[at].clone()),
        3 if !list.is_empty() && list.len() < 200 => {
            let copies = vec![list[at].clone(); [10, 100, 300][random.below(3)]];
            drop(list.splice(to..to, copies));
        }
        _ => list.extend(other.and_then(|other| random.pick(other)).cloned()),
    }
}

fn change_node(random: &mut Random, node: &mut NodeProto, name: Option<String>, tensor: Option<TensorProto>) {
    let text = name.clone().unwrap_or_default();
    match random.below(10) {
        0 => node.op_type = Some(OPERATORS[random.below(OPERATORS.len())].to_owned()),
        1 => node.name = name,
        2 => {
            node.domain =
                [None, Some("com.microsoft".to_owned()), Some("d".to_owned())][random.below(3)].clone()
        }
        3 => node.input.push(text),
        4 => node.output.push(text),
        5 => {
            let at = random.below(node.input.len());
            if let Some(input) = node.input.get_mut(at) {
                *input = text;
            }
        }
        6 => {
            let at = random.below(node.output.len());
            if let Some(output) = node.output.get_mut(at) {
                *output = text;
            }
        }
        7 => repeat(random, &mut node.attribute, None),
        8 => {
            let mut attribute = AttributeProto {
                name: Some(ATTRIBUTES[random.below(ATTRIBUTES.len())].to_owned()),
                t: tensor,
                ..AttributeProto::default()
            };
            change_attribute(random, &mut attribute);
            node.attribute.push(attribute);
        }
        _ => {
            let at = random.below(node.attribute.len());
            if let Some(attribute) = node.attribute.get_mut(at) {
                change_attribute(random, attribute);
            }
        }
    }
}

fn change_attribute(random: &mut Random, attribute: &mut AttributeProto) {
    match random.below(7) {
        0 => attribute.name = Some(ATTRIBUTES[random.below(ATTRIBUTES.len())].to_owned()),
        1 => attribute.r#type = Some(random.below(16) as i32),
        2 | 3 => {
            attribute.i = Some(NUMBERS[random.below(NUMBERS.len())]);
            attribute.r#type = Some(2);
        }
        4 => {
            attribute.ints = (0..random.below(9)).map(|_| NUMBERS[random.below(NUMBERS.len())]).collect();
            attribute.r#type = Some(7);
        }
        5 => attribute.ref_attr_name = Some("axis".to_owned()),
        _ => {
            if let Some(tensor) = &mut attribute.t {
                change_tensor(random, tensor);
                attribute.r#type = Some(4);
            }
        }
    }
}

fn change_tensor(random: &mut Random, tensor: &mut TensorProto) {
    let at = random.below(tensor.dims.len());
    match random.below(7) {
        0 if !tensor.dims.is_empty() => tensor.dims[at] = NUMBERS[random.below(NUMBERS.len())],
        1 => tensor.dims.push(NUMBERS[random.below(4)]),
        2 => drop(tensor.dims.pop()),
        3 => tensor.data_type = Some(random.below(28) as i32),
        4 => {
            // As many bytes as it says.
            let count = tensor.dims.iter().try_fold(1_i64, |count, dim| count.checked_mul(*dim)).unwrap_or(0);
            let bytes = usize::try_from(count.clamp(0, 1 << 10)).unwrap_or(0) * [1, 2, 4, 8][random.below(4)];
            tensor.raw_data = Some(vec![random.next() as u8; bytes].into());
            tensor.float_data.clear();
        }
        5 => tensor.int64_data = (0..random.below(6)).map(|_| NUMBERS[random.below(NUMBERS.len())]).collect(),
        _ => tensor.raw_data = None,
    }
}

fn change_type(random: &mut Random, slot: &mut Option<TypeProto>) {
    let number = NUMBERS[random.below(NUMBERS.len())];
    let value = match slot.take().and_then(|of| of.value) {
        Some(type_proto::Value::TensorType(mut tensor)) => {
            let shape = tensor.shape.get_or_insert_with(TensorShapeProto::default);
            let at = random.below(shape.dim.len());
            let text = ["N", "", "batch", "2*N"][random.below(4)].to_owned();
            match random.below(6) {
                0 => tensor.elem_type = Some(random.below(28) as i32),
                1 => tensor.shape = None,
                2 => repeat(random, &mut shape.dim, None),
                3 => shape
                    .dim
                    .push(Dimension { value: Some(dimension::Value::DimParam(text)), denotation: None }),
                _ => {
                    if let Some(dim) = shape.dim.get_mut(at) {
                        dim.value = Some(dimension::Value::DimValue(number));
                    }
                }
            }
            Some(type_proto::Value::TensorType(tensor))
        }
        value => value,
    };
    *slot = Some(TypeProto { value, denotation: None });
    if random.below(4) == 0 {
        for _ in 0..[1, 3, 70][random.below(3)] {
            let inner = slot.take().map(Box::new);
            let value = type_proto::Value::SequenceType(Box::new(type_proto::Sequence { elem_type: inner }));
            *slot = Some(TypeProto { value: Some(value), denotation: None });
        }
    }
}

/// Moves the graph's nodes into a subgraph.
fn nest(random: &mut Random, graph: &mut GraphProto) {
    let times = [1, 2, 10, 60][random.below(4)];
    let operator = ["If", "Loop", "Scan"][random.below(3)];
    let attribute = ["then_branch", "body"][random.below(2)];
    if depth(graph, 0) + times > 80 {
        return;
    }
    for _ in 0..times {
        let inner = GraphProto {
            name: graph.name.clone(),
            node: std::mem::take(&mut graph.node),
            input: if random.below(2) == 0 { graph.input.clone() } else { Vec::new() },
            output: graph.output.clone(),
            ..GraphProto::default()
        };
        let outputs = graph.output.iter().filter_map(|value| value.name.clone()).collect();
        graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            input: graph.input.first().and_then(|value| value.name.clone()).into_iter().collect(),
            output: outputs,
            attribute: vec![AttributeProto {
                name: Some(attribute.to_owned()),
                r#type: Some(5),
                g: Some(inner),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        });
    }
}

fn depth(graph: &GraphProto, at: usize) -> usize {
    let inner =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref());
    inner.map(|inner| depth(inner, at + 1)).max().unwrap_or(at)
}

/// Functions that call each other, and nodes that call them.
fn change_functions(random: &mut Random, model: &mut ModelProto, other: Option<&ModelProto>) {
    repeat(random, &mut model.functions, other.map(|other| other.functions.as_slice()));
    let graph = model.graph.get_or_insert_with(GraphProto::default);
    let names = ["f", "g", "h", "Relu"];
    let call = |random: &mut Random, node: &NodeProto| NodeProto {
        op_type: Some(names[random.below(names.len())].to_owned()),
        domain: Some("d".to_owned()),
        ..node.clone()
    };
    match random.below(3) {
        0 => {
            let mut body: Vec<NodeProto> = graph.node.iter().take(20).cloned().collect();
            let at = random.below(body.len());
            if let Some(node) = body.get_mut(at) {
                *node = call(random, node);
            }
            model.functions.push(FunctionProto {
                name: Some(names[random.below(names.len())].to_owned()),
                domain: Some("d".to_owned()),
                input: graph.input.iter().filter_map(|value| value.name.clone()).collect(),
                output: graph.output.iter().filter_map(|value| value.name.clone()).collect(),
                attribute: vec!["axis".to_owned()],
                node: body,
                opset_import: model.opset_import.clone(),
                ..FunctionProto::default()
            });
        }
        1 => {
            let at = random.below(graph.node.len());
            if let Some(node) = graph.node.get_mut(at) {
                *node = call(random, node);
            }
        }
        _ => {
            let at = random.below(model.functions.len());
            if let Some(function) = model.functions.get_mut(at) {
                repeat(random, &mut function.node, Some(&graph.node));
                let inner = random.below(function.node.len());
                if let Some(node) = function.node.get_mut(inner) {
                    let name = random.pick(&function.input).cloned();
                    change_node(random, node, name, None);
                }
            }
        }
    }
}
