//! Loading plugins: what a good one gives, and the exact words for every wrong one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "loading/cache.rs"]
mod cache;
#[path = "loading/choice.rs"]
mod choice;
#[path = "loading/misbehaviour.rs"]
mod misbehaviour;
#[path = "loading/refusal.rs"]
mod refusal;
mod support;
#[path = "loading/world.rs"]
mod world;

use qp::backend::{Fetch, NoProgress, PluginState, RunOptions};
use qp::error::ErrorKind;
use qp::model::TensorChunk;
use std::path::Path;
use support::plugin::library;
use world::{TOY, World, input};

#[test]
fn two_plugins_are_two_plugins() {
    // `PluginRef::load_from_file` would give the first one's manifest for both.
    let world = World::with_toy();
    world.install("qp-fixture-same-format", "rival");
    let backends = world.discover();
    let ids: Vec<_> = backends.plugins().iter().map(|entry| (entry.id(), entry.version())).collect();
    assert_eq!(
        ids,
        [("rival", Some("9.0.0".to_owned())), ("toy", Some(env!("CARGO_PKG_VERSION").to_owned()))]
    );
    assert!(backends.plugins().iter().all(|entry| entry.state() == PluginState::Loaded));
}

#[test]
fn a_model_is_recognized_inspected_opened_read_and_run() {
    let world = World::with_toy();
    let backends = world.discover();
    let path = world.write("model.toy", TOY);
    assert!(backends.could_be_model(&path) && !backends.could_be_model(Path::new("x.txt")));

    let recognized = backends.recognize(&path).unwrap();
    assert_eq!((recognized.backend.as_str(), recognized.format.as_str()), ("toy", "toy"));
    let info = backends.inspect(&path, &NoProgress).unwrap();
    assert_eq!((info.layer_count(), info.parameter_count()), (3, 3));
    assert_eq!(info.quantized_share(), Some(1.0));

    let session = backends.open(&path, &NoProgress).unwrap();
    assert_eq!(*session.info(), info);
    let weight = session.read_whole_tensor("w", &NoProgress).unwrap();
    assert_eq!(weight.bytes, [3, 1, 0xff]);
    assert_eq!(weight.quantization.unwrap().zero_points, [1.0]);

    // w = (q - 1) · 0.5 = [1, 0, -1].
    let outcome =
        session.run(&[input([1.0, 2.0, -3.0])], &Fetch::Outputs, &RunOptions::new(), &NoProgress).unwrap();
    assert_eq!(outcome.tensors.len(), 1);
    assert_eq!(outcome.tensors[0].name, "y");
    // Relu gives [1, 0, 3]; codes are 4 and 12 steps of 0.25 above -128.
    assert_eq!(
        outcome.tensors[0].bytes.iter().map(|byte| *byte as i8).collect::<Vec<_>>(),
        [-124, -128, -116]
    );
    assert_eq!(outcome.report.runtime, "toy");

    let captured =
        session.run(&[input([1.0, 2.0, -3.0])], &Fetch::Layers, &RunOptions::new(), &NoProgress).unwrap();
    let names: Vec<_> = captured.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["h", "a", "y"]);
    assert!(backends.runtime("toy").unwrap().obstacle.is_none());
}

/// A type that no scale and zero point express: its real values come from the backend, the stored bytes beside them.
/// Expected from NumPy: `np.float32([-1, -0.25, 0.25, 1])[[0, 3, 1, 2, 3]] * np.repeat([0.5, 2, 3], 2)[:5]`.
#[test]
fn real_values_of_a_code_book_come_from_the_backend() {
    const REALS: [f32; 5] = [-0.5, 0.5, -0.5, 0.5, 3.0];
    let world = World::with_toy();
    let text = "toy 1\ninput x float32 5\n\
                tensor b book 5 numbers=-1:-0.25:0.25:1 scales=0.5:2:3 block=2 = 0 3 1 2 3\n\
                layer a Add x b -> y\noutput y\n";
    let session = world.discover().open(&world.write("book.toy", text), &NoProgress).unwrap();
    let tensor = session.info().tensor("b").unwrap();
    assert_eq!((tensor.type_name.as_deref(), tensor.shape.as_slice()), (Some("book"), [5].as_slice()));
    assert_eq!(session.read_whole_tensor("b", &NoProgress).unwrap().bytes, [0, 3, 1, 2, 3]);
    let mut reals = Vec::new();
    let mut take = |chunk: TensorChunk<'_>| {
        reals.extend_from_slice(chunk.bytes);
        Ok(())
    };
    session.read_real("b", &mut take, &NoProgress).unwrap();
    let reals: Vec<f32> = reals.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(reals, REALS);
    let missing = session.read_real("x", &mut |_| Ok(()), &NoProgress).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    let wrong = world.write("wrong.toy", format!("{text}misbehave reals-as-integers\n"));
    let session = world.discover().open(&wrong, &NoProgress).unwrap();
    let error = session.read_real("b", &mut |_| Ok(()), &NoProgress).unwrap_err();
    assert_eq!(
        error.message(),
        "plugin `toy` broke the contract: it delivers the real values of the tensor `b`, which is [5], as int32 [5]"
    );
}

#[test]
fn every_plugin_library_is_built_with_the_tests() {
    for package in ["qp-plugin-toy", "qp-plugin-onnx", "qp-plugin-pytorch"] {
        library(package);
    }
}
