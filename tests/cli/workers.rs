//! Native runtimes in processes of their own: what is left when one ends. Each test ends real workers.
#![cfg(target_os = "linux")]

use crate::support::onnx::{field, int, model, node, tensor, text, value};
use crate::support::world::{Session, World, workers};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A model that divides the lowest number by -1, which x86 answers with SIGFPE; where the processor does not, the run succeeds.
fn lowest_by_minus_one(world: &World, name: &str) {
    let int32 = |name: &str, value: i32| {
        [int(1, 1), int(2, 6), text(8, name), field(9, &value.to_le_bytes())].concat()
    };
    let typed = |name: &str, kind: u64| {
        let shape = field(1, &int(1, 1));
        [text(1, name), field(2, &field(1, &[int(1, kind), field(2, &shape)].concat()))].concat()
    };
    let graph = [
        field(
            1,
            &node("cast", "Cast", "", &["x"], &["zero"]).into_iter().chain(to_int32()).collect::<Vec<u8>>(),
        ),
        field(1, &node("sub", "Mul", "", &["zero", "none"], &["nothing"])),
        field(1, &node("low", "Add", "", &["nothing", "lowest"], &["a"])),
        field(1, &node("div", "Div", "", &["a", "minus"], &["y"])),
        text(2, "g"),
        field(5, &int32("none", 0)),
        field(5, &int32("lowest", i32::MIN)),
        field(5, &int32("minus", -1)),
        field(11, &typed("x", 1)),
        field(12, &typed("y", 6)),
    ]
    .concat();
    world.write(name, model(&graph, &[]));
}

/// The attribute `to` = int32 of a Cast.
fn to_int32() -> Vec<u8> {
    field(5, &[text(1, "to"), int(3, 6), int(20, 2)].concat())
}

/// Kills a process and waits until it has ended.
fn kill(process: u32) {
    Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
    while lives(process) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn lives(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The first thread may have ended before the others.
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')) || threads > 1
}

/// A session with these models, and the outputs of the first.
fn loaded(world: &World, models: &str) -> (Session, Value) {
    let mut session = world.session();
    session.command(&format!("load {models}"));
    let before = outputs(&mut session);
    (session, before)
}

fn outputs(session: &mut Session) -> Value {
    session.command("use models/resnet8.onnx");
    session.command("input models/digits.npz:images[0:4]");
    session.command("run")["outputs"].clone()
}

#[test]
fn a_crash_ends_one_command_with_one_line() {
    let world = World::new();
    lowest_by_minus_one(&world, "low.onnx");
    let mut session = world.session();
    session.command("load models/resnet8.onnx low.onnx");
    let before = outputs(&mut session);
    session.command("use low.onnx");
    session.command("input random");
    // Elsewhere processors divide so without a signal.
    if cfg!(target_arch = "x86_64") {
        (0..3).for_each(|_| session.send("expect-error RuntimeFailed run"));
        let ran = world.run("use low.onnx; input random; run");
        assert!(
            ran.error().starts_with("ONNX Runtime crashed in the layer `div` of `low.onnx`: SIGFPE"),
            "{}",
            ran.talk
        );
        assert_eq!(ran.hint(), "The session is as it was; the next run starts the runtime again.");
    }
    assert_eq!(outputs(&mut session), before);
    assert!(before.is_array() || before.is_object(), "{before}");
}

#[test]
fn both_ways_give_the_same() {
    let world = World::new();
    let commands = "load models/resnet8.onnx models/resnet8_int8.onnx models/resnet8.pt; input models/digits.npz:images[0:8]; \
                    run models/resnet8.onnx models/resnet8_int8.onnx models/resnet8.pt --save out.npz --force; \
                    compare models/resnet8.onnx models/resnet8_int8.onnx --json; \
                    kernels models/resnet8_int8.onnx --json";
    let with = |isolation: &str| {
        let output = world.qp().env("QP_ISOLATION", isolation).args(["-q", "-c", commands]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(!lines.is_empty(), "{text}");
        (lines, std::fs::read(world.path("out.npz")).unwrap())
    };
    assert!(with("worker") == with("none"));
}

/// 64 samples have 40 MB of values: more than a worker may have delivered before they are taken.
#[test]
#[cfg(target_os = "linux")]
fn a_worker_computes_ahead_and_a_command_that_needs_none_gives_the_memory_back() {
    let world = World::new();
    let captured = |isolation: &str| {
        let mut qp = world.qp();
        qp.env("QP_ISOLATION", isolation);
        let mut session = Session::of(qp);
        session.command("load models/resnet8.onnx");
        session.command("input models/digits.npz:images[0:64]");
        session.command("capture --save values.npz --batch 64 --force");
        // A command that fills none, to its end: its result comes before that.
        session.command("cache");
        session.command("cache");
        let status = session.proc_file("status");
        let shared = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).unwrap();
        let shared: u64 = shared.trim().trim_end_matches(" kB").parse().unwrap();
        (std::fs::read(world.path("values.npz")).unwrap(), shared)
    };
    let (alone, _) = captured("none");
    let (found, shared) = captured("worker");
    assert!(alone.len() > 35_000_000 && found == alone, "{} {}", found.len(), alone.len());
    // Two of 32 MiB, and the inputs.
    assert!(shared < 6000, "{shared} kB");
}

/// The codes of a changed weight are too many for the socket: they go to each worker through memory.
#[test]
fn changes_of_large_weights_reach_every_new_worker() {
    const SIZE: u64 = 1024;
    let world = World::new();
    let weights: Vec<u8> = (0..SIZE * SIZE)
        .flat_map(|index| (((index * 7919 % 2003) as f32 - 1001.0) / 8192.0).to_le_bytes())
        .collect();
    let graph = [
        field(1, &node("fc", "MatMul", "", &["x", "w"], &["y"])),
        text(2, "g"),
        field(5, &tensor("w", 1, &[SIZE, SIZE], &weights)),
        field(11, &value("x", &[Ok(1), Ok(SIZE)])),
        field(12, &value("y", &[Ok(1), Ok(SIZE)])),
    ]
    .concat();
    world.write("large.onnx", model(&graph, &[]));
    let changed = |isolation: &str| {
        let mut qp = world.qp();
        qp.env("QP_ISOLATION", isolation);
        let mut session = Session::of(qp);
        session.command("load large.onnx");
        session.command("input random --seed 1");
        session.command("quantize large.onnx --out large_int8.onnx --force");
        session.command("scale fc.weight 0.9 --model large_int8.onnx");
        (session.command("run large_int8.onnx*")["outputs"].clone(), session)
    };
    let (expected, _) = changed("none");
    let (found, mut session) = changed("worker");
    assert!(expected.is_array() && found == expected, "{found} {expected}");
    // To change a model takes no runtime.
    assert!(!session.proc_file("maps").contains("libonnxruntime"));
    // Results, inputs and the changes.
    assert_eq!(session.proc_file("maps").matches("memfd:qp").count(), 3);
    for worker in workers(session.id()) {
        kill(worker);
    }
    assert_eq!(session.command("run large_int8.onnx*")["outputs"], expected);
    assert_eq!(workers(session.id()).len(), 1);
}

#[test]
fn a_worker_that_ends_while_it_has_nothing_to_do_is_replaced_and_leaves_nothing() {
    let world = World::new();
    let (mut session, before) = loaded(&world, "models/resnet8.onnx");
    session.command("run");
    let state = |session: &Session| {
        let own = session.open_files().len();
        let maps = session.proc_file("maps").matches("memfd:qp").count();
        let threads =
            session.proc_file("status").lines().find(|line| line.starts_with("Threads")).unwrap().to_owned();
        (own, maps, threads)
    };
    let at_first = state(&session);
    for _ in 0..20 {
        let found = workers(session.id());
        assert_eq!(found.len(), 1, "{found:?}");
        kill(found[0]);
        assert_eq!(session.command("run")["outputs"], before);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(state(&session), at_first);
}

/// PyTorch's plugin does not ask to be told that no run follows; its worker is idle between commands all the same.
#[test]
fn a_worker_of_any_plugin_that_ends_between_commands_is_replaced() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8_traced.pt");
    session.command("use models/resnet8_traced.pt");
    session.command("input models/digits.npz:images[0:4]");
    let before = session.command("run")["outputs"].clone();
    assert!(before.is_array(), "{before}");
    for _ in 0..3 {
        workers(session.id()).into_iter().for_each(kill);
        assert_eq!(session.command("run")["outputs"], before);
    }
}

/// A killed process dies when the system gets to it; one that is stopped dies for certain after the run was sent to it.
#[test]
fn a_worker_that_dies_before_it_takes_a_run_up_is_replaced() {
    let world = World::new();
    let (mut session, before) = loaded(&world, "models/resnet8.onnx");
    let worker = workers(session.id())[0];
    Command::new("kill").args(["-STOP", &worker.to_string()]).status().unwrap();
    session.send("run");
    std::thread::sleep(Duration::from_millis(500));
    kill(worker);
    assert_eq!(session.next("run")["outputs"], before);
    assert_ne!(workers(session.id())[0], worker);
}

#[test]
fn a_worker_that_is_killed_in_a_long_command_ends_that_command() {
    let world = World::new();
    let (mut session, before) = loaded(&world, "models/resnet8.onnx models/resnet8_int8.onnx");
    for line in ["run --repeat 100000", "bench --rounds 10000"] {
        session.send(&format!("expect-error RuntimeFailed {line}"));
        let id = session.id();
        std::thread::scope(|scope| {
            let (is_over, over) = mpsc::channel::<()>();
            // A worker that is killed before or between runs is replaced without a word; the next one is not.
            scope.spawn(move || {
                while over.recv_timeout(Duration::from_millis(300)) == Err(RecvTimeoutError::Timeout) {
                    workers(id).into_iter().for_each(kill);
                }
            });
            session.command("use models/resnet8.onnx");
            drop(is_over);
        });
        assert_eq!(outputs(&mut session), before);
    }
}

/// A qp in the middle of a long command, and its worker, which may still be starting.
fn long_command(world: &World) -> (Child, u32) {
    let child = world
        .qp()
        .args(["-c", "load models/resnet8.onnx; input models/digits.npz:images[0:4]; run --repeat 100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        match workers(child.id())[..] {
            [worker] => return (child, worker),
            _ => assert!(begun.elapsed() < Duration::from_secs(20), "no worker"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_worker_outlives_its_session() {
    let world = World::new();
    let (mut child, worker) = long_command(&world);
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while lives(worker) && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!lives(worker), "worker {} lives on", worker);
}

#[test]
fn a_file_that_is_another_one_now_is_not_run_in_its_place() {
    let world = World::new();
    let mut session = world.session();
    session.command("load models/resnet8.onnx");
    let before = outputs(&mut session);
    let file = world.path("models/resnet8.onnx");
    // The same content under another name that takes its place.
    std::fs::copy(&file, world.path("same")).unwrap();
    std::fs::rename(world.path("same"), &file).unwrap();
    workers(session.id()).into_iter().for_each(kill);
    assert_eq!(session.command("run")["outputs"], before);
}

/// A model that adds what another file stores.
fn plus_stored(world: &World, folder: &str, stored: f32) {
    let entry = |key: &str, value: &str| field(13, &[text(1, key), text(2, value)].concat());
    let external = [int(1, 4), int(2, 1), text(8, "w"), entry("location", "w.bin"), int(14, 1)].concat();
    let shaped = |name: &str| {
        let shape = field(1, &int(1, 4));
        [text(1, name), field(2, &field(1, &[int(1, 1), field(2, &shape)].concat()))].concat()
    };
    let graph = [
        field(1, &node("add", "Add", "", &["x", "w"], &["y"])),
        text(2, "g"),
        field(5, &external),
        field(11, &shaped("x")),
        field(12, &shaped("y")),
    ];
    world.write(&format!("{folder}/sum.onnx"), model(&graph.concat(), &[]));
    let elements: Vec<u8> = [stored; 4].iter().flat_map(|number| number.to_le_bytes()).collect();
    world.write(&format!("{folder}/w.bin"), elements);
}

/// A command reads files that have changed anew, and so does the worker: never one the old and the other the new.
#[test]
fn external_data_that_is_other_data_now_is_read_again() {
    let world = World::new();
    plus_stored(&world, "old", 1.0);
    plus_stored(&world, "new", 2.0);
    plus_stored(&world, "newest", 3.0);
    let mut session = world.session();
    session.command("load old/sum.onnx");
    session.command("input zeros");
    let first = |session: &mut Session| session.command("run")["outputs"][0]["values"][0].clone();
    assert_eq!(first(&mut session), 1.0);
    let replace =
        |by: &str| std::fs::rename(world.path(&format!("{by}/w.bin")), world.path("old/w.bin")).unwrap();
    replace("new");
    workers(session.id()).into_iter().for_each(kill);
    assert_eq!(first(&mut session), 2.0);
    replace("newest");
    assert_eq!(first(&mut session), 3.0);
}

#[test]
fn ctrl_c_is_heard_while_a_worker_starts() {
    let world = World::new();
    let (mut child, worker) = long_command(&world);
    let signal = |name: &str, process: u32| {
        assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
    };
    // From here on it says nothing.
    signal("-STOP", worker);
    std::thread::sleep(Duration::from_millis(200));
    signal("-INT", child.id());
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20) && status.code() == Some(130), "{status}");
}

#[test]
fn limits_of_a_worker_are_kept() {
    let world = World::new();
    world.write("home/config/config.toml", "worker-memory = \"64MiB\"\n");
    let ran = world.run("load models/resnet8.onnx; input models/digits.npz:images[0:4]; run");
    assert_ne!(ran.code, 0);
    assert_eq!(ran.hint(), "Raise `worker-memory` in config.toml if that is too little for it.");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let world = World::new();
    let output = world.qp().env("QP_ISOLATION", "jail").args(["-c", "echo a"]).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(talk.contains("`QP_ISOLATION` is `jail`") && talk.contains("`worker` or `none`"), "{talk}");
    let worker = world.qp().args(["--worker", "libqp_plugin_toy.so"]).stdin(Stdio::null()).output().unwrap();
    let talk = String::from_utf8_lossy(&worker.stderr).into_owned();
    assert!(!worker.status.success() && talk.contains("a worker is started by qp itself"), "{talk}");
}

#[test]
fn a_plugin_that_ends_its_process_or_hangs_fails_a_claim() {
    let world = World::new();
    world.write("home/config/config.toml", "worker-time = 1\n");
    let library = crate::support::plugin::library("qp-fixture-ends-process");
    let output = world
        .qp()
        .args(["--format", "json", "-c", &format!("backends check '{}'", library.display())])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let line = |claim: &str| {
        let lines = report["lines"].as_array().unwrap();
        lines
            .iter()
            .find(|line| line["claim"] == claim)
            .unwrap_or_else(|| panic!("{claim}: {report}"))
            .clone()
    };
    let of = |claim: &str| {
        let line = line(claim);
        (line["verdict"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(
        of("a folder is rejected"),
        ("failed".into(), "it ends the process: SIGABRT, it gave up".into())
    );
    assert_eq!(of("a missing file is NotFound"), ("failed".into(), "it takes longer than 1 s".into()));
    assert_eq!(of("any head can be probed").0, "passed");
    assert_eq!(of("an unknown request is UnsupportedOp").0, "passed");
    assert_eq!(report["plugin"], "deadly");
}

/// Two processes can hold two runtimes; here they are the same, and nothing may differ.
#[test]
fn one_file_runs_on_two_runtimes_at_once() {
    let world = World::new();
    let first = crate::support::plugin::runtime_folders().into_iter().next().unwrap();
    let entry = std::fs::read_dir(first).unwrap().flatten().map(|entry| entry.path());
    let folder = entry
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("onnxruntime-"))
        })
        .map(|path| path.join("lib"))
        .next()
        .unwrap();
    let line = format!(
        "load models/resnet8_int8.onnx; input models/digits.npz:images[0:4]; drift --runtime {0},{0} --json",
        folder.display()
    );
    let found = world.jsons(&line).pop().unwrap();
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{found}");
    // The same level of optimization gives the same bits on both.
    for pair in rows.chunks(2) {
        assert_eq!(pair[0]["optimization"], pair[1]["optimization"]);
        assert_eq!(pair[0]["max_abs_difference"], pair[1]["max_abs_difference"]);
    }
    assert_eq!(found["layers"], serde_json::json!([]));
    let missing = world.run(&line.replace(&folder.display().to_string(), "nowhere"));
    assert!(missing.code == 1 && missing.talk.contains("nowhere"), "{}", missing.talk);
    let output = world.qp().env("QP_ISOLATION", "none").args(["-c", &line]).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(talk.contains("one process cannot hold two runtimes"), "{talk}");
}
