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

/// scale 0.049873288720846176 and zero point -27 of the quantization behind the convolution, from `onnx.load`.
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
    let ran = world.run("input random; activations fc --model models/resnet8_int8.pt");
    assert!(ran.error().contains("cannot capture"), "{}", ran.talk);
}
