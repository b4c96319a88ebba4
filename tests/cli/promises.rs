//! What qp promises of itself, looked up in the running process.

use crate::support::onnx;
use crate::support::world::{World, open_files};

const RUNTIME_LIBRARIES: [&str; 3] = ["libonnxruntime", "libtorch", "libc10"];

#[test]
fn inspection_maps_no_runtime_and_the_first_run_maps_its_own_only() {
    let world = World::new();
    let mut session = world.session();
    for command in
        ["open models", "load all", "summary", "info resnet8_int8.pt", "layers resnet8_int8.onnx", "backends"]
    {
        session.command(command);
    }
    let maps = session.proc_file("maps");
    assert!(RUNTIME_LIBRARIES.iter().all(|library| !maps.contains(library)), "{maps}");
    session.command("use resnet8.onnx");
    session.command("input models/digits.npz:images[0]");
    session.command("run");
    let maps_of = |worker: &u32| std::fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
    let [worker] = session.workers()[..] else { panic!("{:?}", session.workers()) };
    let maps = maps_of(&worker);
    assert!(maps.contains("libonnxruntime") && !maps.contains("libtorch"), "{maps}");
    session.command("run resnet8_int8.pt");
    let maps: Vec<String> = session.workers().iter().map(maps_of).collect();
    let with = |library: &str| maps.iter().filter(|maps| maps.contains(library)).count();
    assert_eq!((maps.len(), with("libonnxruntime"), with("libtorch_cpu")), (2, 1, 1));
    // None of it is in the session's own process.
    let maps = session.proc_file("maps");
    assert!(RUNTIME_LIBRARIES.iter().all(|library| !maps.contains(library)), "{maps}");
}

/// The whole length, 1,000 rounds, is in scripts/bench/memory.sh; a leak of one model shows in these too.
fn growth_kib(file: &str, rounds: u32) -> i64 {
    let world = World::new();
    let mut session = world.session();
    session.command("open models");
    session.command("use resnet8.onnx");
    session.command("input models/digits.npz:images[0]");
    let mut round = |count: u32| {
        for _ in 0..count {
            session.command(&format!("load {file}"));
            let ran = session.command(&format!("run {file}"));
            assert!(ran["outputs"].is_array(), "{ran}");
            session.command(&format!("unload {file}"));
        }
        session.resident_kib() as i64
    };
    let before = round(rounds / 4);
    round(rounds) - before
}

#[test]
fn loading_running_and_unloading_onnx_models_does_not_grow() {
    let growth = growth_kib("resnet8_int8.onnx", 200);
    assert!(growth < 5 * 1024, "{growth} KiB");
}

#[test]
fn loading_running_and_unloading_torchscript_models_does_not_grow() {
    let growth = growth_kib("resnet8_int8.pt", 40);
    assert!(growth < 5 * 1024, "{growth} KiB");
}

/// A weight of zeros that takes no room on the disk.
#[test]
fn what_was_read_of_a_large_model_is_given_back() {
    const ELEMENTS: u64 = 48 << 20;
    let world = World::new();
    let path = world.write("weight.bin", "");
    std::fs::File::options().write(true).open(path).unwrap().set_len(4 * ELEMENTS).unwrap();
    let place = onnx::field(13, &[onnx::text(1, "location"), onnx::text(2, "weight.bin")].concat());
    let weight = [onnx::tensor("w", 1, &[ELEMENTS], &[]), place, onnx::int(14, 1)].concat();
    let node = onnx::node("add", "Add", "", &["x", "w"], &["y"]);
    let graph = [onnx::field(1, &node), onnx::text(2, "g"), onnx::field(5, &weight)].concat();
    world.write("large.onnx", onnx::model(&graph, &[]));
    let mut session = world.session();
    session.command("load large.onnx");
    let before = session.most_resident_kib();
    assert_eq!(session.command("stats large.onnx")["tensors"][0]["zeros"], ELEMENTS);
    session.command("ranges large.onnx");
    assert_eq!(session.command("diff large.onnx large.onnx")["tensors"]["same"], 1);
    let growth = session.most_resident_kib() - before;
    assert!(growth < 96 << 10, "{growth} KiB");
}

#[test]
fn nothing_is_written_outside_the_home() {
    let world = World::new();
    let before: Vec<_> = walk(&world.path("models"));
    world.run("open models; load all; summary; use resnet8.onnx; input random; run; run resnet8_traced.pt");
    assert_eq!(walk(&world.path("models")), before);
    let mut top: Vec<_> =
        std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    top.sort();
    assert_eq!(top, ["home", "models"]);
}

/// Native runtimes have habits of their own: caches, device ids, reports. The environment is that of a user who has
/// set nothing; 30 seconds of it, with every system call, are in scripts/check/quiet.py.
#[test]
fn no_runtime_writes_in_the_home_or_opens_a_socket() {
    for model in ["resnet8.onnx", "resnet8_traced.pt", "resnet8.pt"] {
        let world = World::new();
        for folder in ["home", "tmp"] {
            std::fs::create_dir(world.path(folder)).unwrap();
        }
        let models = tree(&world.path("models"));
        let mut command = world.qp();
        command.env_remove("QP_HOME").env("HOME", world.path("home")).env("TMPDIR", world.path("tmp"));
        let mut session = crate::support::world::Session::of(command);
        session.command(&format!("use models/{model}"));
        session.command("input random --shape 1,32,32,3");
        let ran = session.command("run");
        assert!(ran["outputs"].is_array(), "{ran}");
        // ONNX Runtime, not silenced, asks for a name within some milliseconds of the first environment.
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_secs(1) {
            let processes = session.workers().into_iter().chain([session.id()]);
            let files: Vec<String> = processes.flat_map(open_files).collect();
            let others: Vec<&String> = files.iter().filter(|file| is_socket_to_others(file)).collect();
            assert!(others.is_empty(), "{model}: {others:?}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        drop(session);
        let expected = [".cache", ".cache/qp", ".cache/qp/plugins.json"];
        assert_eq!(tree(&world.path("home")), expected, "{model}");
        assert_eq!(tree(&world.path("tmp")), [""; 0], "{model}");
        assert_eq!(tree(&world.path("models")), models, "{model}");
    }
}

/// Whether a file is a socket, and not one of the pairs without a name between a session and its workers.
fn is_socket_to_others(file: &str) -> bool {
    let Some(inode) = file.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let unix = std::fs::read_to_string("/proc/net/unix").unwrap();
    // Num RefCount Protocol Flags Type St Inode, and a path if it has one.
    !unix.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() == 7 && fields.get(6) == Some(&inode)
    })
}

/// All that is below a folder, sorted.
fn tree(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            if path.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

fn walk(folder: &std::path::Path) -> Vec<(std::ffi::OsString, u64, std::time::SystemTime)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            (entry.file_name(), metadata.len(), metadata.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}
