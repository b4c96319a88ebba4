//! `baseline save` and `baseline check`.

use crate::support::world::World;
use serde_json::Value;

const COMPARE: &str =
    "compare models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples";

fn read(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.path(name)).unwrap()
}

/// Changes the number under a key of the file.
fn change(world: &World, key: &str, by: impl Fn(f64) -> f64) {
    let mut document: Value = serde_json::from_str(&read(world, "b.json")).unwrap();
    let value = &mut document["values"][key];
    *value = by(value.as_f64().unwrap()).into();
    world.write("b.json", document.to_string());
}

#[test]
fn the_same_results_make_the_same_file_and_hold() {
    let world = World::new();
    let results = format!("open models; {COMPARE} 4; input random; run resnet8.onnx");
    let commands = |file: &str| format!("{results}; baseline save {file}");
    let ran = world.run(&commands("b.json"));
    assert!(
        ran.code == 0 && ran.output.ends_with("values written to b.json\n"),
        "{} {}",
        ran.output,
        ran.talk
    );
    assert_eq!(world.run(&commands("c.json")).code, 0);
    let text = read(&world, "b.json");
    assert_eq!(text, read(&world, "c.json"));
    // Numbers and verdicts, each on its line; no times, no paths, no names.
    assert!(text.contains("\n    \"compare.layers[stem].sqnr_db\": "), "{text}");
    assert!(text.contains("\n    \"compare.layers[stem].order\": \"same\""), "{text}");
    for left_out in ["_ms", "digits", "\"resnet8", "runtime", "input."] {
        assert!(!text.contains(left_out), "{left_out}: {text}");
    }
    let checked = world.json(&format!("{results}; baseline check b.json"));
    assert_eq!((&checked["holds"], &checked["changes"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(checked["values"].as_u64().unwrap() > 100);
}

#[test]
fn what_moved_beyond_its_tolerance_is_listed_and_ends_with_3() {
    let world = World::new();
    assert_eq!(world.run(&format!("{COMPARE} 4; baseline save b.json")).code, 0);
    let ran = world.run(&format!("{COMPARE} 8; baseline check b.json; echo after"));
    assert_eq!(ran.code, 3, "{}", ran.talk);
    assert!(ran.output.contains("compare.min_sqnr_db") && !ran.output.contains("after"), "{}", ran.output);
    assert!(ran.talk.contains("` moved: ") && ran.hint().contains("--force"), "{}", ran.talk);

    change(&world, "compare.min_sqnr_db", |value| value * 1.01);
    let check = |options: &str| world.run(&format!("{COMPARE} 4; baseline check b.json {options} --json"));
    let ran = check("");
    let found: Value = serde_json::from_str(ran.output.lines().last().unwrap()).unwrap();
    assert_eq!((ran.code, &found["moved"], &found["missing"]), (3, &1.into(), &0.into()));
    let moved = &found["changes"][0];
    assert_eq!((&moved["outcome"], &moved["key"]), (&"moved".into(), &"compare.min_sqnr_db".into()));
    let relative = moved["relative"].as_f64().unwrap();
    assert!((relative + 0.01 / 1.01).abs() < 1e-9, "{relative}");
    assert_eq!(moved["relative_tolerance"], 1e-6);
    assert_eq!(
        (check("--tolerance 0.02").code, check("--absolute 1").code, check("--tolerance 0.001").code),
        (0, 0, 3)
    );

    // A tolerance of its own, in the file, and kept when it is written anew.
    let text = read(&world, "b.json")
        .replace("\"tolerances\":{}", "\"tolerances\":{\"compare.*_db\":{\"relative\":0.5}}");
    world.write("b.json", text);
    assert_eq!(check("").code, 0);
    let refused = world.run(&format!("{COMPARE} 4; baseline save b.json"));
    assert_eq!((refused.code, refused.error()), (1, "`b.json` already exists"));
    let ran = world.run(&format!("{COMPARE} 4; baseline save b.json --force"));
    assert!(ran.output.ends_with("; 1 tolerance kept\n"), "{}", ran.output);
    assert!(read(&world, "b.json").contains("    \"compare.*_db\": {\"relative\":0.5,\"absolute\":0.0}"));
}

#[test]
fn missing_values_fail_and_new_ones_are_counted() {
    let world = World::new();
    assert_eq!(world.run(&format!("open models; {COMPARE} 2; baseline save b.json")).code, 0);
    let ran = world.run("open models; baseline check b.json");
    assert!(ran.code == 3 && ran.error().contains(" are missing"), "{}", ran.talk);
    let ran = world
        .run(&format!("open models; {COMPARE} 2; quant --model resnet8_int8.onnx; baseline check b.json"));
    assert!(ran.code == 0 && ran.output.contains("are new"), "{} {}", ran.output, ran.talk);
}

#[test]
fn files_that_are_no_baselines_and_sessions_without_numbers_are_refused() {
    let world = World::new();
    world.write("x.json", "{\"values\": {}}");
    for (line, code, error) in [
        ("baseline save b.json", 1, "there are no numbers yet"),
        ("open models; baseline check x.json", 1, "`x.json` is not a baseline: it has no `baseline`"),
        ("open models; baseline check no.json", 1, "cannot read `no.json`: no such file or directory"),
        ("baseline", 2, "`baseline` needs save|check, PATH"),
        ("baseline chek x.json", 2, "invalid value `chek` for `save|check`"),
        (
            "open models; baseline save b.json --tolerance 1",
            2,
            "`--tolerance` does not go with `baseline save`",
        ),
        ("open models; baseline save no/b.json", 1, "cannot write `no/b.json`: no such file or directory"),
        (
            "open models; baseline check x.json --tolerance x",
            2,
            "invalid value `x` for `--tolerance SHARE`: it takes a number from 0 up, as in 1e-3",
        ),
    ] {
        let ran = world.run(line);
        assert_eq!((ran.code, ran.error()), (code, error), "{line}");
    }
}

#[test]
fn a_check_is_a_case_of_reports() {
    let world = World::new();
    assert_eq!(world.run("open models; baseline save b.json").code, 0);
    world.write("a.qp", "open models\nbaseline check b.json\nbaseline save --force c.json\n");
    assert_eq!(world.run_args(&["check", "a.qp"]).code, 0);
    let ran = world.run_args(&["run", "a.qp", "--report", "a.xml"]);
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let xml = read(&world, "a.xml");
    assert!(xml.contains("tests=\"1\"") && xml.contains("baseline check b.json"), "{xml}");
}
