//! `kernels` and `bench --layers`: what ONNX Runtime makes of the layers. The counts are those of the nodes in the graphs that Python's
//! onnxruntime 1.31.1 writes of the same files (`SessionOptions.optimized_model_filepath`).

use crate::stranger::toys;
use crate::support::world::World;
use serde_json::{Value, json};

#[test]
fn quantized_layers_are_counted_by_how_they_are_computed() {
    let world = World::new();
    let found = world.json("kernels models/resnet8_uint8.onnx --json");
    assert_eq!((&found["in_integers"], &found["quantized"]), (&json!(15), &json!(16)));
    let reasons = found["reasons"].as_array().unwrap();
    assert_eq!((reasons.len(), &reasons[0]["code"]), (1, &json!("float-output")));
    assert_eq!(reasons[0]["layers"], json!(["softmax"]));
    let count = |operator: &str| {
        let operators = found["operators"].as_array().unwrap();
        operators
            .iter()
            .find(|row| row["operator"] == operator)
            .map_or(0, |row| row["count"].as_u64().unwrap())
    };
    assert_eq!(["QLinearConv", "QLinearAdd", "QGemm", "Conv"].map(count), [9, 3, 1, 0]);
    let float = world.json("kernels models/resnet8.onnx --json");
    assert_eq!((&float["quantized"], &float["layers"]), (&json!(0), &json!([])));
}

/// The kernels of this processor take uint8, and the runtime converts only what one layer reads.
#[cfg(target_arch = "x86_64")]
#[test]
fn int8_activations_that_two_layers_read_keep_layers_in_float() {
    let world = World::new();
    let found = world.json("kernels models/resnet8_int8.onnx --json");
    assert_eq!((&found["in_integers"], &found["quantized"]), (&json!(7), &json!(16)));
    assert_eq!(
        (&found["reasons"][0]["code"], &found["reasons"][0]["count"]),
        (&json!("int8-read-twice"), &json!(8))
    );
    let text = world.run("kernels models/resnet8_int8.onnx --float").output;
    assert!(text.contains("7 of 16 quantized layers run in integers, 9 in float"), "{text}");
    assert!(text.contains("layer1.conv1") && !text.contains("layer1.conv2"), "{text}");
}

#[test]
fn a_backend_without_an_answer_says_so_before_anything_runs() {
    let world = toys();
    world.write(
        "toys/fixed.toy",
        "toy 1\ninput x float32 2,4\ntensor w float32 4 = 1 2 3 4\nlayer m Mul x w -> y\noutput y\n",
    );
    for line in ["kernels toys/fixed.toy", "bench toys/fixed.toy --layers"] {
        let ran = world.run(line);
        assert_eq!(ran.code, 1, "{}", ran.talk);
        assert!(ran.talk.contains("does not tell which kernels it runs"), "{}", ran.talk);
    }
    let ran = world.run("bench models/resnet8.onnx --layers --batch 1,2");
    assert!(ran.talk.contains("`--layers` takes one batch size"), "{}", ran.talk);
}

#[test]
fn layers_of_two_models_are_timed_side_by_side() {
    let world = World::new();
    let found = world
        .json("bench models/resnet8.onnx models/resnet8_uint8.onnx --layers --rounds 5 --threads 1 --json");
    let layers = found["layers"].as_array().unwrap();
    let of = |name: &str| {
        layers.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {found}"))
    };
    let kernels = |row: &Value| -> Vec<String> {
        row["times"]
            .as_array()
            .unwrap()
            .iter()
            .map(|time| time["kernels"][0].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kernels(of("stem")), ["Conv", "QLinearConv"]);
    assert_eq!(kernels(of("fc")), ["Gemm", "QGemm"]);
    // The float model's additions are part of its convolutions.
    assert_eq!(kernels(of("layer1.add")), ["QLinearAdd"]);
    assert!(
        of("stem")["times"].as_array().unwrap().iter().all(|time| time["median_ms"].as_f64().unwrap() > 0.0)
    );
    let part = |part: &str| layers.iter().filter(|row| row["part"] == part).count();
    assert_eq!((part("overhead"), part("conversions")), (1, 1));
    let text = world.run("bench models/resnet8.onnx --layers --rounds 3 --top 2").output;
    assert!(text.contains("rows more: "), "{text}");
}

#[test]
fn layers_of_pytorch_are_their_own_kernels() {
    let world = World::new();
    let found = world.json("kernels models/resnet8_int8.pt --json");
    // PyTorch's quantized modules and functions put out codes: nine convolutions, three additions, pool, flatten, fc.
    assert_eq!((&found["in_integers"], &found["quantized"]), (&json!(15), &json!(16)));
    assert_eq!(found["reasons"][0]["layers"], json!(["softmax"]));
    let float = world.json("kernels models/resnet8.pt --json");
    assert_eq!(float["quantized"], 0);
    let timed = world.json(
        "input models/digits.npz:images[0:4]; bench models/resnet8_int8.pt --layers --rounds 3 --threads 1 --json",
    );
    let layers = timed["layers"].as_array().unwrap();
    let of = |name: &str| {
        layers.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {timed}"))
    };
    assert!(of("layer1.conv1")["times"][0]["median_ms"].as_f64().unwrap() > 0.0);
    let shares: f64 = layers.iter().map(|row| row["times"][0]["share"].as_f64().unwrap()).sum();
    assert!((0.8..1.2).contains(&shares), "{shares}");
}
