//! The exact words for every wrong plugin.

use crate::support::plugin::file_name;
use crate::world::{TOY, World};
use qp::backend::{NoProgress, PluginState};
use std::fs;

#[test]
fn a_library_without_a_root_module_is_no_plugin() {
    World::with_plugin("qp-fixture-not-a-plugin", "x").assert_refusal(
        &format!("`~/plugins/{}` is not a qp plugin: it exports no root module", file_name("x")),
        "Export the backend with `qp_abi::export_plugin!`, or take the file out of the plugin folder.",
    );
}

#[test]
fn another_plugin_abi_is_refused_by_both_versions_before_any_layout() {
    let wanted = qp_abi::ABI_VERSION;
    let error = World::with_plugin("qp-fixture-other-abi-version", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` was built for plugin ABI 9.9.9, but this qp needs {wanted}",
            file_name("x")
        ),
        &format!("Build the plugin with qp-abi {wanted}, or use a qp that has plugin ABI 9.9.9."),
    );
    assert_eq!(error.detail(), None);
}

#[test]
fn another_layout_is_one_line_and_the_whole_story_is_the_detail() {
    let error = World::with_plugin("qp-fixture-other-layout", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` claims plugin ABI {}, but its types have a different layout",
            file_name("x"),
            qp_abi::ABI_VERSION
        ),
        "Build the plugin against the qp-abi of this qp, with the same abi_stable.",
    );
    assert!(error.detail().unwrap().lines().count() > 20);
}

#[test]
fn a_header_without_a_layout_is_refused_before_its_root_module_is_taken() {
    let error = World::with_plugin("qp-fixture-no-layout", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` cannot be checked: its header has no type layout: it was exported with \
             `CheckTypeLayout::No` or `unsafe_no_layout_constant`",
            file_name("x")
        ),
        "Export the backend with `qp_abi::export_plugin!`, which keeps the layout, and build it again.",
    );
    assert_eq!(error.causes().len(), 1);
}

#[test]
fn a_root_module_that_panics_is_refused() {
    World::with_plugin("qp-fixture-panic-on-load", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` failed to start: its root module panicked or returned an error",
            file_name("x")
        ),
        "Report this to the author of the plugin.",
    );
}

#[test]
fn a_manifest_that_panics_is_refused() {
    let error = World::with_plugin("qp-fixture-panic-in-manifest", "x").assert_refusal(
        &format!("plugin `~/plugins/{}` panicked: no moon tonight", file_name("x")),
        "Report this to the author of the plugin; the session goes on without this result.",
    );
    assert!(error.detail().unwrap().contains("panicked at"));
}

#[test]
fn a_manifest_that_is_not_fit_is_refused() {
    World::with_plugin("qp-fixture-bad-manifest", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` broke the contract: the extension `.toy` of its format `toy` is empty, has \
             a leading dot or upper case",
            file_name("x")
        ),
        "Report this to the author of the plugin, with the output of `backends check`.",
    );
}

#[test]
fn a_file_that_is_no_library_is_refused_without_being_opened_as_one() {
    let world = World::with_toy();
    fs::write(world.plugins().join(file_name("toy")), "this is a text").unwrap();
    world.assert_refusal(
        &format!("`~/plugins/{}` is not a shared library", file_name("toy")),
        "Build the plugin again, or take the file out of the plugin folder.",
    );
    fs::write(world.plugins().join(file_name("toy")), "").unwrap();
    assert_eq!(
        world.plain(&world.refusal().one_line()),
        format!("`~/plugins/{}` is not a shared library", file_name("toy"))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_of_another_machine_is_refused_by_its_name() {
    let world = World::with_toy();
    let path = world.plugins().join(file_name("toy"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[18..20].copy_from_slice(&22_u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let here = std::env::consts::ARCH;
    world.assert_refusal(
        &format!("plugin `~/plugins/{}` is built for s390x, but this qp for {here}", file_name("toy")),
        &format!("Build the plugin for {here}."),
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_cut_short_is_refused_before_the_system_dies_of_it() {
    let world = World::with_toy();
    let path = world.plugins().join(file_name("toy"));
    let bytes = fs::read(&path).unwrap();
    for length in [4096, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        world.assert_refusal(
            &format!(
                "plugin `~/plugins/{}` is truncated: {length} of {} bytes",
                file_name("toy"),
                bytes.len()
            ),
            "Build the plugin again, or take the file out of the plugin folder.",
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_needs_another_is_refused_with_the_name_of_that() {
    let world = World::with_toy();
    let path = world.plugins().join(file_name("toy"));
    let mut bytes = fs::read(&path).unwrap();
    let needed = b"\0libc.so.6\0";
    let at = bytes.windows(needed.len()).position(|window| window == needed).unwrap();
    bytes[at + 4] = b'X';
    fs::write(&path, bytes).unwrap();
    world.assert_refusal(
        &format!(
            "cannot open the plugin `~/plugins/{}`: libX.so.6: cannot open shared object file: No such file or directory",
            file_name("toy")
        ),
        "Install the library that is missing, or build the plugin on this machine.",
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_refused() {
    let world = World::new();
    fs::create_dir_all(world.plugins()).unwrap();
    std::os::unix::fs::symlink("/nowhere", world.plugins().join(file_name("x"))).unwrap();
    world.assert_refusal(
        &format!("cannot read `~/plugins/{}`: no such file or directory", file_name("x")),
        "Check that the file exists and that you may read it.",
    );
}

#[test]
fn a_wrong_plugin_does_not_harm_the_others() {
    let world = World::with_toy();
    let fixtures = [
        "no-layout",
        "not-a-plugin",
        "other-abi-version",
        "other-layout",
        "panic-in-manifest",
        "panic-on-load",
    ];
    for fixture in fixtures {
        world.install(&format!("qp-fixture-{fixture}"), &fixture.replace('-', "_"));
    }
    let backends = world.discover();
    let broken = |state: &PluginState| matches!(state, PluginState::Broken(_));
    assert_eq!(backends.plugins().iter().filter(|entry| broken(&entry.state())).count(), fixtures.len());
    assert!(backends.inspect(&world.write("model.toy", TOY), &NoProgress).is_ok());
    let error = backends.runtime("other_layout").unwrap_err();
    assert!(error.message().ends_with("but its types have a different layout"), "{error}");
}
