//! A backend that the program knows nothing of takes part: what it says of its layers is enough.

use crate::support::numpy;
use crate::support::world::World;
use serde_json::Value;

const REFERENCE: &str = "toy 1
input x float32 N,4
tensor w float32 4 = 0.5 -0.25 1.5 0.75
tensor b float32 4 = 0.1 0.2 -0.3 0.4
tensor v float32 4 = 0.2 0.4 -0.6 0.8
layer block/scale Mul x w -> scaled
layer block/shift Add scaled b -> shifted
layer block/relu Relu shifted -> hidden
layer head/scale Mul hidden v -> y
output y
";

/// The same, with the ReLU in the range of its codes, and no name but those of the input and the output kept.
const CANDIDATE: &str = "toy 1
input x float32 N,4
tensor p0 int8 4 scale=0.0125 = 40 -20 120 60
tensor p1 float32 4 = 0.1 0.2 -0.3 0.4
tensor p2 int8 4 scale=0.01 = 20 40 -60 80
layer q0 Quantize x -> t0 scale=0.0625
layer m0 Mul t0 p0 -> t1
layer m1 Add t1 p1 -> t2
layer q1 Quantize t2 -> t3 scale=0.02 zero_point=-128
layer m2 Mul t3 p2 -> y
output y
";

pub fn toys() -> World {
    let world = World::new();
    world.write("toys/toy.toy", REFERENCE);
    world.write("toys/renamed.toy", CANDIDATE);
    let elements = (0_u8..64).map(|k| f32::from(u16::from(k) * 37 % 97) / 32.0 - 1.5);
    world.write("toys/x.npy", numpy::npy("<f4", "16, 4", elements.flat_map(f32::to_le_bytes)));
    world
}

/// The SQNRs are NumPy's in float64.
#[test]
fn layers_pair_by_their_kinds_weights_and_values() {
    let found = toys().json("input toys/x.npy; compare toys/toy.toy toys/renamed.toy");
    let rows = found["layers"].as_array().unwrap();
    let expected = [
        ("block/scale", "m0", vec![], 32.395_477_087),
        ("block/shift", "m1", vec!["block/relu"], 32.882_925_737),
        ("head/scale", "m2", vec![], 33.426_082_638),
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, (layer, candidate, through, sqnr)) in rows.iter().zip(expected) {
        assert_eq!((&row["layer"], &row["candidate_layer"]), (&layer.into(), &candidate.into()));
        assert_eq!(row["through"], serde_json::json!(through), "{layer}");
        let found = row["sqnr_db"].as_f64().unwrap();
        assert!((found - sqnr).abs() < 1e-4, "{layer}: {found}");
    }
    assert_eq!(found["unmatched_reference"], serde_json::json!([]));
    assert_eq!(found["unmatched_candidate"], serde_json::json!([]));
}

/// All layers quantized in the reference are what the candidate itself computes, to what float32 inputs leave.
#[test]
fn its_layers_are_quantized_one_by_one() {
    let world = toys();
    let mut found = world.jsons(
        "input toys/x.npy; sensitivity toys/toy.toy toys/renamed.toy --json; compare toys/toy.toy toys/renamed.toy --json",
    );
    let compared = found.pop().unwrap();
    let found = found.pop().unwrap();
    let db = |key: &str| found[key]["sqnr_db"].as_f64().unwrap();
    assert!((db("all") - db("candidate_itself")).abs() < 1e-3, "{found}");
    assert!((db("candidate_itself") - 33.426_082_638).abs() < 1e-3, "{found}");
    assert_eq!(found["layers"].as_array().unwrap().len(), 3);
    // What stands before the first layer is the input: alone it loses what it loses.
    let first = &compared["layers"][0];
    let (whole, alone) = (first["sqnr_db"].as_f64().unwrap(), first["local"]["sqnr_db"].as_f64().unwrap());
    assert!((whole - alone).abs() < 1e-3, "{first}");
}

#[test]
fn a_setting_that_it_does_not_declare_is_refused_and_none_is_passed_on() {
    let world = toys();
    let drift = world.json("input toys/x.npy; drift toys/toy.toy");
    assert_ne!(drift, Value::Null);
    for (command, setting) in [
        ("run toys/toy.toy --threads 2", "`--threads`"),
        ("run toys/toy.toy --qengine x86", "`--qengine`"),
        ("run toys/toy.toy --option speed=high", "`speed`"),
        ("drift toys/toy.toy --threads 1", "`--threads`"),
    ] {
        let ran = world.run(&format!("input toys/x.npy; {command}"));
        assert_eq!(ran.error(), format!("Toy does not support {setting}"), "{command}");
    }
}

/// A file that fixes the number of its samples gets so many, where they are made up.
#[test]
fn made_up_inputs_follow_a_fixed_first_dimension() {
    let world = World::new();
    world.write("toys/fixed.toy", REFERENCE.replace("N,4", "3,4"));
    world.write("toys/toy.toy", REFERENCE);
    let samples = |commands: &str| world.json(commands)["samples"].clone();
    assert_eq!(world.json("use toys/fixed.toy; input random; capture")["models"][0]["samples"], 3);
    assert_eq!(samples("input random; compare toys/toy.toy toys/fixed.toy"), 3);
    assert_eq!(samples("input random; compare toys/toy.toy toys/fixed.toy --samples 6"), 6);
    let refused = world.run("input random --batch 4; compare toys/toy.toy toys/fixed.toy");
    assert!(refused.error().contains("takes 3 samples at a time, but there are 4"), "{}", refused.talk);
}
