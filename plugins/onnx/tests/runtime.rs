//! What the runtime takes and returns besides float tensors, what it rejects, and libraries that are not ONNX
//! Runtime.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use prost::Message;
use qp_abi::sdk::{BackendError, DType, ErrorKind, TensorView};
use qp_plugin_onnx::proto::{GraphProto, ModelProto, TensorProto};
use support::build::{external, floats, graph, model, node, saved, tensor, value, with_ints};
use support::{Ask, Received, bytes_of, open, run, runner};

/// A model whose output is its input of this type, and one that returns a stored tensor.
fn identity(dtype: DType) -> ModelProto {
    model(GraphProto {
        node: vec![node("Identity", &["x"], &["y"])],
        input: vec![value("x", dtype, None)],
        output: vec![value("y", dtype, None)],
        ..graph(vec![], vec![])
    })
}

fn pass_through(dtype: DType, shape: &[i64], bytes: &[u8]) -> Result<Vec<Received>, BackendError> {
    let (_folder, path) = saved(&identity(dtype));
    let opened = open(&runner(), &path)?;
    Ok(run(&opened, &[TensorView::whole("x", dtype, shape, bytes)], &Ask::default())?.0)
}

#[test]
fn tensors_of_every_ordinary_type_pass_through_unchanged() {
    for dtype in [
        DType::FLOAT32,
        DType::FLOAT64,
        DType::FLOAT16,
        DType::BFLOAT16,
        DType::INT8,
        DType::INT16,
        DType::INT32,
        DType::INT64,
        DType::UINT8,
        DType::UINT16,
        DType::UINT32,
        DType::UINT64,
        DType::BOOL,
    ] {
        let bytes = vec![1_u8; usize::try_from(dtype.packed_bytes(6).unwrap()).unwrap()];
        let received = pass_through(dtype, &[2, 3], &bytes).unwrap();
        assert_eq!((received[0].dtype, received[0].shape.as_slice()), (dtype, [2, 3].as_slice()));
        assert_eq!(received[0].bytes, bytes, "{dtype}");
    }
}

#[test]
fn strings_and_empty_tensors_pass_through() {
    let texts = b"\x05\0\0\0hello\0\0\0\0\x04\0\0\0\xf0\x9f\xa6\x80";
    assert_eq!(pass_through(DType::STRING, &[3], texts).unwrap()[0].bytes, texts);
    let empty = pass_through(DType::FLOAT32, &[0, 3], &[]).unwrap();
    assert_eq!((empty[0].shape.as_slice(), empty[0].bytes.len()), ([0, 3].as_slice(), 0));
    let refused = |dtype, bytes: &[u8]| pass_through(dtype, &[2], bytes).unwrap_err().kind;
    assert_eq!(refused(DType::STRING, texts), ErrorKind::INVALID_INPUT, "three strings for two");
    assert_eq!(refused(DType::BOOL, &[0, 2]), ErrorKind::INVALID_INPUT);
}

#[test]
fn types_under_one_byte_come_out_packed() {
    let quantize = with_ints(node("QuantizeLinear", &["x", "scale"], &["y"]), &[("output_dtype", 22)]);
    let quantized = model(GraphProto {
        output: vec![value("y", DType::INT4, None)],
        ..graph(vec![quantize], vec![floats("scale", &[], &[1.0])])
    });
    let (_folder, path) = saved(&quantized);
    let opened = open(&runner(), &path).unwrap();
    let numbers = bytes_of(&[1.0, -1.0, 7.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[3], &numbers);
    let received = run(&opened, &[input], &Ask::default()).unwrap().0;
    assert_eq!((received[0].dtype, received[0].bytes[0]), (DType::INT4, 0xf1));
    assert_eq!(received[0].bytes[1] & 0x0f, 7);
}

#[test]
fn a_sequence_comes_out_tensor_by_tensor() {
    let mut split = model(graph(vec![node("SplitToSequence", &["x"], &["y"])], vec![]));
    let graph = split.graph.as_mut().unwrap();
    let inner = value("", DType::FLOAT32, None).r#type.unwrap();
    graph.output[0].r#type = Some(qp_plugin_onnx::proto::TypeProto {
        value: Some(qp_plugin_onnx::proto::type_proto::Value::SequenceType(Box::new(
            qp_plugin_onnx::proto::type_proto::Sequence { elem_type: Some(Box::new(inner)) },
        ))),
        denotation: None,
    });
    let (_folder, path) = saved(&split);
    let opened = open(&runner(), &path).unwrap();
    let numbers = bytes_of(&[1.0, 2.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[2], &numbers);
    let received = run(&opened, &[input], &Ask::default()).unwrap().0;
    let names: Vec<&str> = received.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!((names, received[1].floats()), (vec!["y[0]", "y[1]"], vec![2.0]));
}

#[test]
fn external_data_is_found_beside_the_model() {
    let add = node("Add", &["x", "w"], &["y"]);
    let with_external =
        model(graph(vec![add], vec![external("w", DType::FLOAT32, &[2], &[("location", "w.bin")])]));
    let (folder, path) = saved(&with_external);
    std::fs::write(folder.path().join("w.bin"), bytes_of(&[10.0, 20.0])).unwrap();
    let opened = open(&runner(), &path).unwrap();
    let numbers = bytes_of(&[1.0, 2.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[2], &numbers);
    assert_eq!(run(&opened, &[input], &Ask::default()).unwrap().0[0].floats(), [11.0, 22.0]);
}

fn add_one(constant: f32) -> ModelProto {
    model(graph(vec![node("Add", &["x", "w"], &["y"])], vec![floats("w", &[1], &[constant])]))
}

#[test]
fn a_model_runs_as_it_was_opened_even_when_its_file_changes() {
    let (_folder, path) = saved(&add_one(1.0));
    let opened = open(&runner(), &path).unwrap();
    std::fs::write(&path, [add_one(5.0).encode_to_vec(), vec![0x28, 0x01]].concat()).unwrap();
    let numbers = bytes_of(&[1.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[1], &numbers);
    assert_eq!(run(&opened, &[input], &Ask::default()).unwrap().0[0].floats(), [2.0]);
}

#[test]
fn a_large_file_that_has_changed_is_not_run() {
    let large = tensor("unused", DType::UINT8, &[2 << 20], &vec![0; 2 << 20]);
    let (_folder, path) = saved(&model(graph(vec![node("Neg", &["x"], &["y"])], vec![large])));
    let opened = open(&runner(), &path).unwrap();
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&path, [content, vec![0x28, 0x01]].concat()).unwrap();
    let numbers = bytes_of(&[1.0]);
    let input = TensorView::whole("x", DType::FLOAT32, &[1], &numbers);
    let error = run(&opened, &[input], &Ask::default()).unwrap_err();
    assert!(error.kind == ErrorKind::IO && error.message.contains("has changed"), "{error:?}");
}

#[test]
fn the_runtimes_refusal_has_one_line_and_the_rest_as_detail() {
    let wrong: TensorProto = floats("w", &[3], &[1.0; 3]);
    let mut unknown = model(graph(vec![node("NoSuchOperator", &["x"], &["y"])], vec![wrong]));
    let refused = |model: &ModelProto| {
        let (_folder, path) = saved(model);
        let opened = open(&runner(), &path).unwrap();
        let numbers = bytes_of(&[1.0]);
        let input = TensorView::whole("x", DType::FLOAT32, &[1], &numbers);
        run(&opened, &[input], &Ask::default()).unwrap_err()
    };
    let error = refused(&unknown);
    assert_eq!(error.message, "ONNX Runtime refuses `model.onnx`");
    assert!(error.causes[0].contains("NoSuchOperator") && !error.causes[0].contains('\n'), "{error:?}");
    unknown.opset_import.clear();
    assert_eq!(refused(&unknown).message, "the model imports no operator set");
}

#[test]
fn a_failing_run_is_an_error_and_the_session_stays() {
    let product =
        model(graph(vec![node("MatMul", &["x", "w"], &["y"])], vec![floats("w", &[2, 1], &[1.0; 2])]));
    let (_folder, path) = saved(&product);
    let opened = open(&runner(), &path).unwrap();
    let numbers = bytes_of(&[1.0, 2.0, 3.0]);
    let wide = TensorView::whole("x", DType::FLOAT32, &[1, 3], &numbers);
    let error = run(&opened, &[wide], &Ask::default()).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::RUNTIME_FAILED, "ONNX Runtime failed to run the model")
    );
    let good = TensorView::whole("x", DType::FLOAT32, &[1, 2], &numbers[..8]);
    assert_eq!(run(&opened, &[good], &Ask::default()).unwrap().0[0].floats(), [3.0]);
}
