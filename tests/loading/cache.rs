//! The manifest cache, and libraries that change.

use crate::support::plugin::{file_name, install};
use crate::world::{TOY, World};
use qp::backend::{NoProgress, PluginState};
use std::fs;
use std::path::Path;

/// Whether the library is in this process.
#[cfg(target_os = "linux")]
fn is_mapped(library: &Path) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(library.canonicalize().unwrap().to_str().unwrap())
}

/// A world with the toy, its manifest in the cache, and its library not in this process: the cache was filled
/// from a copy elsewhere.
fn warm_world() -> World {
    let mut world = World::with_toy();
    let library = world.plugins().join(file_name("toy"));
    let elsewhere = world.folder.path().join("elsewhere");
    let copy = install("qp-plugin-toy", &elsewhere, "toy");
    let modified = fs::metadata(&library).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();

    let cache = world.folder.path().join("plugins.json");
    world.config.manifest_cache = Some(cache.clone());
    let here = std::mem::replace(&mut world.config.plugin_folders, vec![elsewhere.clone()]);
    world.discover();
    world.config.plugin_folders = here;
    let text = fs::read_to_string(&cache).unwrap();
    let text = text.replace(elsewhere.to_str().unwrap(), world.plugins().to_str().unwrap());
    fs::write(&cache, text).unwrap();
    world
}

/// Replaces the toy as an installer does it: the old file stays what it is for those who have it open.
fn replace_toy(world: &World) {
    fs::remove_file(world.plugins().join(file_name("toy"))).unwrap();
    world.install("qp-fixture-duplicate-id", "toy");
}

#[cfg(target_os = "linux")]
#[test]
fn a_warm_cache_opens_no_library_before_it_is_needed() {
    let world = warm_world();
    let library = world.plugins().join(file_name("toy"));
    let backends = world.discover();
    assert_eq!(backends.plugins()[0].state(), PluginState::Known);
    assert!(backends.could_be_model(Path::new("x.toy")));
    assert_eq!(backends.recognize(&world.write("model.toy", TOY)).unwrap().backend, "toy");
    assert!(!is_mapped(&library));

    backends.inspect(&world.write("model.toy", TOY), &NoProgress).unwrap();
    assert_eq!(backends.plugins()[0].state(), PluginState::Loaded);
    assert!(is_mapped(&library));
}

#[test]
fn a_changed_library_is_read_again() {
    let world = warm_world();
    assert_eq!(world.discover().plugins()[0].version().as_deref(), Some(env!("CARGO_PKG_VERSION")));
    replace_toy(&world);
    assert_eq!(world.discover().plugins()[0].version().as_deref(), Some("9.0.0"));
    assert_eq!(world.discover().plugins()[0].state(), PluginState::Known);
}

#[test]
fn a_library_that_changes_after_the_start_is_noticed() {
    let world = warm_world();
    let backends = world.discover();
    replace_toy(&world);
    let error = backends.inspect(&world.write("model.toy", TOY), &NoProgress).unwrap_err();
    assert_eq!(error.hints(), ["Start qp again: the library has changed."]);
    assert!(matches!(backends.plugins()[0].state(), PluginState::Broken(_)));
}

/// Another build of the toy: the same code, and a byte that nothing reads.
fn rebuild_toy(world: &World) {
    let library = world.plugins().join(file_name("toy"));
    let mut content = fs::read(&library).unwrap();
    content.push(0);
    fs::remove_file(&library).unwrap();
    fs::write(&library, content).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_newer_build_is_used_for_the_next_model_and_open_ones_go_on() {
    let world = World::with_toy();
    let (backends, library) = (world.discover(), world.plugins().join(file_name("toy")));
    let is_new_open = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let path = library.canonicalize().unwrap().to_str().unwrap().to_owned();
        maps.lines().any(|line| line.ends_with(&path))
    };
    let model = world.write("model.toy", TOY);
    let first = backends.open(&model, &NoProgress).unwrap();
    for _ in 0..3 {
        assert!(is_new_open());
        rebuild_toy(&world);
        assert!(!is_new_open());
        let next = backends.open(&model, &NoProgress).unwrap();
        assert_eq!(next.info(), first.info());
    }
    assert_eq!(backends.plugins()[0].state(), PluginState::Loaded);
    assert!(first.read_whole_tensor(&first.info().tensors[0].name, &NoProgress).is_ok());
}

#[cfg(target_os = "linux")]
#[test]
fn a_build_that_cannot_be_used_is_tried_again_when_it_is_complete() {
    let world = World::with_toy();
    let (backends, library) = (world.discover(), world.plugins().join(file_name("toy")));
    let model = world.write("model.toy", TOY);
    backends.inspect(&model, &NoProgress).unwrap();
    let content = fs::read(&library).unwrap();
    // As a linker leaves it in the middle.
    fs::remove_file(&library).unwrap();
    fs::write(&library, &content[..content.len() / 2]).unwrap();
    backends.inspect(&model, &NoProgress).unwrap_err();
    assert!(matches!(backends.plugins()[0].state(), PluginState::Broken(_)));
    fs::write(&library, content).unwrap();
    backends.inspect(&model, &NoProgress).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_is_replaced_while_it_is_open_is_not_mistaken_for_the_new_one() {
    let world = World::with_toy();
    world.discover();
    replace_toy(&world);
    assert_eq!(world.discover().plugins()[0].version().as_deref(), Some("9.0.0"));
}

#[test]
fn a_library_that_is_written_over_while_it_is_open_is_refused() {
    let world = World::with_toy();
    world.discover();
    let library = world.plugins().join(file_name("toy"));
    // A byte at the end, which nothing reads: this process has the file open.
    std::io::Write::write_all(&mut fs::File::options().append(true).open(library).unwrap(), &[0]).unwrap();
    world.assert_refusal(
        &format!("plugin `~/plugins/{}` was written over since this qp opened it", file_name("toy")),
        "Start qp again. A library that is replaced, and not written over, is used at once.",
    );
}

#[test]
fn a_damaged_manifest_cache_is_replaced() {
    let mut world = World::with_toy();
    let cache = world.write("plugins.json", "{ \"version\": 1, \"entries\": [ {");
    world.config.manifest_cache = Some(cache.clone());
    assert_eq!(world.discover().plugins()[0].state(), PluginState::Loaded);
    assert_eq!(world.discover().plugins()[0].state(), PluginState::Known);
    assert!(fs::read_to_string(cache).unwrap().contains("\"toy\""));
}

#[test]
fn many_starts_at_once_do_no_harm_to_the_cache() {
    let mut world = World::with_toy();
    world.config.manifest_cache = Some(world.folder.path().join("plugins.json"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(world.discover().plugins()[0].id(), "toy"));
        }
    });
    assert_eq!(world.discover().plugins()[0].state(), PluginState::Known);
    let leftovers = fs::read_dir(world.folder.path()).unwrap().count();
    assert_eq!(leftovers, 2, "the cache and the plugin folder, no temporary file");
}
