//! `qp run`, `source`, pipes and exit codes.

use crate::support::world::World;
use std::io::Write;
use std::process::Stdio;

#[test]
fn paths_in_a_script_are_relative_to_its_own_folder() {
    let world = World::new();
    world.write("models/check.qp", "open .\nload resnet8.onnx\n");
    world.write("outer.qp", "source models/check.qp\nopen models\n");
    let ran = world.run_args(&["run", "outer.qp"]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
}

#[test]
fn the_first_error_ends_a_script_and_is_shown_with_its_line() {
    let world = World::new();
    world.write("bad.qp", "# a comment\nopen models\nlod all\nquit\n");
    let ran = world.run_args(&["run", "bad.qp"]);
    assert_eq!(ran.code, 2);
    assert!(ran.talk.contains("--> bad.qp:3:1"), "{}", ran.talk);
    assert_eq!(ran.error(), "unknown command `lod`");
}

#[test]
fn a_script_that_runs_itself_ends_with_an_error() {
    let world = World::new();
    world.write("loop.qp", "source loop.qp\n");
    let ran = world.run_args(&["run", "loop.qp"]);
    assert_eq!(ran.code, 1);
    assert!(ran.error().contains("nest scripts more than 16 deep"), "{}", ran.talk);
}

#[test]
fn what_cannot_be_a_script_is_said_to_be_something_else() {
    let world = World::new();
    world.write("binary.qp", [0xff, 0xfe, 0x00]);
    for (file, error) in [
        ("missing.qp", "cannot read `missing.qp`: no such file or directory"),
        ("models", "`models` is not a regular file: it is a folder"),
        ("binary.qp", "`binary.qp` is not text: byte 0 is not UTF-8"),
    ] {
        let ran = world.run_args(&["run", file]);
        assert_eq!((ran.code, ran.error()), (1, error));
    }
}

#[test]
fn commands_come_through_a_pipe_and_the_first_error_ends_them() {
    let world = World::new();
    let mut child =
        world.qp().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"open models\n\nnonsense\nmodels\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("resnet8_uint8.onnx").count(), 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard input, from line 3"));
}

#[test]
fn the_demo_ends_with_a_digit_classified_by_each_runnable_variant() {
    let world = World::new();
    let ran = world.run_args(&["run", "--format", "json", "models/demo.qp"]);
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
    let classes: Vec<_> = ran
        .output
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap()
                .pointer("/outputs/0/top/0/class")
                .cloned()
        })
        .collect();
    // The first of the held-out digits is a 6: digits.npz, labels[0].
    assert_eq!(classes, [6, 6, 6, 6, 6]);
}

#[test]
fn a_folder_can_be_given_as_an_argument() {
    let world = World::new();
    let ran = world.run_args(&["models", "-c", "load resnet8.onnx"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        world.run_args(&["no such 'folder", "-c", "models"]).error(),
        "cannot open `no such 'folder`: no such file or directory"
    );
}

#[test]
fn wrong_arguments_are_usage() {
    assert_eq!(World::new().run_args(&["--nonsense"]).code, 2);
}
