//! What the README shows is what qp prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

use support::world::World;

/// What differs from run to run and from CPU to CPU: times, and digits of scores beyond the third.
fn steady(text: &str) -> Vec<String> {
    text.lines().map(steady_line).collect()
}

fn steady_line(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut steady: Vec<String> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_time = words.get(index + 1).is_some_and(|unit| matches!(*unit, "µs" | "ms" | "s"));
        let is_number = word.parse::<f64>().is_ok();
        steady.push(match word.split_once('.') {
            Some(_) if is_time => "T".to_owned(),
            _ if is_time && is_number => "T".to_owned(),
            Some((whole, decimals)) if is_number && decimals.len() > 3 => {
                format!("{whole}.{}", &decimals[..3])
            }
            _ if matches!(*word, "µs" | "ms" | "s") => "unit".to_owned(),
            _ if !word.is_empty() && word.chars().all(|letter| letter == '─') => "rule".to_owned(),
            _ => (*word).to_owned(),
        });
    }
    steady.join(" ")
}

/// Compares what follows the mark of `script` in the README with what the script prints.
fn compare(script: &str) {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let after = readme.split(&format!("<!-- golden: {script}")).nth(1).unwrap();
    let shown = after.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let world = World::new();
    let mut command = world.qp();
    let output = command.env("COLUMNS", "110").args(["run", "--echo", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        steady(shown),
        steady(&printed),
        "the README is behind: run COLUMNS=110 qp run --echo {script}\n{printed}"
    );
}

#[test]
fn the_session_of_the_readme_is_real() {
    compare("models/readme.qp");
}

#[test]
fn what_the_readme_shows_of_looking_inside_is_real() {
    compare("models/look.qp");
}
