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

#[test]
fn a_summary_says_where_accuracies_come_from_and_which_are_stale() {
    let world = World::new();
    let accuracy = |name: &str| {
        let found = world.json("open models; summary");
        let rows = found["families"][0]["rows"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["model"]["name"] == name).unwrap()["model"]["accuracy"].clone()
    };
    let before = accuracy("resnet8.onnx");
    assert_eq!(before["source"], "qp.toml");
    assert_eq!((&before["samples"], &before["data"]), (&540.into(), &"digits.npz".into()));
    assert_eq!(before["is_stale"], false);
    // Another model under the same name, and an old one that was only touched.
    std::fs::copy(world.path("models/resnet8_int8.onnx"), world.path("models/resnet8.onnx")).unwrap();
    std::fs::write(world.path("models/resnet8.pt"), std::fs::read(world.path("models/resnet8.pt")).unwrap())
        .unwrap();
    assert_eq!(accuracy("resnet8.onnx")["is_stale"], true);
    assert_eq!(accuracy("resnet8.pt")["is_stale"], false);
    let shown = world.run("open models; summary").output;
    assert!(shown.contains("accuracy: over 540 samples of digits.npz, as qp.toml says"), "{shown}");
    assert!(
        shown.contains("stale: resnet8.onnx has changed since its accuracy was recorded in qp.toml"),
        "{shown}"
    );
}
