//! `compare`.

use crate::support::world::World;
use serde_json::Value;

fn row<'a>(found: &'a Value, layer: &str) -> &'a Value {
    found["layers"].as_array().unwrap().iter().find(|row| row["layer"] == layer).unwrap()
}

/// NumPy in float64 on the values that Python's ONNX Runtime gives with optimization off, after each
/// DequantizeLinear (scripts/check/compare.py); another CPU may round some int8 products the other way.
#[test]
fn no_healthy_layer_is_flagged_because_a_relu_was_folded() {
    let world = World::new();
    let found = world.json(
        "input models/digits.npz:images[0:32]; compare models/resnet8.onnx models/resnet8_int8.onnx --batch 5",
    );
    assert_eq!((&found["samples"], &found["total"]), (&32.into(), &18.into()));
    assert_eq!(found["unmatched_reference"], serde_json::json!([]));
    assert_eq!(found["unmatched_candidate"], serde_json::json!([]));
    assert_eq!(found["first_below"], Value::Null);
    let stem = row(&found, "stem");
    // The quantizer gave the ReLU's name to what is before it: what is after its quantization is compared.
    assert_eq!(
        (&stem["reference_value"], &stem["through"]),
        (&"relu_output".into(), &serde_json::json!(["relu"]))
    );
    assert_eq!(stem["candidate_value"], "relu_output_DequantizeLinear_Output");
    for (layer, sqnr) in [("stem", 31.24), ("layer1.add", 29.41), ("layer3.conv2", 26.19), ("softmax", 42.37)]
    {
        let found = row(&found, layer)["sqnr_db"].as_f64().unwrap();
        assert!((found - sqnr).abs() < 0.5, "{layer}: {found}");
    }
    assert_eq!(row(&found, "normalize.transpose")["sqnr_db"], "inf");
    // Batches change nothing but the last bits.
    let whole = world.json(
        "input models/digits.npz:images[0:32]; compare models/resnet8.onnx models/resnet8_int8.onnx --batch 32",
    );
    let (left, right) = (stem["sqnr_db"].as_f64().unwrap(), row(&whole, "stem")["sqnr_db"].as_f64().unwrap());
    assert!((left - right).abs() < 1e-9, "{left} {right}");
}

#[test]
fn samples_can_be_given_in_place_of_the_current_input() {
    let world = World::new();
    let models = "models/resnet8.onnx models/resnet8_int8.onnx";
    let current = world.json(&format!("input models/digits.npz:images[0:32]; compare {models} --samples 5"));
    let mut given = world.json(&format!("compare {models} --data models/digits.npz[0:32] --samples 5"));
    assert_eq!(given["input"], "models/digits.npz[0:32]");
    given["input"] = current["input"].clone();
    assert_eq!(given, current);
    let ran = world.run(&format!("compare {models}"));
    assert!(ran.talk.contains("Or give `--data FILE`."), "{}", ran.talk);
}

/// The scale of one layer's weights times 8: as float32 it is in the file once.
#[test]
fn a_damaged_layer_is_named_first() {
    let world = World::new();
    let mut bytes = std::fs::read(world.path("models/resnet8_int8.onnx")).unwrap();
    let scale = 0.002_633_807_f32;
    let places: Vec<_> =
        bytes.windows(4).enumerate().filter(|(_, window)| *window == scale.to_le_bytes()).collect();
    assert_eq!(places.len(), 1);
    let place = places[0].0;
    bytes[place..place + 4].copy_from_slice(&(scale * 8.0).to_le_bytes());
    world.write("damaged.onnx", bytes);
    let found = world.json(
        "input models/digits.npz:images[0:8]; compare models/resnet8.onnx damaged.onnx --sort sqnr --top 1",
    );
    assert_eq!(found["first_below"], "layer1.conv1");
    assert!(found["min_sqnr_db"].as_f64().unwrap() < 10.0, "{found}");
    let alone = row(&found, "layer1.conv1")["local"]["sqnr_db"].as_f64().unwrap();
    assert!(alone < 10.0, "{alone}");
    let ranked = world
        .json("sensitivity models/resnet8.onnx damaged.onnx --data models/digits.npz[0:8] --at fc --top 2");
    assert_eq!(ranked["layers"][0]["layer"], "layer1.conv1");
}

/// The whole is more than a sum here: with every layer emulated the output is the candidate's own, but for what its
/// integer kernels round inside (with graph optimization off there are none).
#[test]
fn every_layer_quantized_at_once_is_the_candidate() {
    let world = World::new();
    let found = world.json(
        "sensitivity models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 16",
    );
    let of = |outcome: &Value| outcome["sqnr_db"].as_f64().unwrap();
    assert!((of(&found["all"]) - of(&found["candidate_itself"])).abs() < 0.2, "{found}");
    assert_eq!((&found["has_labels"], &found["left_out"]), (&true.into(), &serde_json::json!([])));
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 17);
    // Worst first, and each alone better than all together.
    let only: Vec<f64> = layers.iter().filter_map(|row| row["only"]["sqnr_db"].as_f64()).collect();
    assert!(only.is_sorted() && only[0] >= of(&found["all"]) - 0.5, "{only:?}");
}

/// The candidate fed the reference's values, and stand-ins in the reference's graph, are two ways to one number.
#[test]
fn a_layer_alone_is_the_same_from_the_candidate_itself_and_by_emulation() {
    let world = World::new();
    let compared = |reference: &str| {
        world.json(&format!(
            "input models/digits.npz:images[0:16]; compare models/{reference} models/resnet8_int8.pt"
        ))
    };
    let (by_candidate, by_emulation) = (compared("resnet8.pt"), compared("resnet8.onnx"));
    assert!(by_candidate["local_obstacle"].is_null(), "{}", by_candidate["local_obstacle"]);
    let mut same = 0;
    for row in by_candidate["layers"].as_array().unwrap() {
        let layer = &row["candidate_layer"];
        let mut others = by_emulation["layers"].as_array().unwrap().iter();
        let Some(other) = others.find(|other| other["candidate_layer"] == *layer) else { continue };
        let alone = |row: &Value| row["local"]["sqnr_db"].as_f64();
        if let (Some(one), Some(other), "Conv2d") =
            (alone(row), alone(other), row["op_type"].as_str().unwrap())
        {
            assert!((one - other).abs() < 0.1, "{layer}: {one} {other}");
            same += 1;
        }
    }
    assert_eq!(same, 9);
    // Fed exact values, a deep layer does better than at the end of all the others.
    let deep = row(&by_candidate, "layer3.conv2");
    assert!(deep["local"]["sqnr_db"].as_f64().unwrap() > deep["sqnr_db"].as_f64().unwrap() + 3.0, "{deep}");
}

/// The first layer reads the exact input: alone or in the network, its error is the same.
#[test]
fn the_first_layers_own_error_is_its_accumulated_one() {
    let world = World::new();
    for candidate in ["resnet8_int8.onnx", "resnet8_uint8.onnx"] {
        let found = world.json(&format!(
            "input models/digits.npz:images[0:8]; compare models/resnet8.onnx models/{candidate}"
        ));
        let stem = row(&found, "stem");
        let (both, alone) = (stem["sqnr_db"].as_f64().unwrap(), stem["local"]["sqnr_db"].as_f64().unwrap());
        assert!((both - alone).abs() < 0.01, "{candidate}: {both} {alone}");
        let deep = row(&found, "layer3.conv2");
        assert!(deep["local"]["sqnr_db"].as_f64().unwrap() > deep["sqnr_db"].as_f64().unwrap() + 3.0);
    }
}

/// Two runtimes of their own compute the same layers: float32 leaves about 130 dB.
#[test]
fn torchscript_is_captured_layer_by_layer_and_agrees_with_onnx_runtime() {
    let world = World::new();
    let found = world
        .json("input models/digits.npz:images[0:8]; compare models/resnet8.onnx models/resnet8_traced.pt");
    let rows = found["layers"].as_array().unwrap();
    assert_eq!(rows.len(), 25);
    for row in rows {
        let sqnr = row["sqnr_db"].as_f64().unwrap_or(f64::INFINITY);
        assert!(sqnr > 110.0, "{row}");
    }
    assert_eq!(
        (&found["unmatched_reference"], &found["unmatched_candidate"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

/// Read off both graphs by hand: the transposition, the normalization and the three additions, which have no name in
/// common; the ReLU behind an addition is part of it.
#[test]
fn onnx_against_pytorch_int8_pairs_by_the_graph_what_names_do_not() {
    let world = World::new();
    let found =
        world.json("input models/digits.npz:images[0:8]; compare models/resnet8.onnx models/resnet8_int8.pt");
    let by_graph: Vec<(&str, &str)> = found["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["why"] == "graph")
        .map(|row| (row["layer"].as_str().unwrap(), row["candidate_layer"].as_str().unwrap()))
        .collect();
    assert_eq!(
        by_graph,
        [
            ("normalize.transpose", "permute"),
            ("normalize.mul", "mul"),
            ("layer1.add", "add_relu"),
            ("layer2.add", "add_relu_1"),
            ("layer3.add", "add_relu_2"),
        ]
    );
    assert_eq!((&found["total"], &found["first_below"]), (&18.into(), &Value::Null));
    assert_eq!(found["unmatched_reference"], serde_json::json!([]));
    assert_eq!(found["unmatched_candidate"], serde_json::json!([]));
    assert_eq!(row(&found, "layer1.add")["through"], serde_json::json!(["layer1.relu2"]));
}

/// Python's ONNX Runtime and PyTorch on all 540 digits: they differ in one, which the float model gets wrong.
#[test]
fn a_changed_class_is_listed_and_explained() {
    let world = World::new();
    let found =
        world.json("flips models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz[320:335]");
    let flips = found["flips"].as_array().unwrap();
    assert_eq!(found["flipped"], 1);
    assert_eq!(
        (&flips[0]["sample"], &flips[0]["label"], &flips[0]["reference_class"], &flips[0]["candidate_class"]),
        (&7.into(), &3.into(), &9.into(), &3.into())
    );
    assert_eq!(found["became_right"], 1);
    let accuracy = |side: &str| found[side].as_f64().unwrap();
    assert_eq!((accuracy("reference_accuracy"), accuracy("candidate_accuracy")), (14.0 / 15.0, 1.0));
    // What `flips` was given holds for `explain`.
    let mut session = world.session();
    session.command(
        "flips models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz:images[320:335] \
         --labels models/digits.npz:labels[320:335]",
    );
    assert_eq!(session.command("explain 7")["label"], 3);
    drop(session);
    let found = world.json(
        "flips models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz[320:335]; explain 7",
    );
    assert_eq!((&found["is_reproduced"], &found["emulated_class"]), (&true.into(), &3.into()));
    assert_eq!(found["smallest"], serde_json::json!(["stem"]));
    let same = world.json("explain 3 models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz");
    assert_eq!(same["smallest"], serde_json::json!([]));
    assert!(world.run("explain 3").error().contains("no models given"));
}

/// By hand from the weights of `quant`: weights reach ±127 and codes 255, two of them 64,770; PyTorch's default
/// configuration keeps activations to seven bits for this very reason.
#[test]
fn pair_sums_overflow_where_codes_use_all_eight_bits() {
    let world = World::new();
    let counted =
        |model: &str| world.json(&format!("input models/digits.npz:images[0:16]; saturation models/{model}"));
    let onnx = counted("resnet8_int8.onnx");
    assert_eq!(onnx["verdict"], "overflows");
    assert_eq!(onnx["layers"][0]["layer"], "stem");
    assert!(onnx["layers"][0]["saturated"].as_u64().unwrap() > 0);
    let pytorch = counted("resnet8_int8.pt");
    assert_eq!(pytorch["verdict"], "data");
    assert!(pytorch["layers"].as_array().unwrap().iter().all(|row| row["saturated"] == 0));
    // Unsigned weights take another path.
    assert_eq!(counted("resnet8_uint8.onnx")["verdict"], "safe");
    assert_eq!(world.json("saturation models/resnet8_int8.onnx")["verdict"], "possible");
    assert!(world.run("saturation models/resnet8.onnx").error().contains("multiplies no 8-bit codes"));
}

#[test]
fn one_file_is_compared_with_itself_under_other_settings() {
    let world = World::new();
    let found =
        world.json("input models/digits.npz:images[0:16]; drift models/resnet8_int8.onnx --threads 1,2");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert_eq!((&rows[0]["differing"], &rows[1]["differing"]), (&0.into(), &0.into()));
    // As written it computes in float, optimized in integers.
    assert!(rows[6]["differing"].as_u64().unwrap() > 0, "{found}");
    assert!(rows.iter().all(|row| row["max_abs_difference"].as_f64().unwrap() < 0.01), "{found}");
    // What is rounded to codes differs by whole steps.
    assert_eq!(found["at"], "fc_output_DequantizeLinear_Output");
    for row in rows {
        let steps = row["max_steps"].as_f64().unwrap();
        assert!((steps - steps.round()).abs() < 1e-4 && steps < 4.0, "{row}");
    }
    let torch = world.json("input models/digits.npz:images[0:4]; drift models/resnet8_traced.pt");
    assert_eq!(torch["rows"][0]["optimization"], Value::Null);
}

/// NumPy: `fake_quantize` of the float values of both branches with the scales that `quant` shows; the sum within what
/// `compare` gives for the layer alone.
#[test]
fn residuals_are_measured_on_the_reference() {
    let world = World::new();
    let found = world.json(
        "residuals models/resnet8_int8.onnx --reference models/resnet8.onnx --data models/digits.npz[0:16]",
    );
    let alone = world
        .json("input models/digits.npz:images[0:16]; compare models/resnet8.onnx models/resnet8_int8.onnx");
    for residual in found["residuals"].as_array().unwrap() {
        let measured = &residual["measured"];
        let sum = measured["sum_db"].as_f64().unwrap();
        let local = row(&alone, residual["layer"].as_str().unwrap())["local"]["sqnr_db"].as_f64().unwrap();
        assert!((sum - local).abs() < 0.01, "{residual} {local}");
        // The larger scale for both rounds the finer branch more.
        assert!(measured["shared_scale_db"].as_f64().unwrap() < sum);
    }
}

/// The same statistics as `activations`, which NumPy checks; the same bytes in the file, as NumPy reads it.
#[test]
fn capture_sees_every_layer_once_whatever_the_budget() {
    let world = World::new();
    let line = "use models/resnet8.onnx; input models/digits.npz:images[0:16]; capture";
    let (whole, parts) = (world.json(line), world.json(&format!("{line} --budget 1MiB")));
    // In pieces, and in one pass all the same.
    assert_eq!((&whole["models"][0]["groups"], &parts["models"][0]["groups"]), (&1.into(), &1.into()));
    let layers = |found: &Value| found["models"][0]["layers"].clone();
    assert_eq!(layers(&whole), layers(&parts));
    let rows = layers(&whole);
    let conv = rows.as_array().unwrap().iter().find(|row| row["layer"] == "layer1.conv2").unwrap();
    assert!((conv["mean"].as_f64().unwrap() + 0.008_407_604_592).abs() < 1e-4, "{conv}");
    let counts = conv["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 262_144);
}

/// Each value is compared when both models have computed it, in whatever pieces: not a digit is another.
#[test]
fn what_is_compared_does_not_depend_on_the_budget() {
    let world = World::new();
    let line = "input models/digits.npz:images[0:16]; compare models/resnet8.onnx";
    for candidate in ["models/resnet8_int8.onnx", "models/resnet8_uint8.onnx", "models/resnet8_traced.pt"] {
        let [whole, parts] = ["1GiB", "200KiB"].map(|budget| {
            world.json(&format!("{line} {candidate} --budget {budget} --threshold 90"))["layers"].clone()
        });
        assert!(whole.as_array().unwrap().len() > 9, "{whole}");
        assert_eq!(whole, parts, "{candidate}");
    }
}

#[test]
fn what_was_captured_is_saved_and_read_again() {
    let world = World::new();
    let saved = world.json(
        "use models/resnet8.onnx; input models/digits.npz:images[0:6]; capture --match fc --batch 4 --save fc.npz",
    );
    assert_eq!(saved["saved"], "fc.npz");
    // `fc_output` has a row for each sample, of two batches.
    let read = world.json("input fc.npz");
    assert_eq!(read["tensors"][0]["shape"], serde_json::json!([6, 10]));
    let again =
        "use models/resnet8.onnx; input models/digits.npz:images[0:6]; capture --match fc --save fc.npz";
    assert!(world.run(again).error().contains("already exists"));
    assert_eq!(world.run(&format!("{again} --force")).code, 0);
}

/// Of a network of three variants, on the same bins.
#[test]
fn variants_are_put_on_the_same_bins() {
    let world = World::new();
    let found = world.json(
        "input models/digits.npz:images[0:4]; activations stem --model models/resnet8.onnx --bins 5 --compare models/resnet8_int8.onnx models/resnet8_int8.pt",
    );
    let variants = found["variants"].as_array().unwrap();
    assert_eq!((variants.len(), found["edges"].as_array().unwrap().len()), (3, 6));
    for variant in variants {
        let counts = variant["counts"].as_array().unwrap();
        assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 65_536);
    }
}

#[test]
fn a_model_against_itself_has_no_error() {
    let world = World::new();
    let found =
        world.json("input models/digits.npz:images[0:3]; compare models/resnet8.onnx models/resnet8.onnx");
    assert!(found["layers"].as_array().unwrap().iter().all(|row| row["sqnr_db"] == "inf"), "{found}");
    assert_eq!(found["layers"].as_array().unwrap().len(), 25);
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_run() {
    let world = World::new();
    let error = |line: &str| world.run(line).error().to_owned();
    assert_eq!(error("compare models/resnet8.onnx models/resnet8_int8.onnx"), "no input is chosen");
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    let line = format!("input models/digits.npz:images[0:4]; compare models/resnet8.onnx {weights}");
    assert!(error(&line).contains("holds weights and no computation"), "{}", error(&line));
    let many = "input models/digits.npz:images[0:4]; compare models/resnet8.onnx models/resnet8_int8.onnx --samples 9";
    assert_eq!(error(many), "the input has 4 samples, not 9");
}

/// NumPy in float64 on what Python's ONNX Runtime gives with optimization off; kernels of another CPU differ in the
/// last digits of float32.
#[test]
fn activations_have_the_statistics_of_numpy() {
    let world = World::new();
    let found = world.json(
        "input models/digits.npz:images[0:16]; activations layer1.conv2 --model models/resnet8.onnx --bins 6",
    );
    let numbers = &found["statistics"];
    let is_near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-4;
    assert_eq!((&numbers["count"], &found["samples"]), (&262_144.into(), &16.into()));
    assert!(is_near(&numbers["min"], -4.427_517_414_093_018), "{numbers}");
    assert!(is_near(&numbers["max"], 7.362_427_711_486_816), "{numbers}");
    assert!(is_near(&numbers["mean"], -0.008_407_604_592_068_907), "{numbers}");
    assert!(is_near(&numbers["standard_deviation"], 0.971_014_282_633_793_7), "{numbers}");
    let counts: Vec<f64> =
        found["counts"].as_array().unwrap().iter().map(|count| count.as_f64().unwrap()).collect();
    for (count, expected) in counts.iter().zip([2664.0, 68_670.0, 175_397.0, 14_910.0, 432.0, 71.0]) {
        assert!((count - expected).abs() <= 2.0, "{counts:?}");
    }
    assert_eq!((&found["representable"], &found["clipped_share"]), (&Value::Null, &Value::Null));
}

/// scale 0.049873288720846176 and zero point -27 of the quantization after the convolution, from `onnx.load`.
#[test]
fn activations_stand_next_to_what_their_codes_reach() {
    let world = World::new();
    let found = world.json(
        "input models/digits.npz:images[0:4]; activations layer1.conv2 --model models/resnet8_int8.onnx",
    );
    let scale = 0.049_873_288_720_846_176;
    assert_eq!(found["representable"], serde_json::json!([scale * (-128.0 + 27.0), scale * (127.0 + 27.0)]));
    assert_eq!(found["clipped_share"], 0.0);
    assert_eq!(found["value"], "layer1.conv2_output");
}

/// What TOUR.md shows; its digits depend on the processor.
#[test]
fn the_script_of_the_tour_runs() {
    let world = World::new();
    let output = world.qp().args(["run", "models/compare.qp"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    for text in ["most sensitive", "restores the class", "results differ on x86 without VNNI"] {
        assert!(shown.contains(text), "{shown}");
    }
}

/// What lies before a layer is half of the network, on the average, less the piece that the layer is in.
#[test]
fn sensitivity_does_not_compute_again_what_lies_before_a_layer() {
    let world = World::new();
    let found = world.json(
        "sensitivity models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 4",
    );
    let settings = found["settings"].as_array().unwrap();
    let reused = settings.iter().find(|setting| setting["name"] == "reused").unwrap();
    let share: f64 = reused["value"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((25.0..50.0).contains(&share), "{reused}");
}

/// 540 samples, one at a time, take minutes here: Ctrl-C ends the command, and what was measured is shown.
#[cfg(unix)]
#[test]
fn what_was_gathered_is_shown_when_the_user_stops() {
    let world = World::new();
    let line =
        "sensitivity models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --batch 1 --json";
    let mut command = world.qp();
    command.args(["-c", line]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A machine too slow for one sample in that time has nothing to show.
    if found["error"].is_null() {
        let samples = found["samples"].as_u64().unwrap();
        assert!((1..540).contains(&samples), "{samples}");
        assert_eq!((&found["samples_wanted"], found["layers"].as_array().unwrap().len()), (&540.into(), 17));
    }
}

/// What `capture` writes is a file of weights to the `pytorch` backend: the same numbers come back.
#[test]
fn saved_safetensors_are_read_as_a_model_file() {
    let world = World::new();
    let captured = world.json(
        "use models/resnet8.onnx; input models/digits.npz:images[0:6]; capture --match fc --batch 4 --save fc.safetensors",
    );
    let row = &captured["models"][0]["layers"][0];
    let stored = &world.json("stats fc.safetensors")["tensors"][0];
    assert_eq!((&stored["name"], &stored["count"]), (&"fc_output".into(), &60.into()));
    for key in ["min", "max"] {
        assert_eq!(stored[key], row[key]);
    }
    let (ours, theirs) = (stored["mean"].as_f64().unwrap(), row["mean"].as_f64().unwrap());
    assert!((ours - theirs).abs() < 1e-12, "{ours} {theirs}");
}

/// ONNX Runtime, optimization off: of `layer1.relu1_output` 274,645 of 524,288 values are below 0, where its codes begin.
#[test]
fn what_a_folded_relu_cuts_off_is_not_clipped() {
    let world = World::new();
    let run = "use models/resnet8_int8.onnx; input models/digits.npz:images[0:32]";
    let found = world.json(&format!("{run}; activations layer1.conv1"));
    assert_eq!(found["clipped_share"], 0.0);
    let share = 274_645.0 / 524_288.0;
    assert!((found["rectified_share"].as_f64().unwrap() - share).abs() < 1e-4, "{found}");
    let captured = world.json(&format!("{run}; capture --match layer1.conv1"));
    let row = &captured["models"][0]["layers"][0];
    assert_eq!((&row["layer"], &row["clipped_share"]), (&"layer1.conv1".into(), &0.0.into()));
    assert_eq!(row["rectified_share"], found["rectified_share"]);
}
