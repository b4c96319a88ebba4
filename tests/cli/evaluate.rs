//! `evaluate`: counts and divergences as Python computes them, and what cannot be judged.

use crate::support::world::World;
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

/// On the first 100 digits every variant is right 99 times (NumPy on the recorded outputs of Python's runtimes). SciPy: `entropy(p, q)`
/// of the outputs has the mean 1.18403761e-4 and the 99th percentile 1.944817539e-3. statsmodels: Wilson's interval of 99 of 100.
#[test]
fn an_int8_model_is_held_against_the_float_one() {
    let world = World::new();
    let found = world
        .json("evaluate models/resnet8.onnx models/resnet8_int8.pt --data models/digits.npz --samples 100");
    assert_eq!((&found["samples"], &found["has_labels"]), (&100.into(), &true.into()));
    assert_eq!(found["reference"], "models/resnet8.onnx");
    let [reference, candidate] = &found["models"].as_array().unwrap()[..] else { panic!("{found}") };
    for model in [reference, candidate] {
        assert_eq!((&model["correct"], &model["top_accuracy"]), (&99.into(), &1.0.into()));
        assert!((number(&model["accuracy_low"]) - 0.945_513_803_821_294_6).abs() < 1e-9, "{model}");
        assert!((number(&model["accuracy_high"]) - 0.998_232_567_935_859_3).abs() < 1e-9, "{model}");
        let classes = model["classes"].as_array().unwrap();
        assert_eq!(classes.iter().map(|class| number(&class["samples"])).sum::<f64>(), 100.0);
    }
    assert!(reference["agreement"].is_null() && reference["paired"].is_null());
    let agreement = &candidate["agreement"];
    assert_eq!((&agreement["same"], &agreement["same_share"]), (&100.into(), &1.0.into()));
    // Quantized kernels differ between CPUs by a step.
    for (key, expected) in [("kl_mean", 1.184_037_616_336_1e-4), ("kl_p99", 1.944_817_539_396_5e-3)] {
        assert!((number(&agreement[key]) / expected - 1.0).abs() < 0.05, "{key} {agreement}");
    }
    let paired = &candidate["paired"];
    assert_eq!(
        (&paired["harmful"], &paired["helpful"], &paired["p_value"]),
        (&0.into(), &0.into(), &1.0.into())
    );
    // Without a flip, ±z² / (n + z²) of the 90 % interval, 0.0263, is not within 1 pp, and within 3 pp.
    assert_eq!((&paired["verdict"], &paired["missing_samples"]), (&"undecided".into(), &168.into()));
    let wide = world.json(
        "evaluate models/resnet8.onnx models/resnet8_int8.pt --data models/digits.npz --samples 100 --margin 3pp",
    );
    assert_eq!(wide["models"][1]["paired"]["verdict"], "same");
}

#[test]
fn a_model_agrees_with_itself() {
    let world = World::new();
    let found = world.json(
        "evaluate models/resnet8.onnx models/resnet8.onnx --data models/digits.npz --samples 33 --batch 8",
    );
    let same = &found["models"][1];
    assert_eq!(same["agreement"]["sqnr_db"], "inf");
    assert_eq!((&same["agreement"]["kl_max"], &same["agreement"]["same"]), (&0.0.into(), &33.into()));
}

/// The recorded outputs are those that ONNX Runtime gave in Python.
#[test]
fn outputs_are_held_against_targets() {
    let world = World::new();
    let found = world.json(
        "evaluate models/resnet8.onnx --data models/digits.npz:images --samples 100 \
         --targets models/golden_outputs.npz:resnet8.onnx",
    );
    let targets = &found["models"][0]["targets"];
    assert!(number(&targets["mse"]) < 1e-12 && number(&targets["psnr_db"]) > 100.0, "{targets}");
    assert!(found["models"][0]["accuracy"].is_null(), "{found}");
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let world = World::new();
    for (line, code, cause) in [
        (
            "input models/digits.npz:images[0:4]; evaluate models/resnet8.onnx",
            2,
            "there is nothing to evaluate against",
        ),
        (
            "evaluate models/resnet8.onnx --data models/digits.npz:images --labels models/digits.npz:labels[0:4]",
            1,
            "there are 4 labels for 540 samples",
        ),
        (
            "evaluate models/resnet8.onnx --data models/digits.npz --output logits",
            1,
            "has no output `logits`",
        ),
        ("evaluate models/resnet8.onnx --data models/digits.npz --margin 5", 2, "percentage points"),
        (
            "evaluate models/resnet8.onnx --data models/digits.npz:images --targets models/golden_outputs.npz:resnet8.onnx[0:4]",
            1,
            "there are 4 targets for 540 samples",
        ),
    ] {
        let ran = world.run(line);
        assert!(ran.code == code && ran.talk.contains(cause), "{line}: {} {}", ran.code, ran.talk);
    }
}

/// All six variants of the sample family: counts as Python's (models/README.md), sizes of the files, and what is best in both.
#[test]
fn a_matrix_holds_every_variant_against_the_float_model() {
    let world = World::new();
    let line = "open models; matrix --data models/digits.npz --samples 100 --layer-samples 4";
    let found = world.json(line);
    assert_eq!((&found["reference"], &found["samples"]), (&"resnet8.onnx".into(), &100.into()));
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 6);
    for model in models {
        let file = std::fs::metadata(world.path("models").join(model["model"].as_str().unwrap())).unwrap();
        assert_eq!(number(&model["bytes"]), file.len() as f64, "{model}");
        assert_eq!(number(&model["accuracy"]), 0.99, "{model}");
        assert!(model["obstacle"].is_null());
        let is_reference = model["model"] == "resnet8.onnx";
        assert_eq!(model["worst_layer"].is_null(), is_reference, "{model}");
        assert_eq!(model["paired"].is_null(), is_reference, "{model}");
        let is_decided = model["paired"]["verdict"] == "undecided";
        assert_eq!(is_decided, !is_reference, "{model}");
    }
    // All are equally accurate here: only the smallest is not beaten.
    let best: Vec<&Value> =
        models.iter().filter(|model| model["is_pareto"] == true).map(|model| &model["model"]).collect();
    assert_eq!(best, ["resnet8_uint8.onnx"]);
}

#[test]
fn a_broken_variant_does_not_keep_the_others_from_their_numbers() {
    let world = World::new();
    std::fs::write(world.path("models/resnet8_fp16.onnx"), b"not a model").unwrap();
    let found =
        world.json("open models; matrix resnet8 --data models/digits.npz --samples 8 --layer-samples 0");
    let models = found["models"].as_array().unwrap();
    let broken: Vec<&Value> = models.iter().filter(|model| !model["obstacle"].is_null()).collect();
    assert!(broken.iter().all(|model| model["model"] == "resnet8_fp16.onnx"), "{found}");
    assert!(models.iter().filter(|model| !model["accuracy"].is_null()).count() == 6, "{found}");
}

#[test]
fn what_a_matrix_has_measured_is_not_measured_again_until_something_changes() {
    let world = World::new();
    let line = "open models; matrix --data models/digits.npz --samples 40 --layer-samples 2";
    let matrix = |more: &str| world.json(&format!("{line} {more} --json"));
    let kept = |found: &Value| -> Vec<String> {
        let is_kept = found["models"].as_array().unwrap().iter().filter(|row| row["is_kept"] == true);
        is_kept.map(|row| row["model"].as_str().unwrap().to_owned()).collect()
    };
    let without_mark = |mut found: Value| {
        for row in found["models"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("is_kept");
        }
        found
    };
    let first = matrix("");
    assert!(kept(&first).is_empty());
    let again = matrix("");
    assert_eq!(kept(&again).len(), 6);
    // To the last digit, infinities and times included.
    assert_eq!(without_mark(again), without_mark(first));
    for changed in ["--fresh", "--margin 2pp", "--batch 8", "--threads 1"] {
        assert!(kept(&matrix(changed)).is_empty(), "{changed}");
    }
    // A model of other content is measured, with the reference; the rest stays.
    let path = world.path("models/resnet8_int8.onnx");
    let mut file = std::fs::read(&path).unwrap();
    let producer = b"onnx.quantize";
    let at = file.windows(producer.len()).position(|window| window == producer).unwrap();
    file[at] = b'O';
    std::fs::write(&path, file).unwrap();
    let changed = matrix("");
    assert_eq!(kept(&changed), ["resnet8.pt", "resnet8_int8.pt", "resnet8_traced.pt", "resnet8_uint8.onnx"]);
    let text = world.run(line).output;
    assert!(text.contains("6 variants as measured before"), "{text}");
}
