//! The interactive session, with lines from a list in place of a terminal.

use crate::support::plugin::model;
use crate::support::world::Repl;
use std::path::Path;

fn session(lines: &[&str], home: &Path) -> String {
    Repl::new(model("")).lines(lines, home)
}

#[test]
fn an_error_ends_the_line_and_not_the_session() {
    let home = tempfile::tempdir().unwrap();
    let screen = session(&["open nowhere; models", "format", "quit", "format"], home.path());
    assert!(screen.contains("cannot open"), "{screen}");
    assert!(!screen.contains("nothing is open"), "{screen}");
    assert_eq!(screen.matches("results are printed as table").count(), 1, "{screen}");
}

#[test]
fn carets_point_at_the_wrong_word_below_the_prompt() {
    let home = tempfile::tempdir().unwrap();
    let screen = session(&["format; load --nonsens"], home.path());
    let carets = screen.lines().find(|line| line.contains('^')).unwrap();
    // `qp> format; load --nonsens`
    assert_eq!(carets, "                 ^^^^^^^^^", "{screen}");
}

#[test]
fn the_history_of_earlier_sessions_is_there() {
    let home = tempfile::tempdir().unwrap();
    session(&["format", "nonsense"], home.path());
    let screen = session(&["history"], home.path());
    assert_eq!(screen, "    1  format\n    2  nonsense\n    3  history\n");
}

#[test]
fn help_lists_every_command_and_explains_each() {
    let home = tempfile::tempdir().unwrap();
    let screen = session(&["help"], home.path());
    for entry in qp::commands::TABLE {
        assert!(screen.contains(entry.summary), "{}", entry.name);
        let explained = session(&[&format!("help {}", entry.name)], home.path());
        assert!(explained.contains("Examples"), "{explained}");
        assert_eq!(explained, session(&[&format!("{} --help", entry.name)], home.path()));
    }
}
