//! `diff`.

use crate::support::onnx;
use crate::support::world::World;
use serde_json::Value;

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap().to_owned()).collect()
}

/// What `quantize_static` did to the file: seven ReLUs are folded, 52 nodes quantize and dequantize, and each
/// layer with weights is a pair. SQNR: NumPy in float64, as in `weights --compare`.
#[test]
fn a_quantized_file_is_the_same_network_quantized() {
    let world = World::new();
    let found = world.json("diff models/resnet8.onnx models/resnet8_int8.onnx");
    let layers = &found["layers"];
    let removed = names(&layers["only_reference"], "op_type");
    assert_eq!((removed.len(), removed.iter().all(|op| op == "Relu")), (7, true), "{removed:?}");
    assert_eq!(layers["only_candidate"], serde_json::json!([]));
    assert_eq!((&layers["plumbing_reference"], &layers["plumbing_candidate"]), (&0.into(), &52.into()));
    for pair in layers["pairs"].as_array().unwrap() {
        assert_eq!(pair["reference"], pair["candidate"]);
    }
    let tensors = found["tensors"]["pairs"].as_array().unwrap();
    assert_eq!((tensors.len(), &found["tensors"]["same"]), (22, &2.into()));
    let weight = tensors.iter().find(|pair| pair["reference"] == "layer1.conv1.weight").unwrap();
    assert_eq!(weight["candidate"], "layer1.conv1.weight_quantized");
    assert!((weight["errors"]["sqnr_db"].as_f64().unwrap() - 41.913_965_883_220_3).abs() < 1e-9, "{weight}");
}

#[test]
fn the_same_weights_in_another_format_are_alike() {
    let world = World::new();
    let found = world.json("diff models/resnet8.onnx models/resnet8_traced.pt");
    // 20 weights and biases, which one `state_dict` gave to both files.
    assert_eq!(found["tensors"]["same"], 20);
    let pairs = found["layers"]["pairs"].as_array().unwrap();
    let changed: Vec<_> = pairs.iter().filter(|pair| pair["changes"] != serde_json::json!([])).collect();
    // `Conv` and `Conv2d` are one kind, and so are `Reshape` and the flatten for which the exporter wrote it.
    // Additions, which only count in TorchScript, are known by the layers around them.
    assert_eq!((pairs.len(), changed.len()), (25, 0));
    assert_eq!(found["layers"]["only_reference"], serde_json::json!([]));
}

#[test]
fn a_copy_is_identical_and_one_bit_is_not() {
    let world = World::new();
    let mut bytes = std::fs::read(world.path("models/resnet8.onnx")).unwrap();
    world.write("copy.onnx", &bytes);
    let ran = world.run("diff models/resnet8.onnx copy.onnx");
    assert!(ran.output.ends_with("the files are identical\n"), "{}", ran.output);
    // A bit of the last weight: the file ends with the graph's outputs, some dozens of bytes.
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    world.write("changed.onnx", &bytes);
    let found = world.json("diff models/resnet8.onnx changed.onnx");
    let differing = found["tensors"]["pairs"].as_array().unwrap().len() as u64
        - found["tensors"]["same"].as_u64().unwrap();
    assert_eq!((&found["is_identical"], differing), (&false.into(), 1));
}

/// The backend gives the one in two pieces and the other in three, which end elsewhere.
#[test]
fn tensors_of_several_pieces_are_compared_element_by_element() {
    const COUNT: u32 = 5_000_000;
    let value = |index: u32| f64::from(index % 1000) - 500.0;
    let write = |world: &World, name: &str, dtype: u64, bytes: &[u8]| {
        let weight = onnx::tensor("w", dtype, &[COUNT.into()], bytes);
        let node = onnx::node("add", "Add", "", &["x", "w"], &["y"]);
        let graph = [onnx::field(1, &node), onnx::text(2, "g"), onnx::field(5, &weight)].concat();
        world.write(name, onnx::model(&graph, &[]));
    };
    let world = World::new();
    let singles: Vec<u8> = (0..COUNT).flat_map(|index| (value(index) as f32).to_le_bytes()).collect();
    write(&world, "single.onnx", 1, &singles);
    let changed = |index| value(index) + if index == 4_600_000 { 0.5 } else { 0.0 };
    let doubles: Vec<u8> = (0..COUNT).flat_map(|index| changed(index).to_le_bytes()).collect();
    write(&world, "double.onnx", 11, &doubles);
    for line in ["diff single.onnx double.onnx", "diff double.onnx single.onnx"] {
        let errors = &world.json(line)["tensors"]["pairs"][0]["errors"];
        assert_eq!((&errors["count"], &errors["max_abs_error"]), (&COUNT.into(), &0.5.into()), "{errors}");
        assert_eq!(errors["mean_abs_error"], 0.5 / f64::from(COUNT));
    }
}
