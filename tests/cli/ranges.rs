//! `ranges`.

use crate::support::world::World;
use serde_json::Value;

fn close(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() <= 1e-12 * expected.abs()
}

/// NumPy on the initializers that the Python package `onnx` reads; scale · (-128 - zero_point) and
/// scale · (127 - zero_point) for what the codes can represent.
#[test]
fn float_and_quantized_weights_are_side_by_side() {
    let world = World::new();
    let found = world.json("ranges models/resnet8.onnx models/resnet8_int8.onnx models/resnet8_int8.pt");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &found["unmatched"]), (10, &serde_json::json!([])));
    // The widest first, each with its two partners.
    assert_eq!(rows[0]["name"], "stem");
    assert!(rows.iter().all(|row| row["variants"].as_array().unwrap().len() == 3), "{found}");
    let (float, int8) = (&rows[0]["variants"][0], &rows[0]["variants"][1]);
    assert!(close(&float["min"], -4.439_410_209_655_762), "{float}");
    assert!(close(&float["max"], 4.109_899_044_036_865), "{float}");
    assert_eq!(float["representable"], Value::Null);
    assert!(close(&int8["max"], 4.124_806_329_607_964), "{int8}");
    assert!(close(&int8["representable"][0], -4.474_366_188_049_316), "{int8}");
    assert!(close(&int8["representable"][1], 4.439_410_202_205_181), "{int8}");
    assert!((int8["peak_sigmas"].as_f64().unwrap() - 4.184_791_305_378_961).abs() < 1e-9, "{int8}");
    assert_eq!(int8["ground"]["why"], "quantizer-mark");
}

/// scale 0.10072482377290726 and zero point 9 of fc_output, uint8 codes shifted by 128 in the int8 file.
#[test]
fn activations_have_what_their_codes_can_represent() {
    let world = World::new();
    let found = world.json("ranges models/resnet8_int8.onnx --activations --sort graph");
    let rows = found["rows"].as_array().unwrap();
    // As many as the file has QuantizeLinear nodes, the first of them after the normalization.
    assert_eq!((rows.len(), &rows[0]["name"]), (16, &"normalize.mul_output".into()));
    let fc = rows.iter().find(|row| row["name"] == "fc_output").unwrap();
    let range = &fc["variants"][0]["representable"];
    assert!(close(&range[0], 0.100_724_823_772_907_26 * (-128.0 - 9.0)), "{range}");
    assert!(close(&range[1], 0.100_724_823_772_907_26 * (127.0 - 9.0)), "{range}");
    let ran = world.run("ranges models/resnet8.onnx --activations");
    assert_eq!(ran.error(), "no quantized activation to show");
}

#[test]
fn outliers_are_marked_from_where_the_user_says() {
    let world = World::new();
    let marked = |line: &str| {
        let found = world.json(line);
        let rows = found["rows"].as_array().unwrap().clone();
        rows.iter().filter(|row| row["variants"][0]["is_outlier"] == true).count()
    };
    assert_eq!(marked("ranges models/resnet8.onnx"), 0);
    // NumPy: the most distant values of layer3.conv1 and layer3.conv2 are at 5.0 standard deviations.
    assert_eq!(marked("ranges models/resnet8.onnx --outlier 4.9"), 2);
}
