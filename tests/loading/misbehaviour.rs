//! A plugin that breaks the contract while it is used: clean errors, and the session goes on.

use crate::world::{TOY, World, input};
use qp::backend::{Fetch, NoProgress, PluginState, Progress, RunOptions};
use qp::error::{Error, ErrorKind};
use qp::model::Tensor;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_backend_that_cannot_be_made_is_broken_from_then_on() {
    let mut world = World::with_toy();
    let way = BTreeMap::from([("misbehave".to_owned(), "panic-in-create".to_owned())]);
    world.config.settings = BTreeMap::from([("toy".to_owned(), way)]);
    let backends = world.discover();
    for _ in 0..2 {
        let error = backends.runtime("toy").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(error.message(), "plugin `toy` panicked: asked to panic-in-create");
    }
    assert!(matches!(backends.plugins()[0].state(), PluginState::Broken(_)));
}

#[test]
fn an_inspection_that_breaks_the_contract_is_a_clean_error() {
    let world = World::with_toy();
    let backends = world.discover();
    for (way, kind, message) in [
        ("panic-in-inspect", ErrorKind::Internal, "plugin `toy` panicked: asked to panic-in-inspect"),
        ("error-kind-unknown", ErrorKind::Internal, "plugin `toy` failed: the moon is in the wrong phase"),
        ("error-without-message", ErrorKind::Internal, "plugin `toy` failed and did not say why"),
        (
            "duplicate-names",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: it lists the layer `fc.mul` twice",
        ),
        ("empty-name", ErrorKind::Plugin, "plugin `toy` broke the contract: it lists a layer without a name"),
        (
            "wrong-size",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: its tensor `w`, int8 [3], claims 4 bytes",
        ),
        (
            "negative-dimension",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: its tensor `w` has a negative dimension: [-1]",
        ),
        (
            "wrong-format",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: it describes a model of the format `game`, which its manifest \
             does not have",
        ),
    ] {
        let error = backends.inspect(&world.toy(way), &NoProgress).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message), "{way}");
    }
    let error = backends.open(&world.toy("panic-in-open"), &NoProgress).err().unwrap();
    assert_eq!(error.message(), "plugin `toy` panicked: asked to panic-in-open");
    // The backend goes on.
    assert!(backends.inspect(&world.write("model.toy", TOY), &NoProgress).is_ok());
}

#[test]
fn a_session_that_breaks_the_contract_gives_clean_errors_and_goes_on() {
    let world = World::with_toy();
    let backends = world.discover();
    let broke = |what: &str| (ErrorKind::Plugin, format!("plugin `toy` broke the contract: {what}"));
    for (way, (kind, message)) in [
        ("panic-in-read", (ErrorKind::Internal, "plugin `toy` panicked: asked to panic-in-read".to_owned())),
        ("short-bytes", broke("it stopped 1 elements before the end of the tensor `w`")),
        ("long-bytes", broke("it delivered 4 bytes of the tensor `w` instead of 3")),
        ("gap", broke("it continued the tensor `w` at element 2 instead of 1")),
        ("twice", broke("it delivered the tensor `w` twice")),
        ("other-name", broke("it delivered the tensor `other` instead of `w`")),
        ("other-shape", broke("it describes the tensor `w` as int8 [3] and delivers int8 [1, 1, 3]")),
        ("silent", broke("it did not deliver the tensor `w`")),
    ] {
        let session = backends.open(&world.toy(way), &NoProgress).unwrap();
        for _ in 0..2 {
            let error = session.read_whole_tensor("w", &NoProgress).unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, message.as_str()), "{way}");
        }
        assert_eq!(session.info().layer_count(), 3);
    }
    for (way, message) in [
        ("panic-in-run", "plugin `toy` panicked: asked to panic-in-run"),
        ("panic-with-no-text", "plugin `toy` panicked: no message"),
    ] {
        let session = backends.open(&world.toy(way), &NoProgress).unwrap();
        let run = || session.run(&[input([1.0; 3])], &Fetch::Outputs, &RunOptions::new(), &NoProgress);
        assert_eq!(run().unwrap_err().message(), message, "{way}");
        assert_eq!(run().unwrap_err().message(), message, "{way}");
        assert_eq!(session.read_whole_tensor("w", &NoProgress).unwrap().bytes.len(), 3);
    }
}

#[test]
fn an_answer_to_a_request_is_what_is_due_or_a_breach() {
    let world = World::with_toy();
    let backends = world.discover();
    let listing = |way: Option<&str>, layer: Option<&str>| {
        let path = way.map_or_else(|| world.write("model.toy", TOY), |way| world.toy(way));
        backends.open(&path, &NoProgress).unwrap().listing(layer, &NoProgress)
    };
    let found = listing(None, Some("fc.relu")).unwrap();
    assert_eq!((found.language.as_str(), found.layer.as_str()), ("toy", "fc.relu"));
    assert_eq!((found.inlined.len(), found.inlined[0].text.as_str()), (1, "Relu h -> a"));
    assert_eq!(listing(None, None).unwrap().inlined.len(), 3);
    assert_eq!(listing(None, Some("none")).unwrap_err().kind(), ErrorKind::NotFound);
    for way in ["answer-no-json", "answer-other"] {
        let error = listing(Some(way), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin, "{way}");
        let start = "plugin `toy` broke the contract: its answer to `code/1` has the wrong form: ";
        assert!(error.message().starts_with(start), "{way}: {}", error.message());
    }
}

#[test]
fn a_destructor_that_panics_is_not_noticed() {
    let world = World::with_toy();
    let backends = world.discover();
    drop(backends.open(&world.toy("panic-in-drop"), &NoProgress).unwrap());
    assert!(backends.open(&world.write("model.toy", TOY), &NoProgress).is_ok());
}

#[test]
fn the_hosts_refusal_of_a_tensor_counts_even_if_the_plugin_ignores_it() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.toy("ignore-refusal"), &NoProgress).unwrap();
    let enough = Error::state("seen enough");
    let error = session.read_tensor("w", &mut |_| Err(enough.clone()), &NoProgress).unwrap_err();
    assert_eq!(error, enough);
}

#[test]
fn wrong_inputs_and_names_are_told_apart() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.write("model.toy", TOY), &NoProgress).unwrap();
    let run = |input: Tensor, fetch: &Fetch, options: &RunOptions| {
        session.run(&[input], fetch, options, &NoProgress).map(|_| ()).unwrap_err()
    };
    let (outputs, none) = (Fetch::Outputs, RunOptions::new());
    let short = Tensor { bytes: vec![0; 5], ..input([0.0; 3]) };
    assert_eq!(
        run(short, &outputs, &none).message(),
        "input `x` has 5 bytes, which is wrong for float32 [1, 3]"
    );
    let other = Tensor { name: "z".into(), ..input([0.0; 3]) };
    assert_eq!(run(other, &outputs, &none).message(), "the model has no input `z`");
    let unknown = Fetch::Named(vec!["nowhere".into()]);
    assert_eq!(run(input([0.0; 3]), &unknown, &none).kind(), ErrorKind::NotFound);
    let options = RunOptions::from([("warp".to_owned(), "9".to_owned())]);
    assert_eq!(run(input([0.0; 3]), &outputs, &options).kind(), ErrorKind::InvalidInput);
    assert_eq!(session.read_whole_tensor("v", &NoProgress).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Asks to stop after some updates.
struct StopAfter(AtomicU32);

impl Progress for StopAfter {
    fn update(&self, _stage: &str, _done: u64, _total: u64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn slow_work_is_cancelled_within_a_moment() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.toy("slow"), &NoProgress).unwrap();
    let start = Instant::now();
    let error = session.read_whole_tensor("w", &StopAfter(AtomicU32::new(3))).unwrap_err();
    assert_eq!(error, Error::cancelled());
    let stop = StopAfter(AtomicU32::new(3));
    let error = session.run(&[input([1.0; 3])], &Fetch::Outputs, &RunOptions::new(), &stop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_session_is_shared_by_threads() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.write("model.toy", TOY), &NoProgress).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let session = &session;
            scope.spawn(move || {
                let given = input([f32::from(number), 0.0, 0.0]);
                let fetch = Fetch::Named(vec!["h".into()]);
                let outcome = session.run(&[given], &fetch, &RunOptions::new(), &NoProgress).unwrap();
                assert_eq!(outcome.tensors[0].bytes[..4], f32::from(number).to_le_bytes());
                assert_eq!(session.read_whole_tensor("w", &NoProgress).unwrap().bytes.len(), 3);
            });
        }
    });
}
