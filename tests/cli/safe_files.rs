//! What qp reads and writes: nothing waits for a pipe, fills the memory, stays half written or lies about afterwards.
#![cfg(unix)]

use crate::support::onnx;
use crate::support::world::World;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes as long, on any machine.
const SOON: Duration = Duration::from_secs(60);

fn pipe(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs `qp` and gives up where it hangs; returns its exit code, output and messages.
fn run_soon(mut command: Command) -> (Option<i32>, String, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it hangs: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run(world: &World, commands: &str) -> (Option<i32>, String, String) {
    let mut command = world.qp();
    command.args(["-c", commands]);
    run_soon(command)
}

/// A pipe waits for its other end, a device has no end. Each place where qp looks for a file by itself, and each kind
/// that a user may name.
#[test]
fn a_pipe_and_an_endless_device_in_place_of_a_file_are_refused_at_once() {
    type Make = fn(&Path);
    let device: Make = |path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/dev/zero", path).unwrap();
    };
    for (make, what) in [(pipe as Make, "a named pipe"), (device, "a device")] {
        let world = World::new();
        std::fs::remove_file(world.path("models/qp.toml")).unwrap();
        make(&world.path("models/qp.toml"));
        make(&world.path("home/config/config.toml"));
        make(&world.path("home/cache/plugins.json"));
        make(&world.path("models/net.onnx"));
        let (code, output, talk) = run(&world, "open models");
        assert_eq!(code, Some(0), "{talk}");
        assert!(output.contains("resnet8.onnx") && !output.contains("net.onnx\n"), "{output}");
        let says = |name: &str, text: &str| {
            text.contains(&format!("{name}` is not a regular file"))
                && text.contains(&format!("it is {what}"))
        };
        assert!(says("config.toml", &talk), "{talk}");
        assert!(format!("{output}{talk}").contains("qp.toml"), "{output}{talk}");
        for (name, command) in [
            ("a.qp", "source NAME"),
            ("net.onnx", "load models/NAME"),
            ("a.npy", "input NAME"),
            ("a.npz", "input NAME:x"),
            ("a.png", "input NAME"),
            ("a.bin", "input NAME --dtype float32 --shape 1,3"),
            ("l.npz", "flips models/resnet8.onnx models/resnet8_int8.onnx --data NAME"),
            ("libqp_plugin_x.so", "backends check NAME"),
        ] {
            if name != "net.onnx" {
                make(&world.path(name));
            }
            let (code, _, talk) = run(&world, &command.replace("NAME", name));
            assert_eq!(code, Some(1), "{command}: {talk}");
            assert!(talk.contains("not a regular file"), "{command}: {talk}");
        }
        let mut script = world.qp();
        script.args(["run", "a.qp"]);
        let (code, _, talk) = run_soon(script);
        assert!(code == Some(1) && says("a.qp", &talk), "{talk}");
    }
}

#[test]
fn a_library_in_a_plugin_folder_that_is_a_pipe_is_a_broken_plugin() {
    let world = World::new();
    pipe(&world.path("plugins/libqp_plugin_x.so"));
    let mut command = world.qp();
    command.env("QP_PLUGINS", world.path("plugins")).args(["-c", "backends"]);
    let (code, output, talk) = run_soon(command);
    assert_eq!(code, Some(0), "{talk}");
    assert!(output.contains("is not a regular file"), "{output}");
}

/// Whoever may write to a folder of plugins may do all that the user may.
#[test]
fn a_plugin_that_others_could_have_put_there_is_not_opened() {
    let world = World::new();
    let library = crate::support::plugin::install("qp-plugin-toy", &world.path("plugins"), "toy");
    let listed = || {
        let mut command = world.qp();
        command.env("QP_PLUGINS", "plugins").args(["--format", "json", "-c", "backends"]);
        let (code, output, talk) = run_soon(command);
        assert_eq!(code, Some(0), "{talk}");
        let value: serde_json::Value = serde_json::from_str(&output).unwrap();
        value["plugins"][0].clone()
    };
    // A relative folder is one of the working folder at the start.
    let real = |path: &Path| path.canonicalize().unwrap().to_string_lossy().into_owned();
    let plugin = listed();
    assert_eq!(real(Path::new(plugin["path"].as_str().unwrap())), real(&library));
    assert!(Path::new(plugin["path"].as_str().unwrap()).is_absolute());
    assert_eq!(plugin["error"], serde_json::Value::Null);
    for (path, reason) in [
        (world.path("plugins"), "plugins` can be written by everybody"),
        (library, ".so` can be written by everybody"),
    ] {
        let before = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = &listed()["error"];
        assert_eq!(error["kind"], "Plugin");
        assert!(error["causes"][0].as_str().unwrap().ends_with(reason), "{error}");
        std::fs::set_permissions(&path, before).unwrap();
    }
}

/// `ulimit -f` sends a signal that ends the process, unless it is caught: then the write fails as on a full disk. Nothing
/// but qp prints, the library that writes archives neither.
#[test]
fn a_file_beyond_the_users_limit_is_an_error_and_leaves_nothing() {
    let world = World::new();
    let inputs = "input models/digits.npz:images[0:64]";
    for (command, file, blocks) in [
        ("plot o.png ranges".to_owned(), "o.png", 2),
        (format!("{inputs}; capture --save c.npz"), "c.npz", 8),
        (format!("{inputs}; capture --save c.safetensors"), "c.safetensors", 8),
        ("graph --dot g.dot".to_owned(), "g.dot", 2),
    ] {
        // The cache of plugins is written by a start without a limit.
        run(&world, "format");
        let qp = world.qp();
        let mut limited = Command::new("sh");
        limited.env_clear().envs(qp.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let line = format!("ulimit -f {blocks}; exec \"$0\" -c 'load models/resnet8.onnx; {command}'");
        limited.current_dir(world.path("")).args(["-c", &line]).arg(qp.get_program());
        let (code, _, talk) = run_soon(limited);
        assert_eq!(code, Some(1), "{command}: {talk}");
        let errors: Vec<&str> = talk.lines().filter(|line| line.contains("rror")).collect();
        assert!(matches!(errors[..], [one] if one.starts_with("error: cannot write")), "{talk}");
        assert!(talk.contains("file too large"), "{talk}");
        assert_eq!(names(&world.path("")), ["home", "models"], "{file}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Killed as soon as it writes. Random moments, 200 of each command, are in scripts/check/kill.py.
#[test]
fn what_a_killed_qp_leaves_is_gone_after_the_next_write() {
    let world = World::new();
    let start = || {
        let mut command = world.qp();
        command.args([
            "-c",
            "load models/resnet8.onnx; input models/digits.npz:images[0:8]; capture --save c.npz --force",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    assert!(start().wait().unwrap().success());
    let content = std::fs::read(world.path("c.npz")).unwrap();
    for _ in 0..3 {
        let mut child = start();
        let earlier = names(&world.path(""));
        while child.try_wait().unwrap().is_none() {
            let now = names(&world.path(""));
            if now.iter().any(|name| name.ends_with(".tmp") && !earlier.contains(name)) {
                child.kill().unwrap();
            }
        }
        assert_eq!(std::fs::read(world.path("c.npz")).unwrap().len(), content.len());
    }
    assert!(start().wait().unwrap().success());
    assert_eq!(names(&world.path("")), ["c.npz", "home", "models"]);
    assert_eq!(names(&world.path("home/cache")), ["plugins.json"]);
}

#[test]
fn of_several_models_those_that_load_are_kept_and_the_exit_code_tells_of_the_others() {
    let world = World::new();
    world.write("models/broken.onnx", "no model");
    let ran = world.run("load models/resnet8.onnx models/broken.onnx");
    assert_eq!(ran.code, 1);
    assert!(ran.output.contains("resnet8.onnx"), "{}", ran.output);
    assert_eq!(ran.error(), "1 of 2 models could not be loaded: `models/broken.onnx`");
    let mut session = crate::support::world::Repl::new(world.path("models"));
    session.line("load resnet8.onnx broken.onnx");
    assert!(session.line("cache").contains("resnet8.onnx"));
}

/// A shape of so many dimensions is the file's doing, not that of the plugin which reads it.
#[test]
fn a_shape_that_no_tensor_has_is_the_files_fault() {
    let world = World::new();
    let dimensions = vec![Ok(1); 3000];
    let io = [onnx::field(11, &onnx::value("x", &dimensions)), onnx::field(12, &onnx::value("y", &[Ok(1)]))]
        .concat();
    let relu = onnx::field(1, &onnx::node("n", "Relu", "", &["x"], &["y"]));
    world.write("value.onnx", onnx::model(&[relu, io].concat(), &[]));
    let tensor = onnx::field(5, &onnx::tensor("w", 1, &[1; 5000], &[0; 4]));
    world.write("tensor.onnx", onnx::model(&tensor, &[]));
    for (file, says) in
        [("value.onnx", "`x` has 3000 dimensions"), ("tensor.onnx", "`w` has 5000 dimensions")]
    {
        let ran = world.run_args(&["--format", "json", "-c", &format!("load {file}")]);
        let value: serde_json::Value = serde_json::from_str(&ran.output).unwrap();
        assert_eq!(value["error"]["kind"], "CorruptFile", "{value}");
        assert!(value["error"].to_string().contains(says), "{value}");
    }
}
