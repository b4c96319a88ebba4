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
fn weights_say_why_they_cannot_be_run_and_how_to_export_what_can() {
    let world = World::new();
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    let info = world.json(&format!("info {weights}"));
    assert_eq!(info["run_obstacle"]["kind"], "UnsupportedOp");
    let hints = info["run_obstacle"]["hints"].to_string();
    assert!(hints.contains("torch.export.save") && hints.contains("torch.jit.trace"), "{info}");
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

/// The class and the call are in `code/__torch__/torch/ao/nn/intrinsic/quantized/modules/conv_relu/` of the archive.
#[test]
fn the_code_of_a_layer_is_that_of_its_class() {
    let world = World::new();
    let code = world.json("layer layer1.conv1 --model models/resnet8_int8.pt --code");
    assert_eq!(
        (code["language"].as_str(), code["layer"].as_str()),
        (Some("TorchScript"), Some("layer1.conv1"))
    );
    assert_eq!(code["class"], "torch.ao.nn.intrinsic.quantized.modules.conv_relu.ConvReLU2d");
    let methods = code["methods"].as_array().unwrap();
    let names: Vec<_> = methods.iter().map(|method| method["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["forward", "__getstate__", "__setstate__", "_weight_bias", "set_weight_bias"]);
    let call = "  input = ops.quantized.conv2d_relu(argument_1, _packed_params, 0.043942004442214966, 0)\n";
    assert!(methods[0]["text"].as_str().unwrap().contains(call), "{code}");
}

#[test]
fn code_is_folded_to_the_width_with_its_indentation() {
    let world = World::new();
    let line = "layer layer1.conv1 --model models/resnet8_int8.pt --code";
    let shown = world.qp().env("COLUMNS", "80").args(["-c", line]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let call =
        "    input = ops.quantized.conv2d_relu(argument_1, _packed_params,\n      0.043942004442214966, 0)\n";
    assert!(shown.contains(call), "{shown}");
}

#[test]
fn a_model_without_code_says_so_in_one_line() {
    let world = World::new();
    let ran = world.run("info models/resnet8_int8.onnx --code");
    assert_eq!(ran.error(), "the backend `onnx` cannot show a model's code");
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    let ran = world.run(&format!("info {weights} --code"));
    assert_eq!(ran.error(), "a file of the format `pickle` has no code to show");
}

#[test]
fn a_layer_can_be_named_by_its_end_where_that_is_unique() {
    let world = World::new();
    let ran = world.run("use models/resnet8.pt; layer shortcut");
    assert_eq!(ran.error(), "`shortcut` matches 2 layers");
    let ran = world.run("use models/resnet8.pt; layer layer1.conv9");
    assert!(ran.hint().starts_with("Did you mean `layer1.conv"), "{}", ran.talk);
    assert_eq!(world.json("layer fc --model models/resnet8.pt")["layer"]["op_type"], "Linear");
}

fn close(value: &serde_json::Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() <= 1e-12 * expected.abs()
}

/// The expected numbers are NumPy's: (codes.astype(float64) - zero_point) * float64(scale) of the initializers
/// that the Python package `onnx` reads, with `np.histogram(x, bins=12)`.
#[test]
fn weights_are_dequantized_and_counted_as_numpy_does() {
    let world = World::new();
    let looked = world.json("weights layer1.conv1 --model models/resnet8_int8.onnx --bins 12");
    assert_eq!(looked["counts"], serde_json::json!([3, 13, 56, 167, 354, 387, 471, 437, 267, 96, 44, 9]));
    let numbers = &looked["statistics"];
    assert!(close(&numbers["min"], -0.334_493_491_100_147_4), "{numbers}");
    assert!(close(&numbers["max"], 0.287_084_964_802_488_7), "{numbers}");
    assert!(close(&numbers["mean"], -0.007_719_660_929_979), "{numbers}");
    assert!(close(&numbers["standard_deviation"], 0.094_955_019_214_932), "{numbers}");
    assert_eq!(numbers["zeros"], 31);
}

/// As above, of the float model: `(abs(x) <= 0.1).sum()` is 187.
#[test]
fn weights_within_a_range_are_counted() {
    let world = World::new();
    let looked = world.json("weights fc --model models/resnet8.onnx --range -0.1 0.1 --bins 10");
    assert_eq!(looked["range"]["inside"], 187);
    assert_eq!(looked["counts"], serde_json::json!([14, 57, 85, 95, 72, 69, 65, 83, 70, 30]));
}

#[test]
fn raw_codes_are_whole_numbers_of_their_type() {
    let world = World::new();
    let looked = world.json("weights layer1.conv1 --model models/resnet8_int8.pt --raw");
    assert_eq!(
        (&looked["statistics"]["min"], &looked["statistics"]["max"]),
        (&(-128.0).into(), &127.0.into())
    );
    assert_eq!(looked["codes"]["available"], 256);
}

/// 16 scales of the first convolution's filters: `q.per_channel_scales` of the same file in PyTorch.
#[test]
fn quant_lists_each_tensor_once_with_its_granularity() {
    let world = World::new();
    let found = world.json("quant --model models/resnet8_int8.onnx");
    let names: Vec<_> =
        found["tensors"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    // 10 weights, 10 biases, 16 activations: as many as the file has QuantizeLinear nodes.
    assert_eq!(names.len(), 36);
    assert!(!names.iter().any(|name| name.ends_with("_DequantizeLinear_Output")), "{names:?}");
    let found = world.json("quant layer1.conv1 --model models/resnet8_int8.pt");
    let weight = &found["tensors"][0];
    assert_eq!(weight["granularity"], "per-channel, axis 0");
    assert_eq!(weight["scales"].as_array().unwrap().len(), 16);
    // A float model is not a failure: it has nothing quantized.
    let found = world.json("quant --model models/resnet8.onnx");
    assert_eq!((&found["total"], &found["tensors"]), (&0.into(), &serde_json::json!([])));
    let shown = world.run("quant --model models/resnet8.onnx").output;
    assert_eq!(shown, "0 quantized tensors in models/resnet8.onnx: it is float32\n");
}

#[test]
fn a_scale_of_zero_is_suspicious() {
    let world = World::new();
    let mut bytes = std::fs::read(world.path("models/resnet8_int8.onnx")).unwrap();
    // The weights' scale of layer1.conv1, as float32 bytes; once in the file.
    let scale = 0.002_633_807_f32.to_le_bytes();
    let places: Vec<_> =
        bytes.windows(4).enumerate().filter(|(_, window)| *window == scale).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    bytes[places[0]..places[0] + 4].copy_from_slice(&[0; 4]);
    world.write("models/resnet8_int8.onnx", bytes);
    let found = world.json("quant --model models/resnet8_int8.onnx --suspicious");
    assert!(found["suspicious"].as_u64().unwrap() >= 1, "{found}");
    assert!(found["tensors"].to_string().contains("layer1.conv1.weight_quantized"), "{found}");
}

/// What is wrong on purpose is in tests/data/make.py.
#[test]
fn parameters_that_do_not_go_together_are_suspicious() {
    let world = World::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/suspicious.onnx");
    let found = world.json(&format!("quant --model '{file}'"));
    let of = |name: &str| {
        let row = found["tensors"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        let suspected = row["suspicions"].as_array().unwrap().iter();
        suspected
            .map(|one| (one["reason"].as_str().unwrap(), one["first_index"].clone(), one["value"].clone()))
            .map(|(reason, index, value)| {
                (reason.to_owned(), index.as_u64().unwrap(), value.as_f64().unwrap())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(of("first.weight"), [("zero-channel".to_owned(), 2, 0.0)]);
    assert_eq!(of("first.bias"), [("bias-scale".to_owned(), 1, 2.0)]);
    // 0.05 where it is quantized, 0.1 where it is dequantized.
    assert_eq!(of("y"), [("pair-mismatch".to_owned(), 0, f64::from(0.05f32) / f64::from(0.1f32))]);
    assert_eq!((of("x"), of("second.weight")), (vec![], vec![]));
    assert_eq!(found["suspicious"], 3);
}

#[test]
fn a_sound_model_has_nothing_suspicious() {
    let world = World::new();
    for file in ["resnet8_int8.onnx", "resnet8_uint8.onnx", "resnet8_int8.pt"] {
        let found = world.json(&format!("quant --model models/{file}"));
        assert_eq!(found["suspicious"], 0, "{file}: {found}");
    }
}

/// 77,706 is what PyTorch counts: `sum(p.numel() for p in model.parameters())`.
#[test]
fn the_tree_of_layers_has_every_parameter_once() {
    let world = World::new();
    for file in ["resnet8.pt", "resnet8.onnx", "resnet8_int8.onnx", "resnet8_int8.pt", "resnet8_traced.pt"] {
        let tree = world.json(&format!("layers models/{file} --tree"))["tree"].clone();
        assert_eq!(tree["parameters"], 77_706, "{file}");
        let children = tree["children"].as_array().unwrap();
        let layer3 = children.iter().find(|child| child["name"] == "layer3").unwrap();
        // 18,496 and 36,928 of two convolutions, 2,112 of the shortcut.
        assert_eq!(layer3["parameters"], 57_536, "{file}");
    }
}

#[test]
fn layers_can_be_sorted_and_are_counted_by_operator() {
    let world = World::new();
    let listing = world.json("layers models/resnet8_int8.onnx --sort parameters");
    assert_eq!(listing["layers"][0]["path"], "layer3.conv2");
    // As many as `onnx.load` counts.
    assert_eq!(listing["op_counts"][0], serde_json::json!({"op_type": "DequantizeLinear", "count": 36}));
    let listing = world.json("layers models/resnet8_int8.onnx --sort path --op Conv");
    assert_eq!(listing["op_counts"], serde_json::json!([{"op_type": "Conv", "count": 9}]));
    assert_eq!(listing["layers"][0]["path"], "layer1.conv1");
}

/// `torch.conv2d(input, weight, bias, stride, padding, dilation, groups)` with what the file has of each.
#[test]
fn an_eager_layer_shows_the_calls_that_are_made_of_it() {
    let world = World::new();
    let shown = world.json("layer layer2.conv1 --code --model models/resnet8.pt");
    let steps = shown["inlined"].as_array().unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(
        steps[0]["text"],
        "layer2.conv1 = aten.conv2d(layer1.relu2, layer2.conv1.weight, layer2.conv1.bias, [2, 2], [1, 1], [1, 1], 1)"
    );
    let whole = world.json("info models/resnet8.pt --code");
    assert!(whole["methods"][0]["text"].as_str().unwrap().starts_with("def forward(self, image)"), "{whole}");
    assert_eq!(whole["inlined"].as_array().unwrap().len(), 25);
}

#[test]
fn layers_counts_plumbing_for_people_and_lists_all_for_programs() {
    let world = World::new();
    let table = world.run("layers models/resnet8_int8.onnx").output;
    assert!(
        table.contains("52 layers that only quantize or dequantize are not shown; `--all` shows all"),
        "{table}"
    );
    assert!(!table.contains("relu_output_QuantizeLinear"), "{table}");
    for line in
        ["layers models/resnet8_int8.onnx --all", "layers models/resnet8_int8.onnx --op QuantizeLinear"]
    {
        assert!(world.run(line).output.contains("relu_output_QuantizeLinear"), "{line}");
    }
    let csv = world.run("format csv; layers models/resnet8_int8.onnx").output;
    assert_eq!(csv.lines().filter(|row| row.contains(",QuantizeLinear,")).count(), 16);
    assert_eq!(world.json("layers models/resnet8_int8.onnx")["layers"].as_array().unwrap().len(), 70);
}
