//! `info` and `layers`.

use crate::support::world::World;

#[test]
fn info_tells_inputs_outputs_and_operators() {
    let world = World::new();
    let info = world.json("info models/resnet8_int8.onnx");
    assert_eq!(info["inputs"][0]["name"], "image");
    assert_eq!(info["inputs"][0]["dtype"], "float32");
    assert_eq!(info["inputs"][0]["shape"], serde_json::json!(["N", 32, 32, 3]));
    assert_eq!(info["scheme"], "QDQ");
    // As many as `onnx.load` counts in the same file.
    let convolutions =
        info["op_counts"].as_array().unwrap().iter().find(|op| op["op_type"] == "Conv").unwrap();
    assert_eq!(convolutions["count"], 9);
}

#[test]
fn an_eager_pickle_says_why_it_cannot_be_run() {
    let world = World::new();
    let info = world.json("info models/resnet8.pt");
    assert_eq!(info["run_obstacle"]["kind"], "UnsupportedOp");
    assert!(info["run_obstacle"]["hints"].to_string().contains("torch.jit.trace"), "{info}");
}

#[test]
fn layers_can_be_filtered() {
    let world = World::new();
    let convolutions = world.json("layers models/resnet8_int8.onnx --op conv --match 'layer2*'");
    let paths: Vec<_> = convolutions["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["layer2.conv1", "layer2.shortcut", "layer2.conv2"]);
    // 3·3·16·32 weights and 32 biases.
    assert_eq!(convolutions["layers"][0]["parameters"], 4_640);
    assert_eq!(world.json("layers models/resnet8.onnx --quantized")["layers"], serde_json::json!([]));
}

#[test]
fn module_paths_are_those_of_python() {
    let world = World::new();
    for file in ["resnet8.pt", "resnet8_traced.pt", "resnet8_int8.pt"] {
        let layers = world.json(&format!("layers models/{file}"));
        let paths: Vec<_> = layers["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["path"].as_str().unwrap())
            .collect();
        for path in ["stem", "layer1.conv1", "layer3.shortcut", "fc"] {
            assert!(paths.contains(&path), "{file}: {path} is not in {paths:?}");
        }
    }
}

#[test]
fn a_layer_knows_its_neighbours_and_its_quantization() {
    let world = World::new();
    let layer = world.json("use models/resnet8_int8.onnx; layer layer1.conv1");
    assert_eq!(layer["layer"]["op_type"], "Conv");
    // 16 filters of 3×3 over 16 channels, as `onnx.load` shows the initializer.
    let names: Vec<_> =
        layer["inputs"].as_array().unwrap().iter().map(|wire| wire["layers"].clone()).collect();
    assert_eq!(names.len(), 3);
    assert!(layer["layer"]["attributes"].to_string().contains("kernel_shape"), "{layer}");
    assert!(layer["inputs"].to_string().contains("\"dtype\":\"int8\""), "{layer}");
}

#[test]
fn a_layer_can_be_named_by_its_end_where_that_is_unique() {
    let world = World::new();
    let ran = world.run("use models/resnet8.pt; layer shortcut");
    assert_eq!(ran.error(), "`shortcut` fits 2 layers");
    let ran = world.run("use models/resnet8.pt; layer layer1.conv9");
    assert!(ran.hint().starts_with("Did you mean `layer1.conv"), "{}", ran.talk);
    assert_eq!(world.json("layer fc --model models/resnet8.pt")["layer"]["op_type"], "Linear");
}
