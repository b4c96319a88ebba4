//! The sessions in README.md and TOUR.md are what qp prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

use support::world::World;

/// The text without what differs from run to run and from CPU to CPU: times, and digits of scores beyond the third.
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

/// A session that a document shows: the script after its mark, and the text.
struct Session {
    script: String,
    shown: String,
    /// Whether all of it is compared; otherwise its digits depend on the processor, and only commands and columns are.
    is_golden: bool,
}

/// The sessions of a document, each a text block after a mark such as `<!-- golden: models/look.qp; … -->`.
fn sessions(document: &str) -> Vec<Session> {
    let path = format!("{}/../{document}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let marked = text.split("<!-- ").skip(1).filter_map(|part| {
        let (kind, rest) = part.split_once(": ")?;
        let is_golden = kind == "golden";
        (is_golden || kind == "session").then_some(())?;
        let script = rest.split(';').next()?.to_owned();
        let shown = rest.split("```text\n").nth(1)?.split("```").next()?.to_owned();
        Some(Session { script, shown, is_golden })
    });
    marked.collect()
}

/// The commands of a session, each with the lines below it.
fn commands(text: &str) -> Vec<(&str, &str)> {
    let parts = text.strip_prefix("qp> ").unwrap_or(text).split("\nqp> ");
    parts.map(|part| part.split_once('\n').unwrap_or((part, ""))).collect()
}

/// The heads of the tables in a text: the lines above the rules.
fn heads(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| !line.trim().is_empty() && line.trim().chars().all(|letter| letter == '─');
    lines
        .windows(2)
        .filter(|pair| is_rule(pair[1]))
        .map(|pair| pair[0].split_whitespace().collect())
        .collect()
}

/// Compares each of the `count` sessions of a document with what its script prints.
fn compare(document: &str, count: usize) {
    let sessions = sessions(document);
    assert_eq!(sessions.len(), count, "sessions in {document}");
    for Session { script, shown, is_golden } in sessions {
        let world = World::new();
        let mut command = world.qp();
        let output = command.env("COLUMNS", "110").args(["run", "--echo", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        for (line, below) in commands(&shown) {
            let found = commands(&printed).into_iter().find(|(command, _)| *command == line);
            let (_, printed) = found.unwrap_or_else(|| panic!("{script} has no command `{line}`"));
            let hint = format!("{document} is out of date: run scripts/make_sessions.py\n{printed}");
            assert_eq!(heads(below), heads(printed), "{hint}");
            if is_golden {
                assert_eq!(steady(below.trim_end()), steady(printed.trim_end()), "{hint}");
            }
        }
    }
}

#[test]
fn the_sessions_of_the_readme_are_real() {
    compare("README.md", 2);
}

#[test]
fn the_sessions_of_the_tour_are_real() {
    compare("TOUR.md", 5);
}
