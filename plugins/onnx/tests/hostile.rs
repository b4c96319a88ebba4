//! Whatever bytes a file holds, reading it ends with a description or an error.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use proptest::prelude::*;
use qp_abi::DType;
use qp_abi::sdk::{Edit, ErrorKind, Model};
use std::path::Path;
use support::build::{external, floats, graph, model, named, node, saved, tensor, value, with_graph};
use support::{open, read, reader, sample, with_progress};

/// Reads a file whole; a panic fails the test.
fn read_all(path: &Path) {
    let Ok(opened) = open(&reader(), path) else { return };
    let info = opened.info().unwrap();
    let mut paths: Vec<_> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    paths.sort_unstable();
    assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "paths are unique");
    for tensor in info.tensors.iter().take(20) {
        if let Ok(received) = read(&opened, &tensor.name) {
            assert_eq!(received.bytes.len() as u64, tensor.bytes);
        }
    }
}

fn small_model() -> Vec<u8> {
    let inner = graph(vec![node("Add", &["x", "c"], &["y"])], vec![floats("c", &[1], &[2.0])]);
    let nodes = vec![
        named("q", node("QuantizeLinear", &["x", "s", ""], &["a"])),
        node("DequantizeLinear", &["a", "s"], &["b"]),
        with_graph(node("If", &["b"], &["y"]), "then_branch", inner),
    ];
    let tensors = vec![floats("s", &[], &[0.5]), external("e", DType::INT4, &[3], &[("location", "e.bin")])];
    let (_folder, path) = saved(&model(graph(nodes, tensors)));
    std::fs::read(path).unwrap()
}

fn written(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(content in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_folder, path) = written(&content);
        read_all(&path);
    }

    #[test]
    fn random_bytes_behind_a_models_start_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut content = vec![0x08, 0x0a, 0x12, 0x01, b'q'];
        content.extend(tail);
        let (_folder, path) = written(&content);
        read_all(&path);
    }

    #[test]
    fn changed_bytes_are_survived(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut content = small_model();
        for (place, byte) in changes {
            let place = place.index(content.len());
            content[place] = byte;
        }
        let (_folder, path) = written(&content);
        read_all(&path);
    }

    #[test]
    fn cuts_and_repeats_are_survived(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let content = small_model();
        let (from, to) = (from.index(content.len()), to.index(content.len()));
        let mut changed = content[..from].to_vec();
        changed.extend_from_slice(&content[to..]);
        let (_folder, path) = written(&changed);
        read_all(&path);
    }
}

#[test]
fn changed_bytes_of_a_real_model_are_survived() {
    let content = std::fs::read(sample("resnet8_int8.onnx")).unwrap();
    let mut state = 7_u64;
    for _ in 0..150 {
        let mut changed = content.clone();
        for _ in 0..4 {
            // A fixed sequence of places and bytes.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(state >> 33).unwrap() % changed.len();
            changed[place] = state.to_le_bytes()[3];
        }
        let (_folder, path) = written(&changed);
        read_all(&path);
    }
}

#[test]
fn many_layers_of_one_name_take_no_quadratic_time() {
    let nodes = (0..50_000).map(|_| named("same", node("Relu", &["x"], &["y"]))).collect();
    let tensors = (0..50_000).map(|_| floats("w", &[1], &[1.0])).collect();
    let (_folder, path) = saved(&model(graph(nodes, tensors)));
    let start = std::time::Instant::now();
    let opened = open(&reader(), &path).unwrap();
    assert_eq!(opened.info().unwrap().layers.len(), 50_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// ONNX asks for graphs without circles; nodes that are only out of order are read.
#[test]
fn a_graph_that_runs_in_a_circle_is_refused_with_the_way_round() {
    let refused = |graph| {
        let (_folder, path) = saved(&model(graph));
        let error = open(&reader(), &path).err().unwrap();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
        error.message.to_string()
    };
    let circle = |first: &str| {
        vec![
            named("before", node("Relu", &["x"], &["r"])),
            named("p", node("Add", &[first, "r"], &["a"])),
            named("q", node("Relu", &["a"], &["b"])),
            named("s", node("Relu", &["b"], &["c"])),
            named("behind", node("Relu", &["c"], &["y"])),
        ]
    };
    assert_eq!(refused(graph(circle("c"), vec![])), "the graph runs in a circle: `p` → `q` → `s` → `p`");
    assert_eq!(
        refused(graph(vec![named("p", node("Relu", &["a"], &["a"]))], vec![])),
        "the graph runs in a circle: `p` → `p`"
    );
    let whole = with_graph(node("If", &["x"], &["y"]), "then_branch", graph(circle("b"), vec![]));
    assert_eq!(refused(graph(vec![whole], vec![])), "the graph runs in a circle: `p` → `q` → `p`");
    let long =
        (0..100).map(|n| node("Relu", &[&format!("v{n}")], &[&format!("v{}", (n + 1) % 100)])).collect();
    assert!(refused(graph(long, vec![])).ends_with("→ … → `Relu_0`"));

    let mut unsorted = circle("r");
    unsorted.reverse();
    let (_folder, path) = saved(&model(graph(unsorted, vec![])));
    assert_eq!(open(&reader(), &path).unwrap().info().unwrap().layers.len(), 5);
}

/// Of what is joined 200 times, four times over, each value is asked once whether it is negative.
#[test]
fn what_is_joined_many_times_is_followed_once() {
    let mut nodes = vec![node("Relu", &["x"], &["c0"])];
    for level in 0..4 {
        nodes.push(node("Concat", &[format!("c{level}").as_str(); 200], &[&format!("c{}", level + 1)]));
    }
    nodes.push(node("QuantizeLinear", &["c4", "scale", "zero"], &["q"]));
    nodes.push(node("DequantizeLinear", &["q", "scale", "zero"], &["d"]));
    nodes.push(node("Add", &["d", "d"], &["y"]));
    let mut whole = graph(nodes, vec![floats("scale", &[], &[0.5]), tensor("zero", DType::UINT8, &[], &[0])]);
    whole.output = vec![value("y", DType::FLOAT32, None)];
    let (_folder, path) = saved(&model(whole));
    let opened = open(&reader(), &path).unwrap();
    let edit = Edit {
        action: "unquantize".into(),
        target: "y".into(),
        arguments: Vec::new().into(),
        dtype: DType::UNDEFINED,
        shape: Vec::new().into(),
        bytes: Vec::new().into(),
    };
    let edited = with_progress(|progress| opened.edit(&[edit], progress)).unwrap();
    let kinds: Vec<String> =
        edited.info().into_result().unwrap().layers.iter().map(|layer| layer.op_type.to_string()).collect();
    // The ReLU that the codes stand for is there already.
    assert_eq!(kinds, ["Relu", "Concat", "Concat", "Concat", "Concat", "Add"]);
}

/// A zero point is one of codes, whose zero point is one of codes, and so on.
#[test]
fn zero_points_within_zero_points_are_followed_only_so_far() {
    let number = |n: usize| format!("v{n}");
    let chain = (0..20_000)
        .map(|n| node("DequantizeLinear", &["codes", "scale", &number(n)], &[&number(n + 1)]))
        .chain([node("DequantizeLinear", &["codes", "scale", "v20000"], &["y"])])
        .collect();
    let stored = vec![
        tensor("codes", DType::UINT8, &[], &[3]),
        tensor("v0", DType::UINT8, &[], &[1]),
        floats("scale", &[], &[0.5]),
    ];
    let (_folder, path) = saved(&model(graph(chain, stored)));
    assert_eq!(open(&reader(), &path).unwrap().info().unwrap().layers.len(), 20_001);
}
