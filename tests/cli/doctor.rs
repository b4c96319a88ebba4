//! `doctor` on the sample family, healthy and damaged in known ways. More ways, on more networks: scripts/check/doctor.py.

use crate::support::world::World;
use serde_json::Value;

/// `models/resnet8_int8.onnx` with the stored bytes of a tensor changed. Elements as bytes (field 9) follow the name
/// (field 8); a number that stands in a list of floats (field 4) comes right before it.
fn damaged(tensor: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = std::fs::read(crate::support::plugin::model("resnet8_int8.onnx")).unwrap();
    let name = [&[0x42, u8::try_from(tensor.len()).unwrap()], tensor.as_bytes()].concat();
    let is_it = |at: &usize| {
        let is_float = file[at - 6..].starts_with(&[0x22, 4]);
        file[*at..].starts_with(&name) && (is_float || file[at + name.len()] == 0x4a)
    };
    let at = (6..file.len() - name.len()).find(is_it).expect("it is stored");
    if file[at + name.len()] != 0x4a {
        change(&mut file[at - 4..at]);
        return file;
    }
    let (mut length, mut start, mut shift) = (0, at + name.len() + 1, 0);
    loop {
        length |= usize::from(file[start] & 0x7f) << shift;
        (start, shift) = (start + 1, shift + 7);
        if file[start - 1] < 0x80 {
            break;
        }
    }
    change(&mut file[start..start + length]);
    file
}

fn scaled(factor: f32) -> impl Fn(&mut [u8]) {
    move |bytes| {
        for scale in bytes.chunks_exact_mut(4) {
            let number = f32::from_le_bytes(scale.try_into().unwrap()) * factor;
            scale.copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// What `doctor` says of this file against the float model. The commands that it names work.
fn diagnosis(file: Vec<u8>) -> Value {
    let world = World::new();
    world.write("models/bad.onnx", file);
    let found = world.json(
        "doctor models/resnet8.onnx models/bad.onnx --data models/digits.npz --samples 200 --layer-samples 16 --json",
    );
    for cause in found["causes"].as_array().unwrap() {
        let line = cause["evidence"].as_str().unwrap();
        assert_eq!(world.run(&format!("{line} --json")).code, 0, "{line}");
    }
    found
}

#[track_caller]
fn first_cause(found: &Value) -> (&str, &str) {
    let first = &found["causes"][0];
    (first["code"].as_str().expect("there is a cause"), first["layer"].as_str().unwrap_or_default())
}

#[test]
fn nothing_is_wrong_with_the_samples() {
    let world = World::new();
    for candidate in ["resnet8_int8.onnx", "resnet8_uint8.onnx", "resnet8_int8.pt"] {
        let line = format!(
            "doctor models/resnet8.onnx models/{candidate} --data models/digits.npz --samples 64 --layer-samples 8 --json"
        );
        let found = world.json(&line);
        assert_eq!(found["causes"], Value::Array(Vec::new()), "{candidate}");
        assert_eq!(found["left_out"], Value::Array(Vec::new()), "{candidate}");
    }
    let text =
        world.run("doctor models/resnet8.onnx models/resnet8_uint8.onnx --data models/digits.npz --samples 32 --layer-samples 8").output;
    assert!(text.contains("No fault found"), "{text}");
}

#[test]
fn a_weight_of_eight_times_the_scale() {
    let found = diagnosis(damaged("layer2.conv2.weight_scale", scaled(8.0)));
    assert_eq!(first_cause(&found), ("weight-scale", "layer2.conv2"));
    assert!(found["causes"][0]["text"].as_str().unwrap().contains("8 times too large"), "{found}");
    assert_eq!(found["verdict"], "worse");
    // Most of what is lost comes back when this layer alone is in float.
    assert!(found["causes"][0]["accuracy_pp"].as_f64().unwrap() > 20.0, "{found}");
}

#[test]
fn channels_of_zeros() {
    let found = diagnosis(damaged("layer2.conv2.weight_quantized", |codes| {
        let channel = codes.len() / 32;
        codes[3 * channel..4 * channel].fill(0);
    }));
    assert_eq!(first_cause(&found), ("zero-channels", "layer2.conv2"));
    assert!(found["causes"][0]["text"].as_str().unwrap().contains("channel 3 "), "{found}");
}

#[test]
fn a_bias_of_six_times_the_scale() {
    let found = diagnosis(damaged("layer2.conv2.bias_quantized_scale", scaled(6.0)));
    assert_eq!(first_cause(&found), ("bias-scale", "layer2.conv2"));
}

#[test]
fn a_range_that_is_too_narrow_and_one_that_is_too_wide() {
    let narrow = diagnosis(damaged("layer3.relu1_output_scale", scaled(0.1)));
    assert_eq!(first_cause(&narrow).0, "range-clipped", "{narrow}");
    let wide = diagnosis(damaged("layer3.relu1_output_scale", scaled(8.0)));
    assert_eq!(first_cause(&wide).0, "range-too-wide", "{wide}");
}

#[test]
fn a_reference_that_is_wrong_itself_has_other_data() {
    let world = World::new();
    // Labels of another order: one in ten is right by chance.
    let labels: Vec<u8> = (0..540_i64).flat_map(|index| ((index * 7 + 3) % 10).to_le_bytes()).collect();
    world.write("labels.npy", crate::support::numpy::npy("<i8", "540,", labels));
    let found = world.json(
        "doctor models/resnet8.onnx models/resnet8_uint8.onnx --data models/digits.npz --labels labels.npy --layer-samples 8 --json",
    );
    assert_eq!(first_cause(&found), ("data", ""));
}

#[test]
fn what_cannot_be_done_is_said_and_the_rest_is_done() {
    let world = World::new();
    let found = world.json(
        "doctor models/resnet8_traced.pt models/resnet8_int8.pt --data models/digits.npz --samples 16 --json",
    );
    // Layers of TorchScript cannot be put back to float one by one.
    assert_eq!(found["left_out"][0]["step"], "what each layer costs");
    assert_eq!(found["causes"], Value::Array(Vec::new()));
    assert!(world.run("doctor models/resnet8.onnx models/resnet8_int8.onnx").error().contains("input"));
}

#[test]
fn the_float_model_comes_first() {
    let world = World::new();
    let ran = world.run("doctor models/resnet8_int8.onnx models/resnet8.onnx --data models/digits.npz");
    assert_eq!(
        ran.hint(),
        "The float model comes first: `doctor models/resnet8.onnx models/resnet8_int8.onnx`."
    );
}
