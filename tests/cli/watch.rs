//! `watch`: what is run again, when, and what is said.

use crate::support::world::World;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

/// A running `qp` whose results are read line by line.
struct Watching {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    talk: BufReader<std::process::ChildStderr>,
}

impl Watching {
    fn new(world: &World, commands: &str) -> Self {
        let mut command = world.qp();
        command.args(["--format", "json", "-c", commands]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let talk = BufReader::new(child.stderr.take().unwrap());
        Self { child, output, talk }
    }

    /// The next result.
    fn result(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// The next message.
    fn said(&mut self) -> String {
        let mut line = String::new();
        self.talk.read_line(&mut line).unwrap();
        line
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.talk.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

const COMPARE: &str =
    "compare models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 4";

#[test]
fn a_changed_model_runs_the_line_again_and_shows_what_moved() {
    let world = World::new();
    let mut watching = Watching::new(&world, &format!("watch --times 3 {COMPARE}"));
    let before = watching.result();
    assert!(watching.said().starts_with("watching 3 files"));
    std::fs::copy(world.path("models/resnet8_uint8.onnx"), world.path("models/resnet8_int8.onnx")).unwrap();
    let round = watching.result();
    assert_eq!((&round["run"], &round["changed"]), (&2.into(), &serde_json::json!(["resnet8_int8.onnx"])));
    let moved = round["moved"].as_array().unwrap();
    let of_key = |key: &str| moved.iter().find(|moved| moved["key"] == key).unwrap();
    let worst = of_key("compare.min_sqnr_db");
    assert_eq!((&before["run"], &worst["before"]), (&1.into(), &before["result"]["min_sqnr_db"]));
    assert_eq!(worst["now"], round["result"]["min_sqnr_db"]);
    let difference = worst["now"].as_f64().unwrap() - worst["before"].as_f64().unwrap();
    assert!(
        (worst["difference"].as_f64().unwrap() - difference).abs() < 1e-9 && difference != 0.0,
        "{worst}"
    );
    // Touched: the same content.
    let bytes = std::fs::read(world.path("models/resnet8.onnx")).unwrap();
    world.write("models/resnet8.onnx", bytes);
    let round = watching.result();
    assert_eq!((&round["run"], round["moved"].as_array().unwrap().len()), (&3.into(), 0));
    assert_eq!(watching.end(), (Some(0), String::new()));
}

#[test]
fn a_file_that_is_half_written_is_waited_for() {
    let world = World::new();
    let mut watching = Watching::new(&world, "watch --times 2 info models/resnet8_int8.onnx");
    watching.result();
    assert!(watching.said().starts_with("watching 1 file;"));
    let whole = std::fs::read(world.path("models/resnet8_uint8.onnx")).unwrap();
    world.write("models/resnet8_int8.onnx", &whole[..whole.len() / 2]);
    let said = watching.said();
    assert!(said.contains("waiting for the files to become usable: "), "{said}");
    std::fs::remove_file(world.path("models/resnet8_int8.onnx")).unwrap();
    let said = watching.said();
    assert!(said.contains("waiting"), "{said}");
    world.write("models/resnet8_int8.onnx", &whole);
    let round = watching.result();
    assert!(round["moved"].as_array().unwrap().iter().any(|moved| moved["key"] == "info.bytes"), "{round}");
    assert_eq!(watching.end(), (Some(0), String::new()));
}

/// What the line writes itself is no reason to run it again.
#[test]
fn files_that_the_line_writes_are_not_watched() {
    let world = World::new();
    world.write("out.npz", "");
    let commands = "open models; input random; watch --times 3 run resnet8.onnx --save out.npz --force";
    let mut watching = Watching::new(&world, commands);
    for _ in 0..3 {
        watching.result();
    }
    assert!(watching.said().starts_with("watching 1 file;"));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(watching.child.try_wait().unwrap(), None);
    watching.child.kill().unwrap();
    watching.child.wait().unwrap();
}

#[test]
fn samples_are_read_again_when_they_change() {
    let world = World::new();
    std::fs::copy(world.path("models/digits.npz"), world.path("d.npz")).unwrap();
    let commands = "open models; data some = d.npz --samples 8; input 'd.npz:images[0]'; \
                    watch --times 2 evaluate resnet8.onnx resnet8_int8.onnx --data some";
    let mut watching = Watching::new(&world, commands);
    for _ in 0..4 {
        watching.result();
    }
    let said = watching.said();
    assert!(said.starts_with("watching 3 files"), "{said}");
    std::fs::copy(world.path("models/golden_outputs.npz"), world.path("d.npz")).unwrap();
    let said = watching.said();
    assert!(said.contains("waiting"), "{said}");
    std::fs::copy(world.path("models/digits.npz"), world.path("d.npz")).unwrap();
    assert_eq!(watching.result()["moved"], serde_json::json!([]));
    assert_eq!(watching.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it() {
    let world = World::new();
    let mut watching = Watching::new(&world, "watch info models/resnet8.onnx; echo after");
    watching.result();
    watching.said();
    std::process::Command::new("kill").args(["-INT", &watching.child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    watching.output.read_to_string(&mut rest).unwrap();
    let (code, said) = watching.end();
    assert!(
        code == Some(130) && said.contains("interrupted") && !rest.contains("after"),
        "{code:?} {said} {rest}"
    );
}

#[test]
fn a_check_knows_what_is_watched() {
    let world = World::new();
    world.write("a.qp", "open models\nwatch --times 1 compare resnet8.onnx resnet8_int8.onnx\nassert compare.min_sqnr_db > 1\n");
    assert_eq!(world.run_args(&["check", "a.qp"]).code, 0);
    world.write("b.qp", "watch --times 1 compare a --tops 3\n");
    let ran = world.run_args(&["check", "b.qp"]);
    assert!(ran.code == 2 && ran.talk.contains("b.qp:1:1") && ran.talk.contains("--top"), "{}", ran.talk);
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let world = World::new();
    world.write("a.qp", "help\n");
    for (line, error) in [
        ("watch", "`watch` needs COMMAND"),
        ("watch --times 0 help", "invalid value `0` for `--times COUNT`"),
        ("watch help", "`help` reads no model, input or data that could change"),
        ("watch source a.qp", "`source` cannot be watched"),
        ("watch watch help", "`watch` cannot be watched"),
        ("watch quit", "`quit` cannot be watched"),
        ("watch nonsense", "unknown command `nonsense`"),
        ("watch load missing.onnx", "no model is named `missing.onnx`"),
    ] {
        let ran = world.run(line);
        assert_eq!(ran.error(), error, "{line}");
    }
    let failed = world.run("open models; baseline save b.json; watch --times 1 baseline check b.json");
    assert_eq!(failed.code, 0, "{}", failed.talk);
    world.write("b.json", "{\"baseline\": 1, \"values\": {\"open.families\": 7}}");
    let failed = world.run("open models; watch --times 1 baseline check b.json; echo after");
    assert!(failed.code == 3 && !failed.output.contains("after"), "{} {}", failed.output, failed.talk);
    let table = world.run("watch --times 1 info models/resnet8.onnx");
    assert!(table.code == 0 && table.talk.is_empty(), "{}", table.talk);
    assert_eq!(table.output, world.run("info models/resnet8.onnx").output);
}
