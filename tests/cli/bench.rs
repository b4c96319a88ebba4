//! `bench`: what is reported, and how its numbers belong together. No test depends on how long anything takes.

use crate::stranger::toys;
use crate::support::world::World;
use serde_json::Value;

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"))
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs()
}

#[test]
fn every_model_has_a_row_for_each_batch_and_number_of_threads() {
    let found = World::new()
        .json("open models; bench resnet8.onnx resnet8_int8.onnx --batch 1,4 --threads 1,2 --rounds 5");
    assert_eq!((&found["reference"], &found["is_input_chosen"]), (&"resnet8.onnx".into(), &false.into()));
    let rows = found["rows"].as_array().unwrap();
    let of: Vec<_> = rows
        .iter()
        .map(|row| (row["model"].as_str().unwrap(), number(row, "batch"), number(row, "threads")))
        .collect();
    let (float, int8) = ("resnet8.onnx", "resnet8_int8.onnx");
    let of_float: Vec<_> = of.iter().filter(|row| row.0 == float).map(|row| (row.1, row.2)).collect();
    assert_eq!(of_float, [(1.0, 1.0), (1.0, 2.0), (4.0, 1.0), (4.0, 2.0)]);
    assert!(of.chunks(2).all(|pair| pair[0].0 == float && pair[1] == (int8, pair[0].1, pair[0].2)), "{of:?}");
    for row in rows {
        assert_eq!(row["rounds"], 5);
        let settings = row["run"]["settings"].to_string();
        assert!(settings.contains(r#"{"name":"optimization","value":"all"}"#), "{settings}");
        assert!(settings.contains(&format!(r#"{{"name":"threads","value":"{}"}}"#, row["threads"])));
    }
}

#[test]
fn times_are_in_order_and_ratios_are_of_medians() {
    let world = World::new();
    let line = "bench resnet8.onnx resnet8_int8.onnx resnet8_int8.pt --threads 1 --rounds 12";
    let found = world.json(&format!(
        "open models; input models/digits.npz:images[0:4]; {line} --reference resnet8_int8.onnx"
    ));
    assert_eq!(found["reference"], "resnet8_int8.onnx");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let times = ["minimum_ms", "median_ms", "p90_ms", "p99_ms"].map(|key| number(row, key));
        assert!(times[0] > 0.0 && times.is_sorted(), "{row}");
        assert!(number(row, "alone_ms") > 0.0);
        // All samples of the input together.
        assert_eq!(row["batch"], 4);
        assert!(close(number(row, "samples_per_second"), 4e3 / times[1]), "{row}");
        #[cfg(target_os = "linux")]
        assert!(row["resident_gain_bytes"].is_u64(), "{row}");
        if row["model"] == "resnet8_int8.onnx" {
            for key in ["ratio", "ratio_low", "ratio_high", "block_rounds", "verdict"] {
                assert!(row[key].is_null(), "{key} of {row}");
            }
            continue;
        }
        assert!(close(number(row, "ratio"), times[1] / number(&rows[1], "median_ms")), "{row}");
        let (low, high) = (number(row, "ratio_low"), number(row, "ratio_high"));
        let verdict = match (low, high) {
            (0.99.., ..=1.01) => "same",
            (_, high) if high < 1.0 => "faster",
            (low, _) if low > 1.0 => "slower",
            _ => "undecided",
        };
        assert!(low <= high && row["verdict"] == verdict, "{row}");
    }
}

#[test]
fn a_reference_that_is_not_listed_comes_first() {
    let found = World::new()
        .json("open models; bench resnet8_int8.onnx --reference resnet8.onnx --threads 1 --rounds 3");
    let models: Vec<_> = found["rows"].as_array().unwrap().iter().map(|row| &row["model"]).collect();
    assert_eq!(models, ["resnet8.onnx", "resnet8_int8.onnx"]);
}

#[test]
fn one_model_has_no_ratio_and_the_input_of_the_session_stays() {
    let world = World::new();
    let mut session = world.session();
    let found = session.command("bench models/resnet8.onnx --threads 1 --rounds 3");
    assert_eq!((&found["input"], &found["reference"]), (&"random --seed 0".into(), &Value::Null));
    assert!(found["rows"][0]["ratio"].is_null());
    session.command("input models/digits.npz:images[0:2]");
    let found = session.command("bench models/resnet8.onnx --threads 1 --rounds 3");
    assert_eq!(
        (&found["is_input_chosen"], &found["input"]),
        (&true.into(), &"models/digits.npz:images[0:2]".into())
    );
}

#[test]
fn people_read_whose_time_it_is() {
    let ran = World::new()
        .run("open models; bench resnet8.onnx resnet8_int8.onnx --threads 1 --batch 1,2 --rounds 5");
    assert!(ran.output.contains("on random --seed 0, as no input is chosen"), "{}", ran.output);
    let verdicts: Vec<_> = ran.output.lines().filter(|line| line.contains("95 % interval")).collect();
    assert_eq!(verdicts.len(), 2, "{}", ran.output);
    assert!(verdicts[0].starts_with("batch 1, 1 thread: resnet8_int8.onnx "), "{}", verdicts[0]);
    assert!(verdicts[1].starts_with("batch 2, 1 thread: resnet8_int8.onnx "), "{}", verdicts[1]);
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_measured() {
    let world = toys();
    world.write(
        "toys/fixed.toy",
        "toy 1\ninput x float32 2,4\ntensor w float32 4 = 1 2 3 4\nlayer m Mul x w -> y\noutput y\n",
    );
    let ran = world.run("input models/digits.npz:images[0:4]; bench models/resnet8.onnx --batch 2,8");
    assert_eq!((ran.code, ran.error()), (1, "the input has 4 samples, not 8"));
    let ran = world.run("bench toys/fixed.toy --batch 1");
    assert_eq!(ran.error(), "`toys/fixed.toy` takes 2 samples at a time, not 1");
    assert_eq!(ran.hint(), "Give `--batch 2`, or leave the model out.");
    assert_eq!(world.json("bench toys/fixed.toy --rounds 3")["rows"][0]["batch"], 2);
    let ran = world.run("bench models/resnet8.onnx --rounds 2");
    assert_eq!(ran.code, 2, "{}", ran.talk);
    let ran = world.run("bench models/resnet8.onnx --qengine fbgemm");
    assert_eq!(ran.error(), "ONNX Runtime does not support `--qengine`");
}

/// Ctrl-C ends it, and the rounds that were measured are shown.
#[cfg(unix)]
#[test]
fn what_was_measured_is_shown_when_the_user_stops() {
    let world = World::new();
    let line = "bench models/resnet8.onnx models/resnet8_int8.onnx --threads 1 --rounds 100000 --json";
    let mut command = world.qp();
    command.args(["-c", line]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A machine too slow for three rounds in that time has nothing to show.
    if found["error"].is_null() {
        let rounds = found["rows"][0]["rounds"].as_u64().unwrap();
        assert!((3..100_000).contains(&rounds), "{rounds}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("has 2 of 2 rows"), "{output:?}");
    }
}
