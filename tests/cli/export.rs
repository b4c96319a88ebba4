//! `export` of the last result.

use crate::support::world::World;
use serde_json::Value;

const COMPARE: &str =
    "input models/digits.npz:images[0:4]; compare models/resnet8.onnx models/resnet8_int8.onnx";

/// What is written is what the program prints in the same form.
#[test]
fn the_last_result_is_written_as_it_is_printed() {
    let world = World::new();
    for (format, file) in [("csv", "r.csv"), ("markdown", "r.md")] {
        let line = format!("{COMPARE}; export --report {file}");
        let ran = world.run(&line);
        assert_eq!(ran.code, 0, "{}", ran.talk);
        let printed = world.run(&format!("format {format}; {COMPARE}")).output;
        let written = std::fs::read_to_string(world.path(file)).unwrap();
        let marker = written.lines().find(|line| line.contains("layer3.conv2")).unwrap();
        assert!(printed.contains(marker.trim_end_matches(',')), "{file}: {marker} is not in {printed}");
    }
    let printed = world.json(COMPARE);
    world.run(&format!("{COMPARE}; export --report r.json"));
    let written: Value = serde_json::from_slice(&std::fs::read(world.path("r.json")).unwrap()).unwrap();
    assert_eq!((&written["layers"], &written["worst_layer"]), (&printed["layers"], &printed["worst_layer"]));
}

/// Nodes are named by what they compute, as Model Explorer finds them; levels without noise have no number.
#[test]
fn node_data_names_what_layers_compute() {
    let world = World::new();
    let ran = world.run(&format!("{COMPARE}; export --node-data sqnr_db nodes.json"));
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let data: Value = serde_json::from_slice(&std::fs::read(world.path("nodes.json")).unwrap()).unwrap();
    let compared = world.json(COMPARE);
    let rows = compared["layers"].as_array().unwrap();
    let row = rows.iter().find(|row| row["layer"] == "layer3.conv2").unwrap();
    let found = &data["results"]["layer3.conv2_output"]["value"];
    assert!((found.as_f64().unwrap() - row["sqnr_db"].as_f64().unwrap()).abs() < 1e-9, "{data}");
    // The first layers are equal: an infinite level is no number.
    assert!(data["results"].get("normalize.mul_output").is_none(), "{data}");
    assert_eq!(data["gradient"].as_array().unwrap().len(), 3);
}

#[test]
fn what_cannot_be_written_is_said() {
    let world = World::new();
    let cases = [
        ("export --report r.json".to_owned(), "there is no result yet"),
        (format!("{COMPARE}; export --report r.xlsx"), "end it with .json, .csv or .md"),
        (format!("{COMPARE}; export resnet8.onnx --report r.csv"), "to one file"),
        (format!("{COMPARE}; export --node-data nothing n.json"), "has no number `nothing`"),
        (format!("{COMPARE}; export --report r.csv; export --report r.csv"), "already exists"),
    ];
    for (line, message) in cases {
        let ran = world.run(&line);
        assert!(ran.code != 0 && ran.talk.contains(message), "{line}: {}", ran.talk);
    }
}
