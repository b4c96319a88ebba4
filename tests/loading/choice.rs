//! Which plugin is used, for which file.

use crate::support::plugin::{file_name, install};
use crate::world::{TOY, World};
use qp::backend::{NoProgress, PluginState};
use qp::error::ErrorKind;
use std::collections::BTreeMap;

#[test]
fn of_two_plugins_with_one_id_the_first_folder_wins() {
    let mut world = World::with_toy();
    let second = world.folder.path().join("more");
    install("qp-fixture-duplicate-id", &second, "double");
    world.config.plugin_folders.push(second);
    let backends = world.discover();
    let [first, second] = backends.plugins() else { panic!("two plugins") };
    assert_eq!(first.state(), PluginState::Loaded);
    let PluginState::Broken(error) = second.state() else { panic!("{:?}", second.state()) };
    assert_eq!(
        world.plain(error.message()),
        format!("plugin `toy` is shadowed by `~/plugins/{}`, which has the same id", file_name("toy"))
    );
    assert_eq!(error.hints(), ["Take one of the two files out of its plugin folder."]);
    let version = backends.plugin("toy").unwrap().version();
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn of_two_plugins_for_one_format_the_user_chooses() {
    let mut world = World::with_toy();
    world.install("qp-fixture-same-format", "rival");
    let path = world.write("model.toy", TOY);
    let error = world.discover().inspect(&path, &NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert_eq!(world.plain(error.message()), "`~/model.toy` can be read by the plugins `rival` and `toy`");
    assert_eq!(error.hints(), ["Choose one in config.toml, for example: [formats] toy = \"rival\""]);

    world.config.preferred = BTreeMap::from([("toy".to_owned(), "toy".to_owned())]);
    assert_eq!(world.discover().inspect(&path, &NoProgress).unwrap().layer_count(), 3);
}

#[test]
fn a_file_of_no_known_format_is_told_what_is_readable() {
    let world = World::with_toy();
    let backends = world.discover();
    let error = backends.recognize(&world.write("x.gguf", "GGUF")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert_eq!(world.plain(error.message()), "no plugin reads the format of `~/x.gguf`");
    assert_eq!(error.causes(), ["the file is a GGUF file, as llama.cpp reads them"]);
    assert_eq!(error.hints(), ["Models are files that end in .toy."]);
    // Without its extension a file is known by its first bytes.
    assert_eq!(backends.recognize(&world.write("model", TOY)).unwrap().backend, "toy");
    let error = backends.recognize(&world.folder.path().join("missing.toy")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(backends.recognize(world.folder.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
