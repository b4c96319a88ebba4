//! The views of one result.

use crate::support::world::World;

#[test]
fn json_on_any_command_is_one_document_with_the_same_value() {
    let world = World::new();
    let all = world.json("open models; models");
    let one = world.run("open models; models --json");
    let line = one.output.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), all);
}

#[test]
fn a_failed_command_is_a_document_too() {
    let world = World::new();
    let ran = world.run("info nothing --json");
    let document: serde_json::Value = serde_json::from_str(&ran.output).unwrap();
    assert_eq!(document["error"]["kind"], "NotFound");
    assert_eq!(ran.code, 1);
}

#[test]
fn csv_is_unrounded_and_markdown_a_table() {
    let world = World::new();
    let bytes = std::fs::metadata(world.path("models/resnet8.onnx")).unwrap().len();
    let csv = world.run_args(&["--format", "csv", "-c", "open models/resnet8.onnx"]);
    let lines: Vec<Vec<&str>> = csv.output.lines().map(|line| line.split(',').collect()).collect();
    let [keys, row] = &lines[..] else { panic!("{}", csv.output) };
    let value = |key: &str| row[keys.iter().position(|other| *other == key).unwrap()];
    let bytes = bytes.to_string();
    for (key, expected) in [
        ("family", "resnet8"),
        ("name", "resnet8.onnx"),
        ("alias", ""),
        ("precision", "float32"),
        ("parameters", "77706"),
        ("bytes", &*bytes),
        ("state", "found"),
        ("accuracy.top1", "0.9926"),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    let markdown = world.run("format markdown; open models/resnet8.onnx");
    assert!(markdown.output.contains("| family | model | backend |"), "{}", markdown.output);
}

#[test]
fn color_obeys_the_arguments_and_the_environment() {
    let world = World::new();
    let has_color = |command: &mut std::process::Command| {
        let output = command.args(["-c", "open models; nonsense"]).output().unwrap();
        (output.stdout.contains(&0x1b), output.stderr.contains(&0x1b))
    };
    assert_eq!(has_color(&mut world.qp()), (false, false));
    assert_eq!(has_color(world.qp().env("CLICOLOR_FORCE", "1")), (true, true));
    assert_eq!(has_color(world.qp().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")), (false, false));
    assert_eq!(has_color(world.qp().env("NO_COLOR", "1").args(["--color", "always"])), (true, true));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let world = World::new();
    let mut command = world.qp();
    let script = "open models; layers resnet8_int8.onnx; layers resnet8_int8.onnx; layers resnet8_int8.onnx";
    let mut child = command
        .args(["-c", script])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

/// As the last of a pipe's commands would be: one document, whatever was set before it.
#[test]
fn quiet_results_for_machines_are_the_last_one_alone() {
    let world = World::new();
    let run = |arguments: &[&str], commands: &str| {
        let ran = world.run_args(&[arguments, &["-c", commands]].concat());
        (ran.code, ran.output)
    };
    let documents = |output: &str| -> Vec<serde_json::Value> {
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let json = ["-q", "--format", "json"];
    let (code, output) =
        run(&json, "open models; summary; let a = 1; input random; echo done; assert 1 == 1");
    let found = documents(&output);
    assert!(code == 0 && found.len() == 1 && found[0].get("families").is_some(), "{output}");
    // All only set something: what the last one set.
    assert_eq!(documents(&run(&json, "open models; let a = 1").1), [serde_json::json!({ "a": 1 })]);
    // Lists are results, not settings.
    assert_eq!(documents(&run(&json, "format; let a = 1; let").1), [serde_json::json!({ "a": 1 })]);
    // A failure takes the place of what was before it.
    let (code, output) = run(&json, "open models; summary; load nonsense");
    assert!(code == 1 && documents(&output)[0]["error"]["kind"] == "NotFound", "{output}");
    assert_eq!(documents(&output).len(), 1);
    let (code, output) = run(&json, "open models; summary; assert 1 == 2");
    assert!(code == 3 && documents(&output) == [documents(&output)[0].clone()], "{output}");
    assert_eq!(documents(&output)[0]["holds"], false);

    let (_, output) = run(&["-q", "--format", "csv"], "open models; models; format");
    assert!(output.starts_with("family,name,") && output.lines().count() == 7, "{output}");
    let (code, output) = run(&["-q", "--format", "csv"], "open models; models; load nonsense");
    assert_eq!((code, output.as_str()), (1, ""));
    let all = ["-q", "--format", "json", "--all-results"];
    assert_eq!(documents(&run(&all, "open models; summary; format").1).len(), 3);
    // Without -q, for people, or if a line asks for it, everything is printed.
    assert_eq!(documents(&run(&["--format", "json"], "open models; summary").1).len(), 2);
    assert_eq!(run(&["-q"], "echo a; echo b").1, "a\n\nb\n");
    assert_eq!(run(&["-q"], "echo a --json; echo b --json").1.lines().count(), 2);

    world.write("a.qp", "open models\nsummary\necho after\n");
    let ran = world.run_args(&["-q", "--format", "json", "run", "a.qp"]);
    assert!(documents(&ran.output).len() == 1 && ran.output.contains("families"), "{}", ran.output);
    assert_eq!(
        documents(&world.run_args(&["-q", "--format", "json", "models", "-c", "models"]).output).len(),
        1
    );
}
