//! However deeply a model is nested and however often it calls itself, it is described or rejected: the stack is
//! small, and the size of the output is limited by that of the input.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail where it stands, and says where"
)]

mod support;

use prost::Message;
use prost::encoding::encode_varint;
use qp_abi::DType;
use qp_abi::sdk::{Model, ModelInfo, TensorView};
use qp_plugin_onnx::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use support::build::{floats, graph, model, named, node, with_graph};
use support::{Ask, bytes_of, open, reader, run, runner};

const DEPTHS: [usize; 7] = [10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Does `work` on a thread with half of the usual stack of a Rust thread.
fn on_a_small_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(1 << 20).spawn_scoped(scope, work).unwrap().join().unwrap();
    });
}

fn look(content: &[u8]) -> Option<ModelInfo> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, content).unwrap();
    match open(&reader(), &path) {
        Ok(model) => Some(model.info().unwrap()),
        Err(error) => {
            assert!(!error.message.is_empty() && error.message.len() <= 600, "{error:?}");
            None
        }
    }
}

/// A field that holds bytes.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    encode_varint(u64::from(number << 3 | 2), &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// `core` inside this many fields, each in the next; written from the outside in, to avoid quadratic time.
fn within(path: &[u32], depth: usize, core: &[u8]) -> Vec<u8> {
    let mut lengths = Vec::with_capacity(depth);
    let mut length = core.len();
    for level in 0..depth {
        lengths.push(length);
        let mut head = Vec::new();
        encode_varint(u64::from(path[level % path.len()] << 3 | 2), &mut head);
        encode_varint(length as u64, &mut head);
        length += head.len();
    }
    let mut bytes = Vec::with_capacity(length);
    for (level, length) in lengths.iter().enumerate().rev() {
        encode_varint(u64::from(path[level % path.len()] << 3 | 2), &mut bytes);
        encode_varint(*length as u64, &mut bytes);
    }
    bytes.extend_from_slice(core);
    bytes
}

/// A model whose main graph also has this field.
fn with_field(number: u32, content: &[u8]) -> Vec<u8> {
    let plain = model(graph(vec![node("Relu", &["x"], &["y"])], vec![]));
    let graph = [plain.graph.as_ref().unwrap().encode_to_vec(), field(number, content)].concat();
    let rest = ModelProto { graph: None, ..plain }.encode_to_vec();
    [rest, field(7, &graph)].concat()
}

#[test]
fn graphs_and_types_within_each_other() {
    // From the inside out: a graph in an attribute in a node in a graph; a type in a sequence in a type.
    let kinds: [(&str, u32, &[u32]); 5] = [
        ("graphs", 1, &[1, 6, 5]),
        ("lists of graphs", 1, &[1, 11, 5]),
        ("sequences", 13, &[1, 4]),
        ("optionals", 13, &[1, 9]),
        ("maps", 13, &[2, 5]),
    ];
    for (kind, number, path) in kinds {
        println!("{kind}");
        on_a_small_stack(|| {
            let most = if kind == "graphs" { 10_000_000 } else { 1_000_000 };
            for depth in DEPTHS.into_iter().filter(|depth| *depth <= most) {
                let inner = within(path, depth, &[]);
                let content = if number == 13 { [field(1, b"z"), field(2, &inner)].concat() } else { inner };
                look(&with_field(number, &content));
            }
        });
    }
}

fn function(name: String, node: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name),
        domain: Some("f".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        opset_import: opsets(),
        node,
        ..FunctionProto::default()
    }
}

fn opsets() -> Vec<OperatorSetIdProto> {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    vec![opset("", 21), opset("f", 1)]
}

fn call(name: &str, input: &str, output: &str) -> NodeProto {
    NodeProto { domain: Some("f".to_owned()), ..node(name, &[input], &[output]) }
}

/// Functions that call the next one this often; the last one is an operator.
fn tower(levels: usize, times: usize) -> ModelProto {
    let body = |level: usize| -> Vec<NodeProto> {
        if level + 1 == levels {
            return vec![node("Relu", &["x"], &["y"])];
        }
        let value = |at: usize| {
            if at == 0 {
                "x".to_owned()
            } else if at == times {
                "y".to_owned()
            } else {
                format!("v{at}")
            }
        };
        (0..times).map(|at| call(&format!("f{}", level + 1), &value(at), &value(at + 1))).collect()
    };
    let functions = (0..levels).map(|level| function(format!("f{level}"), body(level))).collect();
    ModelProto { functions, opset_import: opsets(), ..model(graph(vec![call("f0", "x", "y")], vec![])) }
}

#[test]
fn functions_that_call_each_other_are_described_and_not_run() {
    on_a_small_stack(|| {
        for levels in DEPTHS.into_iter().filter(|levels| *levels <= 1000) {
            let info = look(&tower(levels, 1).encode_to_vec()).unwrap();
            assert_eq!(info.layers.len(), levels + 1);
            assert_eq!(info.run_obstacle.is_some(), levels > 31, "{levels}");
            let info = look(&tower(levels, 2).encode_to_vec()).unwrap();
            assert_eq!(info.run_obstacle.is_some(), levels > 13, "{levels}");
        }
        let itself = ModelProto {
            functions: vec![function("f0".to_owned(), vec![call("f0", "x", "y")])],
            ..tower(1, 1)
        };
        let obstacle = look(&itself.encode_to_vec()).unwrap().run_obstacle.into_option().unwrap();
        assert!(obstacle.message.starts_with("the function `f0` calls itself"), "{obstacle:?}");
    });
}

/// As deep and as large as allowed: the runtime accepts it, on a stack as small as a host's thread may have.
#[test]
fn the_runtime_survives_what_it_is_given() {
    let branches = |depth: usize| {
        let plain = || GraphProto { input: vec![], ..graph(vec![node("Relu", &["x"], &["y"])], vec![]) };
        (0..depth).fold(plain(), |inner, _| GraphProto {
            input: vec![],
            ..graph(
                vec![with_graph(
                    with_graph(node("If", &["b"], &["y"]), "then_branch", inner),
                    "else_branch",
                    plain(),
                )],
                vec![],
            )
        })
    };
    let mut deep = branches(29);
    deep.input = graph(vec![], vec![]).input;
    deep.initializer = vec![support::build::tensor("b", DType::BOOL, &[], &[1])];
    for (kind, content) in [("functions", tower(31, 1)), ("calls", tower(12, 2)), ("branches", model(deep))] {
        println!("{kind}");
        std::thread::scope(|scope| {
            let work = || {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("m.onnx");
                std::fs::write(&path, content.encode_to_vec()).unwrap();
                let opened = open(&runner(), &path).unwrap();
                assert!(opened.info().unwrap().run_obstacle.is_none(), "{kind}");
                let bytes = bytes_of(&[1.0, -1.0]);
                let input = TensorView::whole("x", DType::FLOAT32, &[2], &bytes);
                let outcome = run(&opened, &[input], &Ask::default());
                assert!(outcome.is_ok(), "{kind}: {outcome:?}");
            };
            std::thread::Builder::new()
                .stack_size(2 << 20)
                .spawn_scoped(scope, work)
                .unwrap()
                .join()
                .unwrap();
        });
    }
}

/// What a file says once and uses a thousand times.
#[test]
fn what_repeats_itself_is_described_within_bounds_or_refused() {
    let long = "k".repeat(4000);
    let relus =
        |count: usize| (0..count).map(|at| node("Relu", &[&format!("v{at}")], &[&format!("v{}", at + 1)]));
    let of_dimensions = |symbol: &str| {
        let dimension = tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimParam(symbol.to_owned())),
            denotation: None,
        };
        let shape = Some(TensorShapeProto { dim: vec![dimension; 64] });
        let ty = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape });
        ValueInfoProto {
            name: Some("v0".to_owned()),
            r#type: Some(TypeProto { value: Some(ty), denotation: None }),
            ..ValueInfoProto::default()
        }
    };
    let chain = |symbol: &str| GraphProto {
        input: vec![of_dimensions(symbol)],
        ..graph(relus(20_000).collect(), vec![])
    };
    let inner = || graph(vec![node("Relu", &["x"], &["y"]); 20_000], vec![]);
    let quantize = |at: usize| node("QuantizeLinear", &["x", "s"], &[&format!("q{at}")]);
    let files = [
        ("shapes", model(chain("n"))),
        ("names of dimensions", model(chain(&"n".repeat(1000)))),
        (
            "scales",
            model(graph((0..5000).map(quantize).collect(), vec![floats("s", &[30_000], &[0.1; 30_000])])),
        ),
        (
            "a name before others",
            model(graph(vec![with_graph(node("If", &["x"], &["y"]), &long, inner())], vec![])),
        ),
        (
            "a long name",
            model(graph(vec![named(&"n".repeat(1 << 20), node("Relu", &["x"], &["y"]))], vec![])),
        ),
        ("empty nodes", model(graph(vec![NodeProto::default(); 600_000], vec![]))),
    ];
    on_a_small_stack(|| {
        for (kind, content) in files {
            println!("{kind}");
            let bytes = content.encode_to_vec();
            let Some(info) = look(&bytes) else { continue };
            let paths: usize = info.layers.iter().map(|layer| layer.path.len() + layer.scope.len()).sum();
            assert!(paths <= (64 << 20) + 4 * bytes.len(), "{kind}: {paths}");
            let dimensions =
                info.values.iter().filter_map(|value| value.shape.as_ref().into_option()).flatten();
            let shapes: usize = dimensions.map(|dimension| 40 + dimension.symbol.len()).sum();
            assert!(shapes <= (4 << 20) + 9 * bytes.len(), "{kind}: {shapes}");
            let scales: usize = info
                .values
                .iter()
                .filter_map(|value| value.quantization.as_ref().into_option())
                .map(|found| found.scales.len())
                .sum();
            assert!(scales <= (2 << 20) + 2 * bytes.len(), "{kind}: {scales}");
        }
    });
}
