//! `summary`.

use crate::support::numpy::npy;
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

#[test]
fn an_accuracy_that_was_measured_is_that_of_the_content() {
    let world = World::new();
    let summary = |world: &World| {
        let found = world.json("open models; load all; summary --json");
        found["families"][0]["rows"].as_array().unwrap().clone()
    };
    let of = |rows: &[Value], name: &str| {
        let row = rows.iter().find(|row| row["model"]["name"] == name);
        row.unwrap_or_else(|| panic!("{rows:?}"))["model"]["accuracy"].clone()
    };
    // A few samples say less than what is recorded over all.
    world.json("evaluate models/resnet8_int8.onnx --data models/digits.npz --samples 16");
    assert_eq!(of(&summary(&world), "resnet8_int8.onnx")["source"], "qp.toml");
    // Two classes exchanged by other labels: the accuracy of that, and what it was measured on.
    let labels: Vec<u8> = (0..540_i64).flat_map(|_| 0_i64.to_le_bytes()).collect();
    world.write("zeros.npy", npy("<i8", "540,", labels));
    world.json("evaluate models/resnet8_uint8.onnx --data models/digits.npz --labels zeros.npy");
    let found = of(&summary(&world), "resnet8_uint8.onnx");
    assert_eq!((&found["source"], &found["samples"]), (&Value::Null, &540.into()));
    assert!(found["top1"].as_f64().unwrap() < 0.2, "{found}");
    assert!(found["data"].as_str().unwrap().ends_with("with zeros.npy"), "{found}");
    // Another content has not been measured; the recorded one is not its own.
    std::fs::copy(world.path("models/resnet8.onnx"), world.path("models/resnet8_uint8.onnx")).unwrap();
    let found = of(&summary(&world), "resnet8_uint8.onnx");
    assert_eq!((&found["source"], &found["is_stale"]), (&"qp.toml".into(), &true.into()));
    let text = world.run("open models; load all; summary").output;
    assert!(text.contains("`evaluate` measures it"), "{text}");
}
