//! Runtimes that are found in Python environments: made-up ones, whose libraries are links to those that setup has
//! fetched, and whose Python is a script that counts its starts.

use crate::support::plugin::runtime_folders;
use crate::support::world::World;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str = "lib/python3.11/site-packages";
/// What the runs are: a model of each backend.
const RUNS: &str = "input random --shape 1,32,32,3; run models/resnet8.onnx; run models/resnet8_traced.pt";

/// The folder of an installed runtime.
fn runtime(name: &str) -> PathBuf {
    let entries = runtime_folders().into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    let found = paths.into_iter().find(|path| {
        path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)) && path.is_dir()
    });
    found.unwrap_or_else(|| panic!("no {name}: run scripts/setup.sh"))
}

fn link_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        symlink(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// An environment with both packages in `packages`, as pip lays them out.
fn install(packages: &Path) {
    link_all(&runtime("onnxruntime-").join("lib"), &packages.join("onnxruntime/capi"));
    link_all(&runtime("libtorch-").join("lib"), &packages.join("torch/lib"));
    fs::write(packages.join("torch/version.py"), "__all__ = ['__version__']\n__version__ = '2.13.0+cpu'\n")
        .unwrap();
}

/// A script in place of a Python. It answers that its packages are in `packages`.
fn python(path: &Path, packages: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = format!(
        "#!/bin/sh\necho \"$1\" >> '{0}.starts'\nprintf '{0}\\0{1}\\0'\n",
        path.display(),
        packages.display()
    );
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn starts(path: &Path) -> usize {
    let file = format!("{}.starts", path.display());
    fs::read_to_string(file).unwrap_or_default().lines().filter(|line| *line == "-I").count()
}

/// A `qp` that knows no folder of runtimes.
fn qp(world: &World) -> Command {
    let mut command = world.qp();
    command.env_remove("QP_RUNTIMES");
    command
}

fn json(command: &mut Command, commands: &str) -> Vec<Value> {
    let output = command.args(["--format", "json", "-c", commands]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    documents
}

/// The plugin of that id, as `backends` shows it.
fn shown(mut command: Command, id: &str) -> Value {
    let reports = json(&mut command, "backends");
    let plugins = reports[0]["plugins"].as_array().unwrap();
    plugins.iter().find(|plugin| plugin["id"] == id).unwrap()["runtime"].clone()
}

#[test]
fn the_active_environment_has_the_runtimes_of_a_run_and_its_python_is_not_started() {
    let world = World::new();
    let (environment, packages) = (world.path("venv"), world.path("venv").join(PACKAGES));
    let interpreter = environment.join("bin/python3");
    python(&interpreter, Path::new("/nowhere"));
    world.write("venv/pyvenv.cfg", "home = /usr/bin\n");
    install(&packages);
    let active = || {
        let mut command = qp(&world);
        command.env("VIRTUAL_ENV", &environment);
        command
    };
    let ran = json(&mut active(), RUNS);
    assert_eq!((&ran[1]["runtime"], &ran[2]["runtime"]), (&"ONNX Runtime".into(), &"libtorch".into()));
    for (id, place) in
        [("onnx", "onnxruntime/capi/libonnxruntime.so"), ("pytorch", "torch/lib/libtorch_cpu.so")]
    {
        let runtime = shown(active(), id);
        assert_eq!((&runtime["origin"], &runtime["obstacle"]), (&"virtual-env".into(), &Value::Null));
        let path = runtime["path"].as_str().unwrap();
        assert!(path.starts_with(packages.join(place).to_str().unwrap()), "{path}");
    }
    let mut conda = qp(&world);
    conda.env("CONDA_PREFIX", &environment);
    assert_eq!(shown(conda, "pytorch")["origin"], "conda-env");
    // What the user names goes first.
    let mut named = world.qp();
    named.env("VIRTUAL_ENV", &environment);
    assert_eq!(shown(named, "pytorch")["origin"], "variable");
    assert_eq!(starts(&interpreter), 0);
}

#[test]
fn the_python_on_the_path_is_asked_once_and_not_before_it_is_needed() {
    let world = World::new();
    let interpreter = world.path("usr/bin/python3");
    python(&interpreter, &world.path("packages"));
    install(&world.path("packages"));
    let on_path = || {
        let mut command = qp(&world);
        command.env("PATH", interpreter.parent().unwrap());
        command
    };
    let looked = json(&mut on_path(), "open models; load all; summary; layers resnet8.onnx");
    assert_eq!(starts(&interpreter), 0);
    let obstacle = &looked[2]["runtimes"][0]["obstacle"];
    assert_eq!(obstacle["message"], "the first run will search the Python environment for ONNX Runtime");
    json(&mut on_path(), RUNS);
    assert_eq!(starts(&interpreter), 1);
    // Another process knows by now.
    assert_eq!(json(&mut on_path(), "open models; summary")[1]["runtimes"][0]["obstacle"], Value::Null);
    assert_eq!(shown(on_path(), "onnx")["origin"], "path-python");
    json(&mut on_path(), RUNS);
    assert_eq!(starts(&interpreter), 1);
}

/// The first line of the error, and the hint.
fn refusal(mut command: Command, model: &str) -> (String, String) {
    let commands = format!("input random --shape 1,32,32,3; run models/{model}");
    let output = command.args(["-c", &commands]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8(output.stderr).unwrap();
    let error = talk.split("error: ").nth(1).unwrap();
    let (error, hint) = error.split_once("hint: ").unwrap();
    (error.to_owned(), hint.to_owned())
}

#[test]
fn packages_of_versions_that_do_not_fit_are_named_with_what_to_do() {
    let world = World::new();
    let packages = world.path("venv").join(PACKAGES);
    python(&world.path("venv/bin/python3"), &packages);
    world.write("venv/pyvenv.cfg", "");
    install(&packages);
    fs::write(packages.join("torch/version.py"), "__version__ = '2.9.1+cpu'\n").unwrap();
    fs::remove_dir_all(packages.join("onnxruntime/capi")).unwrap();
    fs::write(packages.join("onnxruntime/__init__.py"), "__version__ = \"1.16.3\"\n").unwrap();
    for (model, message, cause, hint) in [
        (
            "resnet8_traced.pt",
            "libtorch 2.13.0, for which the engine is built, was not found",
            format!("`{}` is libtorch 2.9.1", packages.join("torch/lib/libtorch_cpu.so").display()),
            "`pip install torch==2.13.0`",
        ),
        (
            "resnet8.onnx",
            "ONNX Runtime 1.17.0 or a later 1.x was not found",
            format!("`{}` is ONNX Runtime 1.16.3", packages.join("onnxruntime").display()),
            "`pip install --upgrade onnxruntime`",
        ),
    ] {
        let mut command = qp(&world);
        command.env("VIRTUAL_ENV", world.path("venv"));
        let (error, told) = refusal(command, model);
        assert!(error.contains(message) && error.contains(&cause) && told.contains(hint), "{error} {told}");
    }
}

#[test]
fn what_others_can_write_is_neither_started_nor_searched_nor_loaded() {
    let world = World::new();
    let (environment, packages) = (world.path("venv"), world.path("venv").join(PACKAGES));
    let interpreter = environment.join("bin/python3");
    python(&interpreter, &packages);
    world.write("venv/pyvenv.cfg", "");
    install(&packages);
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (place, fate) in [
        (interpreter.parent().unwrap().to_owned(), "is not asked"),
        (packages.clone(), "is not searched"),
        (packages.join("onnxruntime"), "is not trusted"),
        (packages.join("onnxruntime/capi"), "is not trusted"),
    ] {
        open(&place, 0o777);
        let mut command = qp(&world);
        command.env("VIRTUAL_ENV", &environment);
        let (error, _) = refusal(command, "resnet8.onnx");
        let reason = format!("`{}` can be written by everybody", place.display());
        assert!(error.contains(fate) && error.contains(&reason), "{error}");
        open(&place, 0o755);
    }
    // The second place was left out, so that the interpreter was asked what else there is; it named the same again.
    assert_eq!(starts(&interpreter), 1);
}
