//! `summary`.

use crate::support::world::World;
use serde_json::{Value, json};

#[test]
fn has_a_row_for_each_backend_and_precision_found_or_missing() {
    let world = World::new();
    let summary = world.json("open models; load all; summary");
    let rows: Vec<(String, String, String)> = summary["families"][0]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("backend"), text("precision"), text("state"))
        })
        .collect();
    let row = |backend: &str, precision: &str, state: &str| {
        (backend.to_owned(), precision.to_owned(), state.to_owned())
    };
    assert_eq!(
        rows,
        [
            row("onnx", "float32", "loaded"),
            row("onnx", "int8", "loaded"),
            row("onnx", "uint8", "loaded"),
            row("pytorch", "float32", "loaded"),
            row("pytorch", "float32", "loaded"),
            row("pytorch", "int8", "loaded"),
            row("pytorch", "uint8", "missing"),
        ]
    );
}

/// The network of models/README.md: 77,706 parameters, all of them quantized or none.
#[test]
fn every_variant_has_the_parameters_and_the_accuracy_that_the_samples_have() {
    let world = World::new();
    let summary = world.json("open models; summary");
    let models: Vec<&Value> = summary["families"][0]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["model"])
        .filter(|model| !model.is_null())
        .collect();
    assert_eq!(models.len(), 6);
    for model in models {
        assert_eq!(model["parameters"], 77_706, "{}", model["name"]);
        let is_float = model["precision"] == "float32";
        assert_eq!(model["quantized_share"].as_f64().unwrap() > 0.9, !is_float, "{}", model["name"]);
        assert!(model["accuracy"]["top1"].as_f64().unwrap() > 0.99);
    }
}

#[test]
fn without_runtimes_it_says_what_is_missing_and_what_to_do() {
    let world = World::new();
    let mut command = world.qp();
    let output = command
        .env_remove("QP_RUNTIMES")
        .args(["--format", "json", "-c", "open models; summary"])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let summary: Value = serde_json::from_str(&line).unwrap();
    for runtime in summary["runtimes"].as_array().unwrap() {
        assert_eq!(runtime["obstacle"]["kind"], "RuntimeMissing", "{runtime}");
        let hints = runtime["obstacle"]["hints"].to_string();
        assert!(hints.contains("scripts/setup.sh"), "{hints}");
    }
    assert_eq!(summary["runtimes"].as_array().unwrap().len(), 2);
    assert_ne!(summary["families"], json!([]));
}
