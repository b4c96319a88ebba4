//! `data`, and `--data` of other commands.

use crate::support::world::World;
use serde_json::json;

/// Two pictures a class, in the order of torchvision's `ImageFolder`.
fn class_folders(world: &World) {
    for (class, red) in [("cat", 10), ("dog", 200)] {
        std::fs::create_dir_all(world.path(&format!("photos/{class}"))).unwrap();
        for number in 0..2_u8 {
            image::RgbImage::from_pixel(32, 32, image::Rgb([red + number, 0, 0]))
                .save(world.path(&format!("photos/{class}/{number}.png")))
                .unwrap();
        }
    }
}

#[test]
fn a_data_set_is_kept_by_name_with_labels_classes_and_preparation() {
    let world = World::new();
    class_folders(&world);
    let found = world.jsons("data d = photos --mean 0.5 --std 0.25; data d; data");
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2]["data"], json!([found[0]]));
    let expected = json!({
        "name": "d",
        "source": "photos",
        "form": "class folders",
        "samples": 4,
        "has_labels": true,
        "classes": [
            { "class": 0, "name": "cat", "samples": 2 },
            { "class": 1, "name": "dog", "samples": 2 },
        ],
        "class_count": 2,
        "preparation": "mean 0.5, std 0.25",
    });
    assert_eq!(found[0], expected);
}

#[test]
fn data_give_the_same_samples_as_an_input_and_in_every_command() {
    let world = World::new();
    class_folders(&world);
    let found = world.jsons("load models/resnet8.onnx; data d = photos --mean 0.5 --std 0.25; input d[1:3]");
    assert_eq!(found[2]["source"], "photos[1:3], mean 0.5, std 0.25");
    assert_eq!(found[2]["tensors"][0]["shape"], json!([2, 32, 32, 3]));
    assert_eq!(found[2]["steps"], json!(["values -2.000 to 2.000 as float32"]));
    let lines = "data d = models/digits.npz --samples 20 --seed 3; \
                 evaluate models/resnet8.onnx --data d; evaluate models/resnet8.onnx --data d; \
                 compare models/resnet8.onnx models/resnet8_int8.onnx --data d --accumulated; \
                 flips models/resnet8.onnx models/resnet8_int8.onnx --data d[0:8]";
    let found = world.jsons(lines);
    assert_eq!(found[1]["samples"], 20);
    assert_eq!(found[1]["data"], "models/digits.npz, 20 random with seed 3");
    assert_eq!(found[1]["models"][0]["classes"], found[2]["models"][0]["classes"]);
    assert_eq!(found[3]["input"], "models/digits.npz, 20 random with seed 3");
    assert_eq!(found[4]["input"], "models/digits.npz, 20 random with seed 3, of them [0:8]");
}

#[test]
fn a_split_has_the_labels_of_its_samples() {
    let world = World::new();
    let found = world.jsons(
        "data d = models/digits.npz --split 100:110; evaluate models/resnet8.onnx --data d; \
         evaluate models/resnet8.onnx --data models/digits.npz[100:110]",
    );
    for key in ["correct", "classes", "confusions"] {
        assert_eq!(found[1]["models"][0][key], found[2]["models"][0][key], "{key}");
    }
}

#[test]
fn evaluate_names_classes_where_the_data_do() {
    let world = World::new();
    world.write("names.txt", "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n");
    let line = "data d = models/digits.npz --classes names.txt; evaluate models/resnet8_uint8.onnx --data d";
    let found = &world.jsons(line)[1]["models"][0];
    assert_eq!((&found["classes"][3]["class"], &found["classes"][3]["name"]), (&json!(3), &json!("three")));
    let confusion = &found["confusions"][0];
    let names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    for (key, name) in [("label", "label_name"), ("predicted", "predicted_name")] {
        let class = confusion[key].as_u64().unwrap() as usize;
        assert_eq!(confusion[name], names[class]);
    }
    let unnamed = world.json("evaluate models/resnet8_uint8.onnx --data models/digits.npz");
    assert_eq!(unnamed["models"][0]["classes"][3].get("name"), None);
    let said = world.run(line);
    let first = format!(
        "{} for {}",
        confusion["predicted_name"].as_str().unwrap(),
        confusion["label_name"].as_str().unwrap()
    );
    assert!(said.output.contains(&first), "{}", said.output);
}

#[test]
fn a_toml_file_is_data_with_or_without_a_name() {
    let world = World::new();
    class_folders(&world);
    world.write("photos.toml", "source = \"photos\"\nmean = 0.5\nstd = 0.5\nsplit = \"1:3\"\n");
    let found = world.jsons("data d = photos.toml; evaluate models/resnet8.onnx --data photos.toml");
    assert_eq!(found[0]["source"], "photos.toml[1:3]");
    assert_eq!(
        (&found[1]["data"], &found[1]["samples"]),
        (&json!("photos.toml[1:3], mean 0.5, std 0.5"), &json!(2))
    );
    assert_eq!(world.json("data d = photos.toml --split 0:4")["samples"], 4);
}

#[test]
fn what_is_wrong_with_data_is_one_error_with_a_hint() {
    let world = World::new();
    class_folders(&world);
    world.write("names.txt", "cat\n");
    world.write("two.txt", "0\n1\n");
    let error = |line: &str| {
        let ran = world.run(line);
        assert!(!ran.hint().is_empty(), "{line}");
        ran.error().to_owned()
    };
    assert_eq!(
        error("data d = photos --classes names.txt"),
        "`photos` has the unknown class `dog`: `--classes` does not list it"
    );
    assert_eq!(error("data d = photos --labels two.txt"), "there are 2 labels for 4 samples of `photos`");
    assert_eq!(error("data d = photos --split 3:9:1"), "`3:9:1` does not say where samples begin and end");
    assert_eq!(error("data d = photos --samples 5"), "`photos` has 4 samples, not 5");
    assert_eq!(error("data a.b = photos"), "`a.b` is not a valid name for a data set");
    assert_eq!(error("data e"), "no data set `e`");
    assert_eq!(
        error("data d = models/digits.npz:labels --mean 0.5"),
        "`models/digits.npz:labels` holds no pictures: picture options apply to picture files, \
         and to arrays of uint8 with 1 or 3 channels"
    );
    assert_eq!(
        world.run("data d = photos --labels none.npy").error(),
        "cannot read `none.npy`: no such file or directory"
    );
    std::fs::create_dir(world.path("photos/eel")).unwrap();
    assert_eq!(
        error("data d = photos"),
        "`photos/eel` holds no pictures: each subfolder is a class, and each class needs samples"
    );
}
