//! Scripts that check: `assert`, `expect-error`.

use crate::support::world::World;

const COMPARE: &str =
    "compare models/resnet8.onnx models/resnet8_int8.onnx --data models/digits.npz --samples 8";

#[test]
fn an_assertion_that_holds_goes_on_and_one_that_fails_ends_with_3() {
    let world = World::new();
    let good = world.run(&format!("{COMPARE}; assert compare.min_sqnr_db > 10; echo done"));
    assert!(
        good.code == 0 && good.output.contains("holds: ") && good.output.contains("done"),
        "{}",
        good.talk
    );
    let bad = world
        .run(&format!("{COMPARE}; assert compare.layers.all(l, l.sqnr_db > 1000) \"too \\$low\"; echo done"));
    assert!(bad.code == 3 && !bad.output.contains("done"), "{} {}", bad.code, bad.talk);
    for part in ["too ", "is false", "l.sqnr_db is "] {
        assert!(bad.talk.contains(part), "{part}: {}", bad.talk);
    }
}

#[test]
fn infinite_and_missing_values_can_be_asked_about() {
    let world = World::new();
    let same = "compare models/resnet8.onnx models/resnet8.onnx --data models/digits.npz --samples 2";
    assert_eq!(world.run(&format!("{same}; assert compare.min_sqnr_db > 1000000")).code, 0);
    assert_eq!(world.run(&format!("{same}; assert compare.first_below == null")).code, 0);
    let ran = world.run(&format!("{same}; assert compare.layers.all(l, l.clipped_share > 0.5)"));
    assert!(ran.code == 2 && ran.talk.contains("has no value"), "{} {}", ran.code, ran.talk);
}

#[test]
fn variables_stand_in_expressions_by_name_and_by_value() {
    let world = World::new();
    let line = "evaluate models/resnet8.onnx --data models/digits.npz --samples 50; let least = 0.9; let m = models/resnet8.onnx; \
                assert evaluate.models[\"$m\"].accuracy > least && evaluate.models[m].accuracy > $least";
    let ran = world.run(line);
    assert_eq!(ran.code, 0, "{}", ran.talk);
}

#[test]
fn an_expected_error_passes_and_any_other_outcome_fails() {
    let world = World::new();
    assert_eq!(world.run("expect-error NotFound load missing.onnx").code, 0);
    assert_eq!(world.run("expect-error Assertion assert 1 > 2").code, 0);
    for (line, said) in [
        ("expect-error NotFound summary", "not with State"),
        ("expect-error NotFound help", "but succeeded"),
        ("expect-error NotFound expect-error NotFound help", "not `source` or itself"),
    ] {
        let ran = world.run(line);
        assert!(ran.code == 3 && ran.talk.contains(said), "{line}: {} {}", ran.code, ran.talk);
    }
    assert_eq!(world.run("expect-error Nowhere help").code, 2);
}

/// The sample family is as it should be; with one threshold moved it is not, and all reports say which.
#[test]
fn the_guard_of_the_sample_family_passes_and_fails_with_a_moved_threshold() {
    let world = World::new();
    let good = world.run_args(&["-q", "run", "models/check.qp", "--report", "good.md"]);
    assert_eq!(good.code, 0, "{}", good.talk);
    let markdown = std::fs::read_to_string(world.path("good.md")).unwrap();
    assert!(markdown.starts_with("## models/check.qp: all ") && !markdown.contains('✗'), "{markdown}");

    let arguments = [
        "-q",
        "run",
        "models/check.qp",
        "--keep-going",
        "--report",
        "a.xml",
        "--report",
        "a.json",
        "--report",
        "a.md",
    ];
    let bad = world.run_args(&[&arguments[..], &["--", "--least_accuracy", "0.993"]].concat());
    assert_eq!(bad.code, 3, "{}", bad.talk);
    let xml = std::fs::read_to_string(world.path("a.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suites = document.root_element();
    let count = |name: &str| suites.attribute(name).unwrap().parse::<usize>().unwrap();
    // The float model is right 536 of 540 times: 0.99259.
    assert_eq!((count("failures"), count("errors")), (1, 0), "{xml}");
    assert!(count("tests") >= 15);
    let cases: Vec<_> = suites.descendants().filter(|node| node.has_tag_name("testcase")).collect();
    assert_eq!(cases.len(), count("tests"));
    // What Jenkins' schema requires.
    assert!(
        cases.iter().all(|case| case.attribute("name").is_some() && case.attribute("classname").is_some())
    );
    let failure = suites.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!(failure.attribute("message"), Some("the float model got worse"));
    assert!(failure.text().unwrap().contains("evaluate.models[float].accuracy is 0.992593"), "{xml}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("a.json")).unwrap()).unwrap();
    assert_eq!((&json["failed"], &json["broken"]), (&1.into(), &0.into()));
    let markdown = std::fs::read_to_string(world.path("a.md")).unwrap();
    assert!(markdown.starts_with("## models/check.qp: 1 of "), "{markdown}");
}

/// Times differ from run to run; the reports do not.
#[test]
fn reports_are_the_same_each_time() {
    let world = World::new();
    world.write("r.qp", "open models\nevaluate resnet8.onnx --data models/digits.npz --samples 8\nrun resnet8.onnx --repeat 2\nassert 1 < 2\n");
    world.write("i.qp", "open models\ninput models/digits.npz:images[0]\nsource r.qp\n");
    let report = |name: &str| {
        assert_eq!(world.run_args(&["-q", "run", "i.qp", "--report", name]).code, 0);
        std::fs::read_to_string(world.path(name)).unwrap()
    };
    let (first, second) = (report("a.json"), report("b.json"));
    assert!(first.contains("\"latency_ms\": null") && first.contains("\"elapsed_ms\": null"), "{first}");
    assert_eq!(first, second);
    assert_eq!(report("a.xml"), report("b.xml"));
}

#[test]
fn parameters_are_checked_before_anything_runs() {
    let world = World::new();
    world.write("p.qp", "param model\nparam count 3\necho $model $count\n");
    let last = |words: &[&str]| world.run_args(words).output.lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(&["run", "p.qp", "--", "--model", "m.onnx"]), "m.onnx 3");
    assert_eq!(last(&["run", "p.qp", "--", "--model=m", "--count", "4"]), "m 4");
    for (words, said) in [
        (&["run", "p.qp"][..], "the script needs a value for `model`"),
        (&["run", "p.qp", "--", "--modle", "m"], "Did you mean `--model`?"),
        (&["run", "p.qp", "--", "--model"], "`--model` needs a value"),
        (&["run", "p.qp", "--report", "x.txt"], "is not a report format"),
    ] {
        let ran = world.run_args(words);
        assert!(ran.code == 2 && ran.talk.contains(said), "{words:?}: {} {}", ran.code, ran.talk);
        assert!(!ran.output.contains('3'), "{}", ran.output);
    }
}

/// Every line after the first has one mistake; `check` finds them all at once, each with its line.
#[test]
fn mistakes_are_found_without_running_anything() {
    let world = World::new();
    let lines = [
        ("let int8 = resnet8_int8.onnx", ""),
        ("opne models", "Did you mean `open`?"),
        ("load $int9", "unknown variable `$int9`"),
        ("compare models/resnet8.onnx $int8 --sampels 4", "Did you mean `--samples`?"),
        ("compare models/resnet8.onnx $int8 --data models/digitz.npz", "`models/digitz.npz` does not exist"),
        ("assert compare.min_sqnr > 20", "Did you mean `min_sqnr_db`?"),
        ("assert compare.layers.all(l, l.sqnr > 3) 'message'", "`l` has no `sqnr`"),
        ("assert evaluate.models[int8].accuracy > 0.9", "`evaluate` has not run before"),
        ("assert compare.min_sqnr_db >", "it ends too early"),
        ("assert comprae.min_sqnr_db > 3", "Did you mean `compare`?"),
        ("assert compare.samples.x == 2", "`compare.samples` is a single value"),
        ("expect-error NotFuond load x", "Did you mean `NotFound`?"),
        ("format yaml", "Choose one of"),
        ("sensitivity models/resnet8.onnx", "needs MODEL"),
        ("source missing.qp", "`missing.qp` does not exist"),
    ];
    let script: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    world.write("bad.qp", &script);
    let ran = world.run_args(&["check", "bad.qp", "models/check.qp"]);
    assert_eq!(ran.code, 2, "{}", ran.talk);
    for (number, (_, said)) in lines.iter().enumerate().skip(1) {
        let place = format!("bad.qp:{}:", number + 1);
        assert!(ran.talk.contains(&place) && ran.talk.contains(said), "{place} {said}\n{}", ran.talk);
    }
    assert!(ran.talk.contains(&format!("bad.qp: {} problems", lines.len() - 1)), "{}", ran.talk);
    assert!(ran.talk.contains("models/check.qp: no problems"), "{}", ran.talk);
    assert_eq!(world.run_args(&["check", "models/check.qp"]).code, 0);
}

/// What a parameter brings is not known before: nothing is invented about it.
#[test]
fn what_comes_later_is_not_judged() {
    let world = World::new();
    world.write(
        "p.qp",
        "param model\nparam count\nload $model\nrun $model --repeat $count\nassert run.runs > 0\n",
    );
    let ran = world.run_args(&["check", "p.qp"]);
    assert_eq!(ran.code, 0, "{}", ran.talk);
}

/// What failed, and what is about the session, is left out; the script does the same again.
#[test]
fn a_session_is_recorded_as_a_script() {
    let world = World::new();
    let line =
        "open models; use resnet8.onnx\nhelp; expect-error NotFound load x.onnx; layers --json; record a.qp";
    let ran = world.run(line);
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let script = std::fs::read_to_string(world.path("a.qp")).unwrap();
    let lines: Vec<&str> = script.lines().skip(1).collect();
    assert_eq!(
        lines,
        ["open models", "use resnet8.onnx", "expect-error NotFound load x.onnx", "layers --json"]
    );
    assert_eq!(world.run_args(&["run", "a.qp"]).code, 0);
    assert_eq!(world.run("echo 1; record a.qp").code, 1);
    assert_eq!(world.run("record b.qp").code, 1);
    assert!(world.run("open models; record models/b.qp").output.contains("relative to its own folder"));
}
