//! `load`, `unload`, `reload` and `cache`.

use crate::support::world::World;
use serde_json::json;

#[test]
fn a_second_load_of_an_unchanged_file_is_a_hit() {
    let world = World::new();
    let results = world.jsons("open models; load resnet8.onnx; load resnet8.onnx; cache");
    assert_eq!(results[1]["models"][0]["how"], "read");
    assert_eq!(results[2]["models"][0]["how"], "hit");
    assert_eq!(
        (&results[3]["hits"], &results[3]["misses"], &results[3]["evictions"]),
        (&json!(1), &json!(1), &json!(0))
    );
}

#[test]
fn a_changed_file_is_read_again_and_a_touched_one_is_not() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    session.command("load resnet8.onnx");
    let content = std::fs::read(world.path("models/resnet8.onnx")).unwrap();
    world.write("models/resnet8.onnx", &content);
    assert_eq!(session.command("load resnet8.onnx")["models"][0]["how"], "same-content");
    std::fs::copy(world.path("models/resnet8_int8.onnx"), world.path("models/resnet8.onnx")).unwrap();
    // Any command sees the file as it is.
    assert_eq!(session.command("info resnet8.onnx")["precision"], "int8");
    assert_eq!(session.command("cache")["misses"], 2);
}

/// `open` has read the file; what it was then is not what is loaded.
#[test]
fn a_file_that_changed_since_it_was_listed_is_read_again() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    std::fs::copy(world.path("models/resnet8_int8.onnx"), world.path("models/resnet8.onnx")).unwrap();
    assert_eq!(session.command("load resnet8.onnx")["models"][0]["precision"], "int8");
    assert_eq!(session.command("info resnet8.onnx")["precision"], "int8");
    // One that is gone is not there any more, although it was read.
    std::fs::remove_file(world.path("models/resnet8_uint8.onnx")).unwrap();
    assert_eq!(session.command("load resnet8_uint8.onnx")["error"]["kind"], "NotFound");
}

#[test]
fn a_file_that_became_corrupt_is_an_error_and_what_was_loaded_stays() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8.onnx");
    world.write("models/resnet8.onnx", "no model");
    assert_eq!(session.command("info")["error"]["kind"], "UnsupportedFormat");
}

#[test]
fn the_budget_drops_what_was_used_longest_ago_but_never_the_current_model() {
    let world = World::new();
    let results = world.jsons(
        "cache limit 400KiB; open models; load resnet8.onnx; use resnet8.onnx; \
         info resnet8_int8.onnx; info resnet8_uint8.onnx; cache",
    );
    let cache = results.last().unwrap();
    let names: Vec<_> =
        cache["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    // 309 KiB and 95 KiB do not fit 400 KiB: the int8 model gave way to the uint8 one.
    assert_eq!(names, ["resnet8.onnx", "resnet8_uint8.onnx"]);
    assert_eq!(cache["evictions"], 1);
}

#[test]
fn unload_frees_and_forgets_the_alias() {
    let world = World::new();
    let results = world.jsons("open models; load resnet8.onnx --as ref; info ref; unload ref; cache");
    assert_eq!(results[2]["model"], "resnet8.onnx");
    assert_eq!(results[3]["unloaded"], json!(["resnet8.onnx"]));
    assert_eq!(results[4]["models"], json!([]));
    assert_eq!(world.run("open models; load resnet8.onnx --as ref; unload ref; info ref").code, 1);
}

#[test]
fn an_alias_that_is_taken_changes_nothing() {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    assert_eq!(session.command("load resnet8_int8.onnx --as resnet8.onnx")["error"]["kind"], "InvalidInput");
    drop(session);
    let ran = world.run("open models; load resnet8_int8.onnx --as resnet8.onnx");
    assert_eq!(ran.error(), "`resnet8.onnx` is already taken: it names another model or family");
}

#[test]
fn load_without_a_name_means_the_one_family() {
    let world = World::new();
    assert_eq!(world.json("open models; load")["loaded"], 6);
    std::fs::copy(world.path("models/resnet8.onnx"), world.path("models/other.onnx")).unwrap();
    assert_eq!(world.run("open models; load").error(), "several families are open");
    assert_eq!(world.json("open models; load resnet8_int8.*")["loaded"], 2);
}
