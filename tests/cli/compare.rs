//! `compare`.

use crate::support::world::World;
use serde_json::Value;

fn row<'a>(found: &'a Value, layer: &str) -> &'a Value {
    found["layers"].as_array().unwrap().iter().find(|row| row["layer"] == layer).unwrap()
}

/// NumPy in float64 on the values that Python's ONNX Runtime gives with optimization off, behind each
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
    // The quantizer gave the ReLU's name to what is before it: what is behind its quantization is compared.
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
    assert!(error("input random; compare models/resnet8.onnx models/resnet8.pt").contains("eager"));
    assert_eq!(
        error("input random; compare models/resnet8.onnx models/resnet8_int8.pt"),
        "the backend `pytorch` of `models/resnet8_int8.pt` cannot capture what layers compute"
    );
    let many = "input models/digits.npz:images[0:4]; compare models/resnet8.onnx models/resnet8_int8.onnx --samples 9";
    assert_eq!(error(many), "the input has 4 samples, not 9");
}
