//! `stats`, and the channels of `weights`.

use crate::support::world::World;
use serde_json::Value;

fn close(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() <= 1e-12 * expected.abs()
}

fn rows(found: &Value, key: &str) -> Vec<Value> {
    found[key].as_array().unwrap().clone()
}

/// NumPy on the initializers that the Python package `onnx` reads: x = (codes - zero_point) * float64(scale),
/// abs(x - x.mean()).max() / x.std() for the peak.
#[test]
fn every_tensor_has_the_statistics_of_numpy() {
    let world = World::new();
    let found = world.json("stats models/resnet8_int8.onnx");
    let tensors = rows(&found, "tensors");
    // 10 weights, 10 biases, 2 constants.
    assert_eq!((tensors.len(), &found["total"]), (22, &Value::from(22)));
    let weight = tensors.iter().find(|row| row["name"] == "layer3.conv2.weight_quantized").unwrap();
    assert!(close(&weight["min"], -0.303_744_787_815_958_26), "{weight}");
    assert!(close(&weight["max"], 0.350_687_164_114_788_2), "{weight}");
    assert!(close(&weight["mean"], 0.002_169_113_391_131_658), "{weight}");
    assert!(close(&weight["standard_deviation"], 0.069_489_498_065_004_8), "{weight}");
    assert!(close(&weight["peak_sigmas"], 5.015_406_074_708_31), "{weight}");
    assert_eq!((&weight["zeros"], &weight["layer"]), (&645.into(), &"layer3.conv2".into()));
}

#[test]
fn stats_can_be_filtered_sorted_and_cut() {
    let world = World::new();
    let found = world.json("stats models/resnet8.onnx --match 'layer3*' --sort count --top 1");
    assert_eq!(found["tensors"][0]["name"], "layer3.conv2.weight");
    assert_eq!(found["total"], 6);
    let ran = world.run("stats models/resnet8.onnx --match 'nothing*'");
    assert_eq!(ran.error(), "`models/resnet8.onnx` stores no tensor that fits `nothing*`");
}

/// NumPy on the same tensor: x[5] and q[5] of axis 0, x[:, 3] with `np.histogram(x, bins=5)`.
#[test]
fn channels_have_their_own_statistics_and_codes() {
    let world = World::new();
    let looked = world.json("weights layer1.conv1 --model models/resnet8_int8.onnx --channels");
    let channels = rows(&looked, "channels");
    assert_eq!((channels.len(), &looked["dead"]), (16, &Value::from(0)));
    assert!(close(&channels[5]["min"], -0.289_718_771_819_025_3), "{}", channels[5]);
    assert!(close(&channels[5]["max"], 0.281_817_350_769_415_5), "{}", channels[5]);
    assert!(close(&channels[5]["standard_deviation"], 0.105_016_497_519_936_5), "{}", channels[5]);
    assert_eq!(channels[5]["codes"]["used"], 97);
    assert!(close(&channels[5]["codes"]["effective_bits"], 6.599_912_842_187_128), "{}", channels[5]);
    let looked =
        world.json("weights layer1.conv1 --model models/resnet8_int8.onnx --channel 3 --axis 1 --bins 5");
    assert_eq!(looked["counts"], serde_json::json!([18, 42, 38, 32, 14]));
    assert!(close(&looked["statistics"]["min"], -0.218_605_982_372_537_26), "{looked}");
    let ran = world.run("weights layer1.conv1 --model models/resnet8_int8.onnx --channel 16");
    assert_eq!(ran.hint(), "Choose one from 0 to 15.");
}

/// The bias of the first layer is a tensor of that layer; its name alone says which.
#[test]
fn a_tensor_can_be_named_without_its_layer() {
    let world = World::new();
    let looked = world.json("weights --model models/resnet8.onnx --tensor stem.bias");
    assert_eq!((&looked["layer"], &looked["statistics"]["count"]), (&"stem".into(), &16.into()));
    let ran = world.run("weights --model models/resnet8.onnx --tensor bias");
    assert_eq!(ran.error(), "`bias` fits 10 tensors");
}
