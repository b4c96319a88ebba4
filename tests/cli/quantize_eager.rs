//! Float eager models as exported programs: written, quantized, run. Expected outputs are those of Python's PyTorch 2.13.

use crate::support::world::World;

/// One of the sample images, for which the model is sure of the 8.
const IMAGE: &str = "input models/digits.npz:images[1:2]";
/// What `models/resnet8.pt` computes of it: `golden_outputs.npz`.
const FLOAT: [f64; 10] = [
    4.3268e-3,
    6.077_809e-5,
    5.483_909e-5,
    4.935_572e-5,
    1.276_581e-3,
    1.377_46e-4,
    1.489_728e-3,
    3.761_459e-5,
    9.896_242e-1,
    2.942_387e-3,
];
/// What `torch.export.load` of the quantized program computes.
const INT8: [f64; 10] = [
    4.654_116e-3,
    5.803_464e-5,
    6.294_328e-5,
    5.350_88e-5,
    1.269_535e-3,
    1.537_559e-4,
    1.756_68e-3,
    3.867_028e-5,
    9.888_516e-1,
    3.101_18e-3,
];
/// Kernels of another processor add in another order.
const FLOAT_TOLERANCE: f64 = 1e-5;
/// Then a code may be the next one.
const CODE_TOLERANCE: f64 = 2e-3;

/// The elements of an `.npy` file.
fn npy<const SIZE: usize, T>(world: &World, name: &str, number: fn([u8; SIZE]) -> T) -> Vec<T> {
    let bytes = std::fs::read(world.path(name)).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].as_chunks::<SIZE>().0.iter().map(|bytes| number(*bytes)).collect()
}

fn check(world: &World, model: &str, expected: &[f64], tolerance: f64) {
    let ran = world.jsons(&format!("{IMAGE}; run {model}"));
    let found = ran[1]["outputs"][0]["values"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{model}");
    for (found, expected) in found.iter().zip(expected) {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < tolerance, "{model}: {found} in place of {expected}");
    }
}

fn layers(world: &World, model: &str) -> Vec<(String, String)> {
    let found = world.json(&format!("layers {model}"));
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = found["layers"].as_array().unwrap().iter();
    let rows = rows.map(|row| (text(row, "path"), text(row, "op_type")));
    // Modules that only hold others are none in a program.
    rows.filter(|(_, op_type)| op_type != "Module").collect()
}

#[test]
fn a_float_graph_is_written_as_a_program_that_computes_the_same() {
    let world = World::new();
    let ran = world.run("export models/resnet8.pt copy.pt2");
    assert_eq!(ran.code, 0, "{}", ran.talk);
    check(&world, "copy.pt2", &FLOAT, FLOAT_TOLERANCE);
    assert_eq!(layers(&world, "copy.pt2"), layers(&world, "models/resnet8.pt"));
    let info = world.json("info copy.pt2");
    // Height and width are free, the channels are what the first convolution reads.
    assert_eq!(info["inputs"][0]["dtype"], "float32", "{info}");
    let shape = info["inputs"][0]["shape"].as_array().unwrap();
    assert_eq!((shape.len(), shape[3].as_u64()), (4, Some(3)), "{info}");
    assert!(shape[..3].iter().all(|size| size.is_string()), "{info}");
}

/// Scales are the largest weight of each channel over 127, codes what NumPy's `rint` makes of the quotients.
#[test]
fn a_float_graph_is_quantized_with_the_codes_of_numpy() {
    let world = World::new();
    let made = world.json(
        "quantize models/resnet8.pt --data models/digits.npz --samples 16 --batch 1 --per-channel --out made.pt2",
    );
    assert_eq!(made["samples"], 16, "{made}");
    let left: Vec<&str> = made["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|layer| !layer["reason"].is_null())
        .map(|layer| layer["layer"].as_str().unwrap())
        .collect();
    assert_eq!(left, ["permute", "softmax"]);
    check(&world, "made.pt2", &INT8, CODE_TOLERANCE);
    let written = world.run(
        "export models/resnet8.pt w.npy --tensor layer1.conv1.weight; export made.pt2 c.npy --tensor layer1.conv1.weight --codes",
    );
    assert_eq!(written.code, 0, "{}", written.talk);
    let weights = npy(&world, "w.npy", f32::from_le_bytes);
    let codes = npy(&world, "c.npy", i8::from_le_bytes);
    assert_eq!((weights.len(), codes.len()), (16 * 16 * 9, 16 * 16 * 9));
    for (weights, codes) in weights.chunks(16 * 9).zip(codes.chunks(16 * 9)) {
        let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        let scale = largest / 127.0;
        for (weight, code) in weights.iter().zip(codes) {
            assert_eq!((weight / scale).round_ties_even().clamp(-128.0, 127.0), f32::from(*code));
        }
    }
}

/// The layers of both are the same, so that each is compared with its own.
#[test]
fn a_quantized_program_is_compared_with_the_eager_model_layer_by_layer() {
    let world = World::new();
    world.run("quantize models/resnet8.pt --data models/digits.npz --samples 8 --out made.pt2");
    let compared =
        world.jsons("input models/digits.npz:images[0:4]; compare models/resnet8.pt made.pt2").remove(1);
    let rows = compared["layers"].as_array().unwrap();
    assert!(rows.len() >= 23, "{compared}");
    // What is exact has no number.
    let noisy = rows.iter().filter_map(|row| row["sqnr_db"].as_f64()).collect::<Vec<f64>>();
    assert!(noisy.len() > 15 && noisy.iter().all(|sqnr| *sqnr > 20.0), "{noisy:?}");
}

#[test]
fn what_is_no_float_eager_model_is_refused() {
    let world = World::new();
    for (file, message) in [
        ("resnet8_traced.pt", "only exported programs (`torch.export.save`) and float eager models"),
        ("resnet8_int8.pt", "only exported programs (`torch.export.save`) and float eager models"),
    ] {
        let ran = world.run(&format!("export models/{file} copy.pt2"));
        assert!(ran.code == 1 && ran.talk.contains(message), "{file}: {}", ran.talk);
        assert!(!world.path("copy.pt2").exists());
    }
}
