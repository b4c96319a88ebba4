//! `residuals`.

use crate::support::world::World;

/// The scales of the DequantizeLinear before each input of each Add, as `onnx.load` shows them, and the larger
/// divided by the smaller.
#[test]
fn the_mismatch_is_that_of_the_scales_in_the_file() {
    let world = World::new();
    let found = world.json("residuals models/resnet8_int8.onnx");
    let rows = found["residuals"].as_array().unwrap();
    let expected = [
        ("layer1.add", 0.049_873_288_720_846_176, 0.025_049_619_376_659_393),
        ("layer3.add", 0.066_808_626_055_717_47, 0.037_073_284_387_588_5),
        ("layer2.add", 0.050_033_979_117_870_33, 0.036_134_783_178_567_886),
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, (layer, first, second)) in rows.iter().zip(expected) {
        assert_eq!(row["layer"], layer);
        assert_eq!(
            (&row["branches"][0]["scale"], &row["branches"][1]["scale"]),
            (&first.into(), &second.into())
        );
        assert!((row["ratio"].as_f64().unwrap() - first / second).abs() < 1e-12, "{row}");
        assert!((row["bits_lost"].as_f64().unwrap() - (first / second).log2()).abs() < 1e-12, "{row}");
        assert_eq!(row["finer"], 1);
    }
    assert_eq!(rows[0]["branches"][0]["layers"], serde_json::json!(["layer1.conv1", "layer1.conv2"]));
    assert_eq!(
        (&rows[0]["branches"][1]["layers"], &rows[0]["fork"]),
        (&serde_json::json!([]), &"stem".into())
    );
    assert_eq!(found["above"], 0);
}

#[test]
fn a_float_model_has_residuals_without_scales_and_others_none() {
    let world = World::new();
    let found = world.json("residuals models/resnet8.onnx --graph-order");
    assert_eq!(found["residuals"].as_array().unwrap().len(), 3);
    assert_eq!(found["max_ratio"], serde_json::Value::Null);
    let eager = world.json("residuals models/resnet8.pt --graph-order");
    assert_eq!(eager["residuals"].as_array().unwrap().len(), 3);
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    assert!(world.run(&format!("residuals {weights}")).error().ends_with("has no residual additions"));
}
