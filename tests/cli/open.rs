//! `open` and `models`.

use crate::support::world::{Repl, World};
use serde_json::Value;

fn names(value: &Value) -> Vec<&str> {
    value["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect()
}

#[test]
fn groups_the_sample_files_into_one_family() {
    let world = World::new();
    let opened = world.json("open models");
    assert_eq!(opened["families"], 1);
    let all = [
        "resnet8.onnx",
        "resnet8.pt",
        "resnet8_int8.onnx",
        "resnet8_int8.pt",
        "resnet8_traced.pt",
        "resnet8_uint8.onnx",
    ];
    assert_eq!(names(&opened), all);
    let precisions: Vec<_> =
        opened["models"].as_array().unwrap().iter().map(|model| &model["precision"]).collect();
    assert_eq!(precisions, ["float32", "float32", "int8", "int8", "float32", "uint8"]);
}

#[test]
fn the_precision_comes_from_the_content_not_from_the_name() {
    let world = World::new();
    std::fs::create_dir(world.path("renamed")).unwrap();
    std::fs::copy(world.path("models/resnet8_int8.onnx"), world.path("renamed/net_float32.onnx")).unwrap();
    let opened = world.json("open renamed");
    assert_eq!(opened["models"][0]["precision"], "int8");
    assert_eq!(opened["models"][0]["family"], "net");
}

#[test]
fn finds_models_in_folders_below_and_leaves_hidden_ones_alone() {
    let world = World::new();
    for folder in ["zoo/a/deep", "zoo/.git"] {
        std::fs::create_dir_all(world.path(folder)).unwrap();
        std::fs::copy(world.path("models/resnet8.onnx"), world.path(folder).join("net.onnx")).unwrap();
    }
    assert_eq!(names(&world.json("open zoo")), ["a/deep/net.onnx"]);
}

#[test]
fn a_symbolic_link_in_a_circle_ends() {
    let world = World::new();
    std::os::unix::fs::symlink(world.path("models"), world.path("models/again")).unwrap();
    assert_eq!(names(&world.json("open models")).len(), 6);
}

#[test]
fn one_file_can_be_opened_and_another_folder_afterwards() {
    let world = World::new();
    std::fs::create_dir(world.path("other")).unwrap();
    std::fs::copy(world.path("models/resnet8.onnx"), world.path("other/net.onnx")).unwrap();
    let results = world.jsons("open models/resnet8_int8.onnx; load; open other; models");
    assert_eq!(names(&results[0]), ["resnet8_int8.onnx"]);
    assert_eq!(names(&results[3]), ["net.onnx"]);
}

#[test]
fn a_damaged_model_is_a_row_and_the_rest_still_works() {
    let world = World::new();
    let whole = std::fs::read(world.path("models/resnet8.onnx")).unwrap();
    world.write("models/resnet8_cut.onnx", &whole[..whole.len() / 2]);
    let results = world.jsons("open models");
    let failed: Vec<_> =
        results[0]["models"].as_array().unwrap().iter().filter(|model| model["state"] == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["name"], "resnet8_cut.onnx");
    assert_eq!(failed[0]["error"]["kind"], "CorruptFile");
    let ran = world.run_args(&["--format", "json", "-c", "open models; load all"]);
    let loaded: Value = serde_json::from_str(ran.output.lines().last().unwrap()).unwrap();
    assert_eq!((&loaded["loaded"], &loaded["failed"]), (&6.into(), &1.into()));
    assert_eq!((ran.error(), ran.code), ("1 of 7 models could not be loaded: `resnet8_cut.onnx`", 1));
    let mut session = Repl::new(world.path(""));
    session.line("open models; load all");
    assert!(session.line("summary").contains("resnet8_uint8.onnx"));
}

/// A file of the safetensors library with one float32 matrix of a row for each of `rows`.
fn safetensors(name: &str, rows: &[[f32; 2]]) -> Vec<u8> {
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    let header = format!(
        "{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{},2],\"data_offsets\":[0,{}]}}}}",
        rows.len(),
        bytes.len()
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
}

#[test]
fn a_checkpoint_in_shards_is_listed_once_and_noticed_when_a_shard_changes() {
    let world = World::new();
    let first = safetensors("a.weight", &[[1.0, 2.0]]);
    let second = safetensors("b.weight", &[[3.0, 4.0], [5.0, 6.0]]);
    world.write("zoo/model-00001-of-00002.safetensors", &first);
    world.write("zoo/model-00002-of-00002.safetensors", &second);
    let index = r#"{"weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}}"#;
    world.write("zoo/model.safetensors.index.json", index);
    world.write("zoo/search.index.json", "{}");
    let opened = world.json("open zoo");
    assert_eq!(names(&opened), ["model.safetensors.index.json"]);
    let model = &opened["models"][0];
    assert_eq!((&model["family"], &model["format"]), (&"model".into(), &"sharded".into()));
    assert_eq!(model["bytes"], (index.len() + first.len() + second.len()) as u64);
    let mut session = world.session();
    session.command("open zoo");
    let before = session.command("stats model");
    assert_eq!(before["tensors"][0]["max"], 2.0, "{before}");
    world.write("zoo/model-00001-of-00002.safetensors", safetensors("a.weight", &[[1.0, 9.0]]));
    assert_eq!(session.command("stats model")["tensors"][0]["max"], 9.0);
    // A shard that is gone is still a part of the model.
    std::fs::remove_file(world.path("zoo/model-00002-of-00002.safetensors")).unwrap();
    let opened = world.json("open zoo");
    assert_eq!(names(&opened), ["model.safetensors.index.json"]);
    assert_eq!(session.command("info model")["findings"][0]["code"], "shards.missing");
}
