//! What inspection finds: names, tensors of every type, subgraphs, functions, external data; and what it says about
//! files that are damaged or not models. No runtime is needed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use prost::Message;
use qp_abi::sdk::{
    Attribute, AttributeValue, Backend, BackendError, DType, ErrorKind, Model, ModelInfo, RNone, Severity,
    TensorRole,
};
use qp_plugin_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, SparseTensorProto, TensorProto, code,
};
use std::path::Path;
use support::build::{external, floats, graph, model, named, node, saved, tensor, value, with_graph};
use support::{open, read, reader, sample, with_progress};

fn inspect(path: &Path) -> Result<ModelInfo, BackendError> {
    with_progress(|progress| reader().inspect(path.to_str().unwrap(), &[], progress))
}

fn info_of(model: &ModelProto) -> ModelInfo {
    let (_folder, path) = saved(model);
    inspect(&path).unwrap()
}

fn paths(info: &ModelInfo) -> Vec<&str> {
    info.layers.iter().map(|layer| layer.path.as_str()).collect()
}

#[test]
fn the_sample_is_described() {
    let info = inspect(&sample("resnet8.onnx")).unwrap();
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("float32", ""));
    assert_eq!(info.inputs.len(), 1);
    let shape: Vec<i64> = info.inputs[0].shape.as_ref().unwrap().iter().map(|size| size.size).collect();
    assert_eq!(shape, [-1, 32, 32, 3]);
    let parameters = info.tensors.iter().filter(|tensor| tensor.role == TensorRole::PARAMETER);
    let elements: i64 = parameters.map(|tensor| tensor.shape.iter().product::<i64>()).sum();
    assert_eq!(elements, 77_706, "the network's parameters, as its README counts them");
    assert_eq!(info.run_obstacle, RNone);
    for name in ["resnet8_int8.onnx", "resnet8_uint8.onnx"] {
        let info = inspect(&sample(name)).unwrap();
        assert_eq!(info.scheme, "QDQ");
        assert_eq!(info.precision, name.trim_start_matches("resnet8_").trim_end_matches(".onnx"));
        let convolutions = info.layers.iter().filter(|layer| layer.op_type == "Conv");
        assert!(
            convolutions.clone().count() == 9
                && convolutions.clone().all(|layer| layer.quantization == "qdq")
        );
    }
}

#[test]
fn files_are_recognised_by_name_or_content() {
    let backend = reader();
    let head = std::fs::read(sample("resnet8.onnx")).unwrap();
    assert_eq!(backend.probe(&head[..4096], "weights.bin").as_deref(), Some("onnx"));
    assert_eq!(backend.probe(b"anything", "MODEL.ONNX").as_deref(), Some("onnx"));
    assert_eq!(backend.probe(b"\x20\0\0\0ORTM", "model.bin").as_deref(), Some("onnx"));
    for head in [b"".as_slice(), b"PK\x03\x04", b"hello world", b"\x08\x01", b"\x80\x02}q"] {
        assert_eq!(backend.probe(head, "model.pt"), None, "{head:?}");
    }
}

#[test]
fn what_is_no_model_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let tensor = floats("w", &[2], &[1.0, 2.0]).encode_to_vec();
    let no_graph = ModelProto { graph: None, ..model(GraphProto::default()) }.encode_to_vec();
    let cases: [(&[u8], ErrorKind, &str); 6] = [
        (b"", ErrorKind::CORRUPT_FILE, "is empty"),
        (b"# a text file, not a model\n", ErrorKind::UNSUPPORTED_FORMAT, "is not an ONNX model"),
        (b"\x1c\0\0\0ORTM and more", ErrorKind::UNSUPPORTED_FORMAT, "is in ONNX Runtime's own format"),
        (b"PK\x03\x04 a zip", ErrorKind::UNSUPPORTED_FORMAT, "is not an ONNX model"),
        (&tensor, ErrorKind::UNSUPPORTED_FORMAT, "is not an ONNX model"),
        (&no_graph, ErrorKind::UNSUPPORTED_FORMAT, "it has no graph"),
    ];
    for (content, kind, words) in cases {
        std::fs::write(&path, content).unwrap();
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(words) && error.message.contains("`m.onnx`"), "{error:?}");
    }
    std::fs::write(&path, &tensor).unwrap();
    assert_eq!(inspect(&path).unwrap_err().causes[0], "it holds a single ONNX tensor");
    assert_eq!(inspect(&folder.path().join("none.onnx")).unwrap_err().kind, ErrorKind::NOT_FOUND);
    assert_eq!(inspect(folder.path()).unwrap_err().kind, ErrorKind::INVALID_INPUT);
}

#[test]
fn a_file_cut_anywhere_is_refused_and_most_often_called_truncated() {
    let whole = std::fs::read(sample("resnet8_int8.onnx")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.onnx");
    // Every byte of the first part, where all kinds of fields are, and samples of the rest.
    let places = (1..1500).chain((1500..whole.len()).step_by(397));
    let (mut truncated, mut all) = (0, 0);
    for at in places {
        std::fs::write(&path, &whole[..at]).unwrap();
        match inspect(&path) {
            Ok(_) => panic!("{at} bytes of {} were read as a model", whole.len()),
            Err(error) => {
                assert!(
                    matches!(error.kind, ErrorKind::CORRUPT_FILE | ErrorKind::UNSUPPORTED_FORMAT),
                    "{at}: {error:?}"
                );
                truncated += usize::from(error.message.contains("truncated"));
                all += 1;
            }
        }
    }
    assert!(truncated * 100 > all * 98, "{truncated} of {all}");
}

#[test]
fn layers_have_unique_paths_by_one_rule() {
    let nodes = vec![
        named("conv", node("Relu", &["x"], &["a"])),
        node("Relu", &["a"], &["b"]),
        named("twice", node("Relu", &["b"], &["c"])),
        named("twice", node("Relu", &["c"], &["d"])),
        named("Relu_1", node("Tanh", &["d"], &["y"])),
    ];
    let info = info_of(&model(graph(nodes, vec![])));
    assert_eq!(paths(&info), ["conv", "Relu_1_2", "Relu_2", "Relu_3", "Relu_1"]);
}

#[test]
fn subgraphs_are_layers_with_a_scope_and_names_of_their_own() {
    let branch = |output: &str| GraphProto {
        node: vec![node("Add", &["x", "w"], &["sum"]), node("Neg", &["sum"], &[output])],
        initializer: vec![floats("w", &[1], &[1.0])],
        output: vec![value(output, DType::FLOAT32, None)],
        ..GraphProto::default()
    };
    let choice = with_graph(node("If", &["flag"], &["y"]), "then_branch", branch("t"));
    let choice = with_graph(choice, "else_branch", branch("e"));
    let mut graph = graph(vec![choice], vec![]);
    graph.input.push(value("flag", DType::BOOL, Some(&[])));
    let (_folder, path) = saved(&model(graph));
    let opened = open(&reader(), &path).unwrap();
    let info = opened.info().unwrap();
    assert_eq!(
        paths(&info),
        [
            "If_0",
            "If_0/then_branch/Add_0",
            "If_0/then_branch/Neg_0",
            "If_0/else_branch/Add_0",
            "If_0/else_branch/Neg_0"
        ]
    );
    assert_eq!(info.layers[1].scope, "If_0/then_branch");
    assert_eq!(info.layers[1].inputs.as_slice(), ["x", "w"]);
    assert_eq!(info.layers[3].inputs.as_slice(), ["x", "If_0/else_branch/w"]);
    let names: Vec<&str> = info.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w", "If_0/else_branch/w"]);
    let graphs = |name: &str| info.layers[0].attributes.iter().find(|found| found.name == name).unwrap();
    assert_eq!(
        graphs("else_branch"),
        &Attribute {
            name: "else_branch".into(),
            value: AttributeValue::Graphs(vec!["If_0/else_branch".into()].into())
        }
    );
    assert!(read(&opened, "If_0/else_branch/w").is_ok());
}

#[test]
fn functions_are_scopes_and_their_calls_no_foreign_operators() {
    let function = FunctionProto {
        name: Some("Twice".to_owned()),
        domain: Some("custom".to_owned()),
        input: vec!["v".to_owned()],
        output: vec!["r".to_owned()],
        node: vec![node("Add", &["v", "v"], &["r"])],
        ..FunctionProto::default()
    };
    let call = qp_plugin_onnx::proto::NodeProto {
        domain: Some("custom".to_owned()),
        ..node("Twice", &["x"], &["y"])
    };
    let mut with_function = model(graph(vec![call.clone()], vec![]));
    with_function.functions.push(function);
    let info = info_of(&with_function);
    assert_eq!(paths(&info), ["Twice_0", "Twice/Add_0"]);
    assert_eq!(info.layers[1].scope, "Twice");
    assert!(info.findings.is_empty() && info.run_obstacle == RNone, "{:?}", info.findings);
    assert_eq!(qp_abi::manifest::lookup(&info.extra, "functions"), Some("1"));
    let without = info_of(&model(graph(vec![call], vec![])));
    assert_eq!(without.findings[0].code, "onnx.unknown-domain");
    assert_eq!(without.run_obstacle.unwrap().kind, ErrorKind::UNSUPPORTED_OP);
}

#[test]
fn constants_are_tensors_whichever_attribute_holds_them() {
    let constant = |output: &str, attribute: AttributeProto| {
        let mut node = node("Constant", &[], &[output]);
        node.attribute.push(attribute);
        node
    };
    let of = |name: &str| AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let nodes = vec![
        constant(
            "t",
            AttributeProto {
                t: Some(floats("", &[2], &[1.0, 2.0])),
                r#type: Some(code::TENSOR),
                ..of("value")
            },
        ),
        constant("f", AttributeProto { f: Some(1.5), r#type: Some(code::FLOAT), ..of("value_float") }),
        constant("i", AttributeProto { ints: vec![1, 2, 3], r#type: Some(code::INTS), ..of("value_ints") }),
        constant(
            "s",
            AttributeProto { s: Some("ab".into()), r#type: Some(code::STRING), ..of("value_string") },
        ),
        node("Add", &["x", "t"], &["y"]),
    ];
    let (_folder, path) = saved(&model(graph(nodes, vec![])));
    let opened = open(&reader(), &path).unwrap();
    let names: Vec<String> =
        opened.info().unwrap().tensors.iter().map(|tensor| tensor.name.to_string()).collect();
    assert_eq!(names, ["t", "f", "i", "s"]);
    assert_eq!(read(&opened, "t").unwrap().floats(), [1.0, 2.0]);
    assert_eq!(read(&opened, "f").unwrap().floats(), [1.5]);
    let ints = read(&opened, "i").unwrap();
    assert_eq!((ints.dtype, ints.shape.as_slice(), ints.bytes.len()), (DType::INT64, [3].as_slice(), 24));
    assert_eq!(read(&opened, "s").unwrap().bytes, b"\x02\0\0\0ab");
    let layers = opened.info().unwrap().layers;
    assert_eq!(layers[0].attributes[0].value, AttributeValue::Tensor("t".into()));
}

#[test]
fn every_element_type_is_read_as_stored() {
    let all = DType::ALL.iter().copied().filter(|dtype| dtype.bits() > 0 && dtype.0 < 64);
    let tensors: Vec<TensorProto> = all
        .clone()
        .map(|dtype| {
            let bytes = usize::try_from(dtype.packed_bytes(3).unwrap()).unwrap();
            tensor(&dtype.to_string(), dtype, &[3], &vec![0x5a; bytes])
        })
        .collect();
    let (_folder, path) = saved(&model(graph(vec![], tensors)));
    let opened = open(&reader(), &path).unwrap();
    for dtype in all {
        let received = read(&opened, &dtype.to_string()).unwrap();
        assert_eq!((received.dtype, received.shape.as_slice()), (dtype, [3].as_slice()));
        assert!(received.bytes.iter().all(|&byte| byte == 0x5a), "{dtype}");
        assert_eq!(received.bytes.len() as u64, dtype.packed_bytes(3).unwrap());
    }
}

#[test]
fn sparse_tensors_are_written_out() {
    let sparse = |index_dims: &[i64], indices: &[i64]| SparseTensorProto {
        values: Some(floats("w", &[2], &[1.5, -2.0])),
        indices: Some(TensorProto {
            int64_data: indices.to_vec(),
            raw_data: None,
            ..tensor("", DType::INT64, index_dims, &[])
        }),
        dims: vec![2, 3],
    };
    let of = |sparse: SparseTensorProto| {
        let graph = GraphProto { sparse_initializer: vec![sparse], ..graph(vec![], vec![]) };
        let (_folder, path) = saved(&model(graph));
        read(&open(&reader(), &path).unwrap(), "w")
    };
    let dense = [0.0, 1.5, 0.0, 0.0, 0.0, -2.0];
    assert_eq!(of(sparse(&[2], &[1, 5])).unwrap().floats(), dense);
    assert_eq!(of(sparse(&[2, 2], &[0, 1, 1, 2])).unwrap().floats(), dense);
    assert_eq!(of(sparse(&[2], &[1, 6])).unwrap_err().kind, ErrorKind::CORRUPT_FILE);
    assert_eq!(of(sparse(&[2, 2], &[0, 1, 1, -1])).unwrap_err().kind, ErrorKind::CORRUPT_FILE);
}

#[test]
fn external_data_is_read_from_several_files() {
    let tensors = vec![
        external("a", DType::UINT8, &[4], &[("location", "one.bin")]),
        external("b", DType::UINT8, &[2], &[("location", "one.bin"), ("offset", "2"), ("length", "2")]),
        external("c", DType::UINT8, &[3], &[("location", "sub/two.bin"), ("offset", "1")]),
    ];
    let (folder, path) = saved(&model(graph(vec![], tensors)));
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("one.bin"), [1, 2, 3, 4]).unwrap();
    std::fs::write(folder.path().join("sub/two.bin"), [9, 8, 7, 6]).unwrap();
    let opened = open(&reader(), &path).unwrap();
    let bytes = |name: &str| read(&opened, name).unwrap().bytes;
    assert_eq!((bytes("a"), bytes("b"), bytes("c")), (vec![1, 2, 3, 4], vec![3, 4], vec![8, 7, 6]));
    let info = opened.info().unwrap();
    assert_eq!(info.tensors[2].external_file, "sub/two.bin");
    assert_eq!(qp_abi::manifest::lookup(&info.extra, "external files"), Some("one.bin, sub/two.bin"));
}

#[test]
fn external_data_that_cannot_be_read_is_reported_and_the_model_listed() {
    let long = std::env::temp_dir().join("elsewhere.bin");
    type Entries<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Entries<'_>, ErrorKind, &str); 8] = [
        (&[("location", "none.bin")], ErrorKind::NOT_FOUND, "`none.bin` of tensor `w` does not exist"),
        (&[("location", "w.bin"), ("offset", "1")], ErrorKind::CORRUPT_FILE, "`w.bin` has 4 bytes"),
        (&[("location", "w.bin"), ("length", "3")], ErrorKind::CORRUPT_FILE, "external length is 3"),
        (
            &[("location", "w.bin"), ("offset", "18446744073709551615")],
            ErrorKind::CORRUPT_FILE,
            "has 4 bytes",
        ),
        (&[("location", "w.bin"), ("offset", "-1")], ErrorKind::CORRUPT_FILE, "external offset is `-1`"),
        (&[], ErrorKind::CORRUPT_FILE, "does not name a file"),
        (&[("location", "../w.bin")], ErrorKind::UNSAFE_FILE, "outside the model's folder"),
        (&[("location", long.to_str().unwrap())], ErrorKind::UNSAFE_FILE, "an absolute path"),
    ];
    for (entries, kind, words) in cases {
        let tensors = vec![external("w", DType::UINT8, &[4], entries)];
        let (folder, path) = saved(&model(graph(vec![], tensors)));
        std::fs::write(folder.path().join("w.bin"), [0; 4]).unwrap();
        let opened = open(&reader(), &path).unwrap();
        let error = read(&opened, "w").unwrap_err();
        assert_eq!(error.kind, kind, "{entries:?}: {error:?}");
        assert!(error.message.contains(words) && error.message.contains("`w`"), "{error:?}");
        let info = opened.info().unwrap();
        assert_eq!(info.tensors.len(), 1);
        assert_eq!(info.run_obstacle.as_ref().unwrap().kind, kind);
        let is_danger = info.findings[0].severity == Severity::DANGER;
        assert_eq!(is_danger, kind == ErrorKind::UNSAFE_FILE);
    }
}

#[test]
#[cfg(unix)]
fn a_link_may_stay_in_the_folder_but_not_leave_it() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), [7; 4]).unwrap();
    let tensors = vec![
        external("inside", DType::UINT8, &[4], &[("location", "link")]),
        external("outside", DType::UINT8, &[4], &[("location", "escape")]),
        external("through", DType::UINT8, &[4], &[("location", "folder/secret")]),
    ];
    let (folder, path) = saved(&model(graph(vec![], tensors)));
    std::fs::write(folder.path().join("data"), [1; 4]).unwrap();
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    link(Path::new("data"), "link");
    link(&outside.path().join("secret"), "escape");
    link(outside.path(), "folder");
    let opened = open(&reader(), &path).unwrap();
    assert_eq!(read(&opened, "inside").unwrap().bytes, [1; 4]);
    assert_eq!(read(&opened, "outside").unwrap_err().kind, ErrorKind::UNSAFE_FILE);
    assert_eq!(read(&opened, "through").unwrap_err().kind, ErrorKind::UNSAFE_FILE);
}

#[test]
fn lying_and_huge_shapes_name_their_tensor() {
    for dims in [&[3, 2][..], &[i64::MAX, i64::MAX], &[-4], &[1 << 40], &[0]] {
        let (_folder, path) =
            saved(&model(graph(vec![], vec![tensor("liar", DType::FLOAT32, dims, &[0; 16])])));
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
        assert!(error.message.starts_with("tensor `liar`: "), "{error:?}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let mut inner = GraphProto::default();
    for _ in 0..40 {
        inner = GraphProto {
            node: vec![with_graph(node("If", &[], &[]), "then_branch", inner)],
            ..GraphProto::default()
        };
    }
    let (_folder, path) = saved(&model(inner));
    let error = inspect(&path).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
    assert!(error.causes[0].contains("nested deeper"), "{error:?}");
}

#[test]
fn inputs_of_old_files_that_are_initializers_are_no_inputs() {
    let mut old = graph(vec![node("Mul", &["x", "w"], &["y"])], vec![floats("w", &[2], &[1.0, 2.0])]);
    old.input.push(value("w", DType::FLOAT32, Some(&[2])));
    let info = info_of(&ModelProto { ir_version: Some(3), ..model(old) });
    assert_eq!(info.inputs.len(), 1);
    assert_eq!(info.inputs[0].name, "x");
}

#[test]
fn a_model_without_opset_cannot_be_run_but_read() {
    let info = info_of(&ModelProto { opset_import: vec![], ..model(graph(vec![], vec![])) });
    assert_eq!(info.findings[0].code, "onnx.no-opset");
    assert!(info.run_obstacle.is_some());
}

#[test]
fn a_large_tensor_comes_in_pieces_without_gaps() {
    let raw: Vec<u8> = (0..40_u32 << 20).map(|index| (index >> 8).to_le_bytes()[0]).collect();
    let tensors = vec![tensor("large", DType::UINT4, &[i64::try_from(raw.len()).unwrap() * 2], &raw)];
    let (_folder, path) = saved(&model(graph(vec![], tensors)));
    let received = read(&open(&reader(), &path).unwrap(), "large").unwrap();
    assert_eq!(received.pieces, 3);
    assert!(received.bytes == raw);
}

#[test]
fn a_mapped_file_that_was_shortened_is_an_error_and_no_crash() {
    let raw = vec![1_u8; 2 << 20];
    let tensors = vec![tensor("w", DType::UINT8, &[i64::try_from(raw.len()).unwrap()], &raw)];
    let (_folder, path) = saved(&model(graph(vec![], tensors)));
    let opened = open(&reader(), &path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let error = read(&opened, "w").unwrap_err();
    assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
    assert!(error.message.contains("became shorter while it was read"), "{error:?}");
}

#[test]
fn no_zeros_of_a_file_that_is_cut_meanwhile_pass_as_weights() {
    let raw: Vec<u8> = (0..4_u32 << 20).map(|index| 1 + (index % 251).to_le_bytes()[0]).collect();
    let tensors = vec![tensor("w", DType::UINT8, &[i64::try_from(raw.len()).unwrap()], &raw)];
    let (_folder, path) = saved(&model(graph(vec![], tensors)));
    let whole = std::fs::read(&path).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            for round in 0.. {
                let kept = [0, whole.len() / 3, whole.len() - 100][round % 3];
                file.set_len(kept as u64).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &whole[kept..], kept as u64).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
                if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut errors = 0;
        for _ in 0..40 {
            match open(&reader(), &path).and_then(|opened| read(&opened, "w")) {
                Ok(received) => assert!(received.bytes == raw),
                Err(error) => {
                    assert!([ErrorKind::CORRUPT_FILE, ErrorKind::IO].contains(&error.kind), "{error:?}");
                    errors += 1;
                }
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(errors > 0, "it is never cut while it is read");
    });
    assert!(read(&open(&reader(), &path).unwrap(), "w").unwrap().bytes == raw);
}

#[test]
fn unknown_tensors_and_options_are_refused() {
    let opened = open(&reader(), &sample("resnet8.onnx")).unwrap();
    assert_eq!(read(&opened, "nothing").unwrap_err().kind, ErrorKind::NOT_FOUND);
    let options = [qp_abi::manifest::pair("speed", "high")];
    let path = sample("resnet8.onnx");
    let outcome = with_progress(|progress| reader().inspect(path.to_str().unwrap(), &options, progress));
    assert_eq!(outcome.unwrap_err().kind, ErrorKind::INVALID_INPUT);
}
