//! `search`: the mix of bits for a size or an accuracy. Sizes are computed here from the numbers of parameters.

use crate::support::world::World;
use serde_json::{Value, json};

const DATA: &str = "--data models/digits.npz --samples 32";

fn bytes_of(layers: &[Value]) -> u64 {
    let bytes = |row: &Value| {
        let parameters = row["parameters"].as_u64().unwrap();
        match row["bits"].as_str().unwrap() {
            "4" => parameters.div_ceil(2),
            "8" => parameters,
            "16" => parameters * 2,
            _ => parameters * 4,
        }
    };
    layers.iter().map(bytes).sum()
}

#[test]
fn a_size_is_kept_and_the_layers_that_suffer_least_get_4_bits() {
    let world = World::new();
    let found = world.json(&format!(
        "search models/resnet8.onnx --target-size 60KiB {DATA} --save-scores scores.json --out mixed.onnx --json"
    ));
    let layers = found["layers"].as_array().unwrap();
    // The ten weights have 77,360 elements; everything else is 346 biases and some constants.
    assert_eq!(layers.iter().map(|row| row["parameters"].as_u64().unwrap()).sum::<u64>(), 77_360);
    assert!(bytes_of(layers) <= 60 * 1024, "{found}");
    assert_eq!(found["is_reached"], json!(true));
    // No exchange of two layers' bits has less loss in less space.
    let loss = |row: &Value, bits: &str| match bits {
        "4" => row["kl_4"].as_f64().unwrap(),
        "8" => row["kl_8"].as_f64().unwrap(),
        _ => 0.0,
    };
    for row in layers.iter().filter(|row| row["bits"] == "4") {
        for other in layers.iter().filter(|row| row["bits"] == "8") {
            let is_smaller = other["parameters"].as_u64() >= row["parameters"].as_u64();
            let swapped = loss(row, "8") + loss(other, "4");
            assert!(!is_smaller || swapped >= loss(row, "4") + loss(other, "8"), "{row} {other}");
        }
    }
    assert!(found["rank_correlation"].as_f64().unwrap() > 0.5, "{found}");
    // The file has these types.
    let stored = world.json("stats mixed.onnx --json");
    let types: Vec<&str> =
        stored["tensors"].as_array().unwrap().iter().filter_map(|row| row["dtype"].as_str()).collect();
    let four = layers.iter().filter(|row| row["bits"] == "4").count();
    assert_eq!(types.iter().filter(|dtype| **dtype == "int4").count(), four, "{types:?}");
    // Scores can be edited: a pinned layer keeps what the user says, and nothing is measured for scores.
    let mut scores: Value =
        serde_json::from_slice(&std::fs::read(world.path("scores.json")).unwrap()).unwrap();
    let pinned =
        scores["layers"].as_array().unwrap().iter().position(|row| row["layer"] == "layer3.conv2").unwrap();
    scores["layers"][pinned]["pin"] = json!("float");
    let wide = scores["layers"].as_array().unwrap().iter().position(|row| row["layer"] == "fc").unwrap();
    scores["layers"][wide]["pin"] = json!("16");
    world.write("scores.json", scores.to_string());
    let again = world
        .json(&format!("search models/resnet8.onnx --target-size 220KiB {DATA} --scores scores.json --json"));
    let row = again["layers"].as_array().unwrap().iter().find(|row| row["layer"] == "fc").unwrap();
    assert_eq!((&row["bits"], &row["bytes"]), (&json!("16"), &json!(1280)), "{again}");
    let row = again["layers"].as_array().unwrap().iter().find(|row| row["layer"] == "layer3.conv2").unwrap();
    assert_eq!((&row["bits"], &row["pin"]), (&json!("float"), &json!("float")));
    assert!(again["models_measured"].as_u64().unwrap() < 10 && again["rank_correlation"].is_null());
}

#[test]
fn an_accuracy_is_reached_or_it_is_said() {
    let world = World::new();
    let found = world.json(&format!("search models/resnet8.onnx --max-drop 0pp {DATA} --json"));
    assert_eq!(found["is_reached"], json!(true));
    let chosen =
        found["front"].as_array().unwrap().iter().find(|row| row["is_chosen"] == json!(true)).unwrap();
    assert!(chosen["lost"].as_f64().unwrap() <= 0.0, "{chosen}");
    world.write("empty.json", "{}");
    for (line, message) in [
        (format!("search models/resnet8_int8.onnx --target-size 1MiB {DATA}"), "is quantized already"),
        ("input random; search models/resnet8.onnx --max-drop 1pp".to_owned(), "there are no labels"),
        (
            format!("search models/resnet8.onnx --scores empty.json {DATA}"),
            "`empty.json` does not hold scores",
        ),
    ] {
        let ran = world.run(&line);
        assert!(ran.code != 0 && ran.talk.contains(message), "{line}: {}", ran.talk);
    }
    let small = world.json(&format!("search models/resnet8.onnx --target-size 1KiB {DATA} --json"));
    assert_eq!(small["is_reached"], json!(false));
}
