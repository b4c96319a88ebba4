//! Loading plugins: what a good one gives, and the exact words for every wrong one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use qp::backend::{BackendConfig, Backends, Fetch, NoProgress, PluginState, Progress, RunOptions};
use qp::error::{Error, ErrorKind};
use qp::model::{DType, Tensor};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::plugin::{file_name, install, library};
use tempfile::TempDir;

const TOY: &str = "\
toy 1
input x float32 N,3
tensor w int8 3 scale=0.5 zero_point=1 = 3 1 -1
layer fc.mul Mul x w -> h
layer fc.relu Relu h -> a
layer fc.round Quantize a -> y scale=0.25 zero_point=-128
output y
";

/// A folder with plugins and one with models.
struct World {
    folder: TempDir,
    config: BackendConfig,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            BackendConfig { plugin_folders: vec![folder.path().join("plugins")], ..BackendConfig::default() };
        Self { folder, config }
    }

    fn with_plugin(package: &str, name: &str) -> Self {
        let world = Self::new();
        world.install(package, name);
        world
    }

    fn with_toy() -> Self {
        Self::with_plugin("qp-plugin-toy", "toy")
    }

    fn plugins(&self) -> &Path {
        &self.config.plugin_folders[0]
    }

    fn install(&self, package: &str, name: &str) -> PathBuf {
        install(package, self.plugins(), name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn toy(&self, misbehaviour: &str) -> PathBuf {
        self.write("model.toy", format!("{TOY}misbehave {misbehaviour}\n"))
    }

    fn discover(&self) -> Backends {
        Backends::discover(self.config.clone())
    }

    /// A text with this world's own folders taken out.
    fn plain(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "~")
    }

    /// Why the only plugin is broken.
    fn refusal(&self) -> Error {
        let backends = self.discover();
        match backends.plugins() {
            [entry] => match entry.state() {
                PluginState::Broken(error) => error,
                state => panic!("{} is {state:?}", entry.id()),
            },
            entries => panic!("{} plugins", entries.len()),
        }
    }

    fn assert_refusal(&self, line: &str, hint: &str) -> Error {
        let error = self.refusal();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(self.plain(&error.one_line()), line);
        assert_eq!(error.hints(), [hint]);
        error
    }
}

/// Three numbers for the input `x`.
fn input(numbers: [f32; 3]) -> Tensor {
    Tensor {
        name: "x".into(),
        dtype: DType::FLOAT32,
        shape: vec![1, 3],
        bytes: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        quantization: None,
    }
}

#[test]
fn two_plugins_are_two_plugins() {
    // `PluginRef::load_from_file` would give the first one's manifest for both.
    let world = World::with_toy();
    world.install("qp-fixture-same-format", "rival");
    let backends = world.discover();
    let ids: Vec<_> = backends.plugins().iter().map(|entry| (entry.id(), entry.version())).collect();
    assert_eq!(ids, [("rival", Some("9.0.0")), ("toy", Some(env!("CARGO_PKG_VERSION")))]);
    assert!(backends.plugins().iter().all(|entry| entry.state() == PluginState::Loaded));
}

#[test]
fn a_model_is_recognized_inspected_opened_read_and_run() {
    let world = World::with_toy();
    let backends = world.discover();
    let path = world.write("model.toy", TOY);
    assert!(backends.could_be_model(&path) && !backends.could_be_model(Path::new("x.txt")));

    let recognized = backends.recognize(&path).unwrap();
    assert_eq!((recognized.backend.as_str(), recognized.format.as_str()), ("toy", "toy"));
    let info = backends.inspect(&path, &NoProgress).unwrap();
    assert_eq!((info.layer_count(), info.parameter_count()), (3, 3));
    assert_eq!(info.quantized_share(), Some(1.0));

    let session = backends.open(&path, &NoProgress).unwrap();
    assert_eq!(*session.info(), info);
    let weight = session.read_whole_tensor("w", &NoProgress).unwrap();
    assert_eq!(weight.bytes, [3, 1, 0xff]);
    assert_eq!(weight.quantization.unwrap().zero_points, [1.0]);

    // w = (q - 1) · 0.5 = [1, 0, -1].
    let outcome =
        session.run(&[input([1.0, 2.0, -3.0])], &Fetch::Outputs, &RunOptions::new(), &NoProgress).unwrap();
    assert_eq!(outcome.tensors.len(), 1);
    assert_eq!(outcome.tensors[0].name, "y");
    // Relu gives [1, 0, 3]; codes are 4 and 12 steps of 0.25 above -128.
    assert_eq!(
        outcome.tensors[0].bytes.iter().map(|byte| *byte as i8).collect::<Vec<_>>(),
        [-124, -128, -116]
    );
    assert_eq!(outcome.report.runtime, "toy");

    let captured =
        session.run(&[input([1.0, 2.0, -3.0])], &Fetch::Layers, &RunOptions::new(), &NoProgress).unwrap();
    let names: Vec<_> = captured.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["h", "a", "y"]);
    assert!(backends.runtime("toy").unwrap().obstacle.is_none());
}

#[test]
fn a_library_without_a_root_module_is_no_plugin() {
    World::with_plugin("qp-fixture-not-a-plugin", "x").assert_refusal(
        &format!("`~/plugins/{}` is no qp plugin: it exports no root module", file_name("x")),
        "Export the backend with `qp_abi::export_plugin!`, or take the file out of the plugin folder.",
    );
}

#[test]
fn another_plugin_abi_is_refused_by_both_versions_before_any_layout() {
    let wanted = qp_abi::ABI_VERSION;
    let error = World::with_plugin("qp-fixture-other-abi-version", "x").assert_refusal(
        &format!(
            "plugin `~/plugins/{}` was built for plugin ABI 9.9.9, this qp wants {wanted}",
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
            "plugin `~/plugins/{}` says plugin ABI {}, but its types have another layout",
            file_name("x"),
            qp_abi::ABI_VERSION
        ),
        "Build the plugin against the qp-abi of this qp, with the same abi_stable.",
    );
    assert!(error.detail().unwrap().lines().count() > 20);
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
        &format!("`~/plugins/{}` is no shared library", file_name("toy")),
        "Build the plugin again, or take the file out of the plugin folder.",
    );
    fs::write(world.plugins().join(file_name("toy")), "").unwrap();
    assert_eq!(
        world.plain(&world.refusal().one_line()),
        format!("`~/plugins/{}` is no shared library", file_name("toy"))
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
        &format!("plugin `~/plugins/{}` is built for s390x, this qp for {here}", file_name("toy")),
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
                "plugin `~/plugins/{}` is cut short: {length} of {} bytes",
                file_name("toy"),
                bytes.len()
            ),
            "Build the plugin again, or take the file out of the plugin folder.",
        );
    }
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
    for fixture in ["not-a-plugin", "other-abi-version", "other-layout", "panic-in-manifest", "panic-on-load"]
    {
        world.install(&format!("qp-fixture-{fixture}"), &fixture.replace('-', "_"));
    }
    let backends = world.discover();
    let broken = |state: &PluginState| matches!(state, PluginState::Broken(_));
    assert_eq!(backends.plugins().iter().filter(|entry| broken(&entry.state())).count(), 5);
    assert!(backends.inspect(&world.write("model.toy", TOY), &NoProgress).is_ok());
    let error = backends.runtime("other_layout").unwrap_err();
    assert!(error.message().ends_with("but its types have another layout"), "{error}");
}

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
    assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
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
    assert_eq!(world.plain(error.message()), "`~/x.gguf` is of no format that a plugin reads");
    assert_eq!(error.hints(), ["Use a file of one of these formats: toy (.toy)."]);
    // Without its extension a file is known by its first bytes.
    assert_eq!(backends.recognize(&world.write("model", TOY)).unwrap().backend, "toy");
    let error = backends.recognize(&world.folder.path().join("missing.toy")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(backends.recognize(world.folder.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

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
    assert_eq!(world.discover().plugins()[0].version(), Some(env!("CARGO_PKG_VERSION")));
    replace_toy(&world);
    assert_eq!(world.discover().plugins()[0].version(), Some("9.0.0"));
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

#[test]
fn a_library_that_is_replaced_while_it_is_open_is_not_mistaken_for_the_new_one() {
    let world = World::with_toy();
    world.discover();
    replace_toy(&world);
    world.assert_refusal(
        &format!("plugin `~/plugins/{}` has changed since this qp opened it", file_name("toy")),
        "Start qp again.",
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

#[test]
fn a_backend_that_cannot_be_made_is_broken_from_then_on() {
    let mut world = World::with_toy();
    let way = BTreeMap::from([("misbehave".to_owned(), "panic-in-create".to_owned())]);
    world.config.settings = BTreeMap::from([("toy".to_owned(), way)]);
    let backends = world.discover();
    for _ in 0..2 {
        let error = backends.runtime("toy").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(error.message(), "plugin `toy` panicked: asked to panic-in-create");
    }
    assert!(matches!(backends.plugins()[0].state(), PluginState::Broken(_)));
}

#[test]
fn an_inspection_that_breaks_the_contract_is_a_clean_error() {
    let world = World::with_toy();
    let backends = world.discover();
    for (way, kind, message) in [
        ("panic-in-inspect", ErrorKind::Internal, "plugin `toy` panicked: asked to panic-in-inspect"),
        ("error-kind-unknown", ErrorKind::Internal, "plugin `toy` failed: the moon is in the wrong phase"),
        ("error-without-message", ErrorKind::Internal, "plugin `toy` failed and did not say why"),
        (
            "duplicate-names",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: it lists the layer `fc.mul` twice",
        ),
        ("empty-name", ErrorKind::Plugin, "plugin `toy` broke the contract: it lists a layer without a name"),
        (
            "wrong-size",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: its tensor `w`, int8 [3], is said to have 4 bytes",
        ),
        (
            "negative-dimension",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: its tensor `w` has a negative dimension: [-1]",
        ),
        (
            "wrong-format",
            ErrorKind::Plugin,
            "plugin `toy` broke the contract: it describes a model of the format `game`, which its manifest \
             does not have",
        ),
    ] {
        let error = backends.inspect(&world.toy(way), &NoProgress).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message), "{way}");
    }
    let error = backends.open(&world.toy("panic-in-open"), &NoProgress).err().unwrap();
    assert_eq!(error.message(), "plugin `toy` panicked: asked to panic-in-open");
    // The backend goes on.
    assert!(backends.inspect(&world.write("model.toy", TOY), &NoProgress).is_ok());
}

#[test]
fn a_session_that_breaks_the_contract_gives_clean_errors_and_goes_on() {
    let world = World::with_toy();
    let backends = world.discover();
    let broke = |what: &str| (ErrorKind::Plugin, format!("plugin `toy` broke the contract: {what}"));
    for (way, (kind, message)) in [
        ("panic-in-read", (ErrorKind::Internal, "plugin `toy` panicked: asked to panic-in-read".to_owned())),
        ("short-bytes", broke("it stopped 1 elements before the end of the tensor `w`")),
        ("long-bytes", broke("it delivered 4 bytes of the tensor `w` where 3 are due")),
        ("gap", broke("it continued the tensor `w` at element 2 where 1 is due")),
        ("twice", broke("it delivered the tensor `w` twice")),
        ("other-name", broke("it delivered the tensor `other` where `w` is due")),
        ("other-shape", broke("it describes the tensor `w` as int8 [3] and delivers int8 [1, 1, 3]")),
        ("silent", broke("it did not deliver the tensor `w`")),
    ] {
        let session = backends.open(&world.toy(way), &NoProgress).unwrap();
        for _ in 0..2 {
            let error = session.read_whole_tensor("w", &NoProgress).unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, message.as_str()), "{way}");
        }
        assert_eq!(session.info().layer_count(), 3);
    }
    for (way, message) in [
        ("panic-in-run", "plugin `toy` panicked: asked to panic-in-run"),
        ("panic-with-no-text", "plugin `toy` panicked: no message"),
    ] {
        let session = backends.open(&world.toy(way), &NoProgress).unwrap();
        let run = || session.run(&[input([1.0; 3])], &Fetch::Outputs, &RunOptions::new(), &NoProgress);
        assert_eq!(run().unwrap_err().message(), message, "{way}");
        assert_eq!(run().unwrap_err().message(), message, "{way}");
        assert_eq!(session.read_whole_tensor("w", &NoProgress).unwrap().bytes.len(), 3);
    }
}

#[test]
fn a_destructor_that_panics_is_not_noticed() {
    let world = World::with_toy();
    let backends = world.discover();
    drop(backends.open(&world.toy("panic-in-drop"), &NoProgress).unwrap());
    assert!(backends.open(&world.write("model.toy", TOY), &NoProgress).is_ok());
}

#[test]
fn the_hosts_refusal_of_a_tensor_counts_even_if_the_plugin_ignores_it() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.toy("ignore-refusal"), &NoProgress).unwrap();
    let enough = Error::state("seen enough");
    let error = session.read_tensor("w", &mut |_| Err(enough.clone()), &NoProgress).unwrap_err();
    assert_eq!(error, enough);
}

#[test]
fn wrong_inputs_and_names_are_told_apart() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.write("model.toy", TOY), &NoProgress).unwrap();
    let run = |input: Tensor, fetch: &Fetch, options: &RunOptions| {
        session.run(&[input], fetch, options, &NoProgress).map(|_| ()).unwrap_err()
    };
    let (outputs, none) = (Fetch::Outputs, RunOptions::new());
    let short = Tensor { bytes: vec![0; 5], ..input([0.0; 3]) };
    assert_eq!(
        run(short, &outputs, &none).message(),
        "input `x` has 5 bytes, which does not fit float32 [1, 3]"
    );
    let other = Tensor { name: "z".into(), ..input([0.0; 3]) };
    assert_eq!(run(other, &outputs, &none).message(), "the model has no input `z`");
    let unknown = Fetch::Named(vec!["nowhere".into()]);
    assert_eq!(run(input([0.0; 3]), &unknown, &none).kind(), ErrorKind::NotFound);
    let options = RunOptions::from([("warp".to_owned(), "9".to_owned())]);
    assert_eq!(run(input([0.0; 3]), &outputs, &options).kind(), ErrorKind::InvalidInput);
    assert_eq!(session.read_whole_tensor("v", &NoProgress).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Asks to stop after some updates.
struct StopAfter(AtomicU32);

impl Progress for StopAfter {
    fn update(&self, _stage: &str, _done: u64, _total: u64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn slow_work_is_cancelled_within_a_moment() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.toy("slow"), &NoProgress).unwrap();
    let start = Instant::now();
    let error = session.read_whole_tensor("w", &StopAfter(AtomicU32::new(3))).unwrap_err();
    assert_eq!(error, Error::cancelled());
    let stop = StopAfter(AtomicU32::new(3));
    let error = session.run(&[input([1.0; 3])], &Fetch::Outputs, &RunOptions::new(), &stop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_session_is_shared_by_threads() {
    let world = World::with_toy();
    let backends = world.discover();
    let session = backends.open(&world.write("model.toy", TOY), &NoProgress).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let session = &session;
            scope.spawn(move || {
                let given = input([f32::from(number), 0.0, 0.0]);
                let fetch = Fetch::Named(vec!["h".into()]);
                let outcome = session.run(&[given], &fetch, &RunOptions::new(), &NoProgress).unwrap();
                assert_eq!(outcome.tensors[0].bytes[..4], f32::from(number).to_le_bytes());
                assert_eq!(session.read_whole_tensor("w", &NoProgress).unwrap().bytes.len(), 3);
            });
        }
    });
}

#[test]
fn every_plugin_library_is_built_with_the_tests() {
    for package in ["qp-plugin-toy", "qp-plugin-onnx", "qp-plugin-pytorch"] {
        library(package);
    }
}
