//! `input`.

use crate::support::numpy;
use crate::support::world::World;
use serde_json::{Value, json};

#[test]
fn a_sample_is_fitted_to_the_model_and_says_how() {
    let world = World::new();
    let chosen = world.json("load models/resnet8.onnx; input models/digits.npz:images[0]");
    assert_eq!(chosen["tensors"], json!([{ "name": "image", "dtype": "float32", "shape": [1, 32, 32, 3] }]));
    assert_eq!(chosen["steps"], json!(["32×32×3 → 1×32×32×3", "uint8 → float32"]));
}

#[test]
fn a_wrong_shape_or_key_or_index_names_both_sides() {
    let world = World::new();
    let error =
        |input: &str| world.run(&format!("load models/resnet8.onnx; input {input}")).error().to_owned();
    assert_eq!(error("models/digits.npz:labels"), "input `image` takes float32 N×32×32×3, not int64 540");
    assert_eq!(error("models/digits.npz:pictures"), "no array `pictures` in `models/digits.npz`");
    assert_eq!(error("models/digits.npz:images[540]"), "sample 540 of `images` does not exist: it has 540");
    assert_eq!(error("models/digits.npz"), "`models/digits.npz` holds 2 arrays");
}

#[test]
fn made_up_values_depend_on_the_seed_only() {
    let world = World::new();
    let run = |seed: u32| {
        world.json(&format!("load models/resnet8.onnx; input random --seed {seed}; run"))["outputs"].clone()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn the_largest_integer_is_of_random_values_only() {
    let world = World::new();
    let refused = world.run("load models/resnet8.onnx; input zeros --max 3");
    assert_eq!(refused.error(), "`--max` only works with `random`");
    let chosen = world.json("load models/resnet8.onnx; input random --max 3");
    assert_eq!(chosen["source"], "random --seed 0 --max 3");
}

#[test]
fn a_model_without_shapes_takes_those_of_its_family() {
    let world = World::new();
    let chosen = world.json("open models; use resnet8_traced.pt; input random");
    assert_eq!(chosen["tensors"][0]["shape"], json!([1, 32, 32, 3]));
}

#[test]
fn a_picture_is_resized_to_the_model() {
    let world = World::new();
    let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 7]));
    picture.save(world.path("p.png")).unwrap();
    let chosen = world.json("load models/resnet8.onnx; input p.png");
    assert_eq!(chosen["steps"], json!(["resized 64×48 → 32×32, bilinear", "values 0 to 255 as float32"]));
}

/// Arrays go to the inputs of their names; what else is in the file is left alone.
#[test]
fn an_archive_fills_the_inputs_that_its_arrays_are_called_after() {
    let world = World::new();
    let image = numpy::npy("<f4", "3, 32, 32, 3", vec![0; 3 * 32 * 32 * 3 * 4]);
    world.write("x.npz", numpy::npz(&[("image", image), ("y", numpy::npy("<i8", "3", vec![0; 24]))]));
    let chosen = world.json("load models/resnet8.onnx; input x.npz");
    assert_eq!(chosen["tensors"], json!([{ "name": "image", "dtype": "float32", "shape": [3, 32, 32, 3] }]));
    let found = world.json("input x.npz; compare models/resnet8.onnx models/resnet8.onnx");
    assert_eq!((&found["samples"], &found["min_sqnr_db"]), (&3.into(), &"inf".into()));
    world.write("z.npz", numpy::npz(&["a", "b"].map(|name| (name, numpy::npy("<i8", "1", vec![0; 8])))));
    let refused = world.run("input z.npz; compare models/resnet8.onnx models/resnet8_int8.onnx");
    assert_eq!(refused.error(), "`z.npz` holds 2 arrays");
    assert_eq!(refused.hint(), "Choose one of `a`, `b`, as in `z.npz:a`.");
}

/// `--data` of pictures prepares them as `input` was told to: the results are those of the input itself.
#[test]
fn data_of_pictures_are_prepared_as_the_input_is() {
    let world = World::new();
    std::fs::create_dir(world.path("pics")).unwrap();
    for (name, factor) in [("a.png", 3_u32), ("b.png", 5), ("c.png", 7)] {
        let picture = image::RgbImage::from_fn(32, 32, |x, y| {
            image::Rgb([(x * factor) as u8, (y * factor * 2) as u8, (x * y % 251) as u8])
        });
        picture.save(world.path("pics").join(name)).unwrap();
    }
    let models = "sensitivity models/resnet8.onnx models/resnet8_int8.onnx --samples 3";
    let sum = |found: &Value| found["all"]["sqnr_db"].as_f64();
    let prepared = "input pics --mean 0.5 --std 0.25";
    let expected = world.json(&format!("{prepared}; {models}"));
    let found = world.json(&format!("{prepared}; {models} --data pics"));
    let plain = world.json(&format!("input zeros; {models} --data pics"));
    assert_eq!(found["input"], "pics, prepared as pics");
    assert_eq!(plain["input"], "pics");
    assert!(sum(&expected).is_some());
    assert_eq!(sum(&found), sum(&expected));
    assert_ne!(sum(&plain), sum(&expected));
}
