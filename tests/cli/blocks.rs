//! `if` and `for` in scripts, `-c`, pipes and at the prompt.

use crate::support::world::{Repl, World};
use std::io::Write;
use std::process::Stdio;

fn lines(output: &str) -> Vec<&str> {
    output.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_first_branch_that_holds_is_executed() {
    let world = World::new();
    let script = "if n > 9; echo many; else if n > 4; echo some; else if n > 3; echo few; else; echo none; end; echo after";
    for (n, said) in [(10, "many"), (5, "some"), (4, "few"), (3, "none")] {
        let ran = world.run(&format!("let n = {n}; {script}"));
        assert_eq!(ran.code, 0, "{}", ran.talk);
        assert_eq!(lines(&ran.output)[1..], [said, "after"]);
    }
}

#[test]
fn conditions_read_results() {
    let world = World::new();
    let ran = world.run("open models; if open.models.size() == 6; echo all; end");
    assert!(ran.code == 0 && ran.output.ends_with("all\n"), "{} {}", ran.output, ran.talk);
}

#[test]
fn a_loop_runs_once_for_each_word_and_its_variable_ends_with_it() {
    let world = World::new();
    let ran = world
        .run("let m = before; for m in 1 2 'a b' \"c $m\" '*'; for n in x $m; echo $m-$n; end; end; echo $m");
    assert_eq!(
        lines(&ran.output)[1..],
        [
            "1-x",
            "1-1",
            "2-x",
            "2-2",
            "a b-x",
            "a b-a b",
            "c before-x",
            "c before-c before",
            "*-x",
            "*-*",
            "before"
        ]
    );
    let ran = world.run("for m in 1; echo $m; end; echo $m");
    assert!(ran.code == 2 && ran.error() == "unknown variable `$m`", "{}", ran.talk);
    assert_eq!(lines(&world.run("for n in 1.50 007 2.5; echo $n; end").output), ["1.50", "007", "2.5"]);
    assert_eq!(lines(&world.run("for n in 3 10; if n > 5; echo $n; end; end").output), ["10"]);
}

#[test]
fn patterns_match_models_of_the_session_and_files_naturally_sorted() {
    let world = World::new();
    for name in ["b10.txt", "b9.txt", "c1.txt", ".b0.txt", "in/d/x1.bin", "in/e/x2.bin", "b[1].txt"] {
        world.write(name, "");
    }
    let said = |list: &str| {
        let ran = world.run(&format!("for m in {list}; echo $m; end"));
        assert_eq!(ran.code, 0, "{}", ran.talk);
        lines(&ran.output).join(" ")
    };
    assert_eq!(said("b*.txt"), "b9.txt b10.txt b[1].txt");
    assert_eq!(said("b[0-9]*.txt c?.txt"), "b9.txt b10.txt c1.txt");
    assert_eq!(said("in/*/x[!1].bin \"in\"/?/'x1'.*"), "in/e/x2.bin in/d/x1.bin");
    assert_eq!(said("./*1.txt"), "./c1.txt");
    assert_eq!(said("b'['*"), "b[1].txt");
    assert_eq!(said(".b*"), ".b0.txt");
    let ran = world.run("open models; for m in *.onnx *_traced*; echo $m; end");
    assert_eq!(
        lines(&ran.output)[lines(&ran.output).len() - 4..],
        ["resnet8.onnx", "resnet8_int8.onnx", "resnet8_uint8.onnx", "resnet8_traced.pt"]
    );
    let ran = world.run("for m in a b *.pt3; echo $m; end");
    assert_eq!((ran.code, ran.output.as_str()), (1, ""));
    assert_eq!(ran.error(), "`*.pt3` matches nothing: no model and no file matches");
    assert!(ran.talk.contains("-c:1:14") && ran.hint().contains("quote"), "{}", ran.talk);
}

#[test]
fn problems_of_blocks_are_found_before_anything_is_executed() {
    let world = World::new();
    for (line, error) in [
        ("echo a; if true; echo b", "no `end` for this block"),
        ("echo a; end", "`end` without `if` or `for`"),
        ("echo a; else", "`else` without `if`"),
        ("echo a; for m of x; end", "`for` is written `for NAME in WORD…`"),
    ] {
        let ran = world.run(line);
        assert_eq!((ran.code, ran.error(), ran.output.as_str()), (2, error, ""), "{line}");
    }
    let ran = world.run("expect-error State if true");
    assert!(ran.talk.contains("`if` is not allowed here"), "{}", ran.talk);
    assert!(world.run("help for").hint().contains("for NAME in WORD"));
    let deep = format!("{}{}", "for m in a; ".repeat(40), "end; ".repeat(40));
    assert_eq!(world.run(&deep).error(), "blocks are nested more than 32 deep");
}

#[test]
fn an_error_in_a_block_has_its_line_and_ends_the_script() {
    let world = World::new();
    world.write("a.qp", "for m in a b\n  if m == 'b'\n    lod $m\n  end\n  echo $m\nend\necho after\n");
    let ran = world.run_args(&["run", "a.qp"]);
    assert_eq!((ran.code, lines(&ran.output)), (2, vec!["a"]));
    assert!(ran.talk.contains("--> a.qp:3:5"), "{}", ran.talk);
    world.write("b.qp", "for m in a b\n  if m > 3\n  end\nend\n");
    let ran = world.run_args(&["run", "b.qp"]);
    assert!(ran.code == 2 && ran.talk.contains("--> b.qp:2:3"), "{}", ran.talk);
}

#[test]
fn keep_going_goes_on_within_blocks_and_reports_name_the_rounds() {
    let world = World::new();
    world.write("a.qp", "for n in 1 2 3\nfor m in x\nassert n != 2\nif n == 3\nassert m == 'y'\nend\nend\nend\nassert 1 == 1\n");
    let ran = world.run_args(&[
        "run",
        "--keep-going",
        "a.qp",
        "--report",
        "a.xml",
        "--report",
        "a.json",
        "--report",
        "a.md",
    ]);
    assert_eq!(ran.code, 3, "{}", ran.talk);
    assert_eq!(ran.output.matches("holds").count(), 3);
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert!(read("a.xml").contains("name=\"line 3 (n = 2, m = x): assert n != 2\""), "{}", read("a.xml"));
    assert!(read("a.md").contains("line 5 (n = 3, m = x): `assert m == 'y'`"), "{}", read("a.md"));
    let json: serde_json::Value = serde_json::from_str(&read("a.json")).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&3.into(), &2.into()));
    assert_eq!(json["steps"][1]["round"], "n = 2, m = x");
    assert!(json["steps"][4]["round"].is_null());
}

#[test]
fn a_script_printed_as_it_runs_shows_each_round() {
    let world = World::new();
    world.write("a.qp", "for m in a b\nif m == 'b'\necho $m\nend\nend\n");
    let ran = world.run_args(&["run", "--echo", "a.qp"]);
    let expected = [
        "qp> for m in a b",
        "qp> # m = a",
        "qp> if m == 'b'",
        "qp> # m = b",
        "qp> if m == 'b'",
        "qp> echo $m",
        "b",
    ];
    assert_eq!(lines(&ran.output), expected);
}

#[test]
fn a_block_in_a_pipe_is_executed_when_it_ends() {
    let world = World::new();
    let mut child =
        world.qp().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo a\nfor m in b c\necho $m\nend\nif true\necho d\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap()), ["a", "b", "c"]);
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && talk.contains("no `end`") && talk.contains("from line 5"),
        "{talk}"
    );
}

#[test]
fn a_block_at_the_prompt_goes_on_over_lines_and_is_one_entry_of_the_history() {
    let world = World::new();
    let mut repl = Repl::new(world.path("."));
    let typed = ["for m in a b", "echo $m", "end", "history", "for m in c", "lod $m", "end"];
    let shown = repl.lines(&typed, &world.path("home"));
    assert!(shown.starts_with("a\nb\n"), "{shown}");
    assert!(shown.contains("prompt:2:1"), "{shown}");
    let history = std::fs::read_to_string(world.path("home/state/history.txt")).unwrap();
    assert!(history.starts_with("for m in a b\\necho $m\\nend\n"), "{history}");
    // Ctrl-D ends a block as it is.
    assert!(repl.lines(&["if true", "echo x"], &world.path("home")).contains("no `end` for this block"));
}

#[test]
fn a_check_looks_into_blocks() {
    let world = World::new();
    world.write(
        "good.qp",
        "open models\nparam n 3\nfor m in *.onnx\n  info $m\n  let x = $m\n  compare resnet8.onnx $m --data $x\nend\n\
         if n > 2\n  let y = 1\nelse\n  let y = 2\nend\nassert compare.min_sqnr_db > $y\n",
    );
    let ran = world.run_args(&["check", "good.qp"]);
    assert_eq!(ran.code, 0, "{}", ran.talk);
    world.write(
        "bad.qp",
        "open models\nif summary.families.size() > 0\n  load missing.onnx --frob\nelse\n  summary\nend\nassert summary.familes.size() == 1\n\
         for m in $nothing; echo $m; end\necho $m\n",
    );
    let ran = world.run_args(&["check", "bad.qp"]);
    assert_eq!(ran.code, 2);
    for part in [
        "bad.qp:2:1",
        "`summary` has not run",
        "--frob",
        "bad.qp:7:1",
        "no `familes`",
        "$nothing",
        "`$m`",
        "5 problems",
    ] {
        assert!(ran.talk.contains(part), "{part}: {}", ran.talk);
    }
    world.write("open.qp", "for m in a\n  if true\nend\n");
    let ran = world.run_args(&["check", "open.qp"]);
    assert!(ran.code == 2 && ran.talk.contains("open.qp:1:1"), "{}", ran.talk);
}

#[test]
fn a_record_has_blocks_as_they_were_written_if_they_succeeded() {
    let world = World::new();
    let ran = world.run("for m in a b; echo $m; end; if false; echo c; end; record s.qp");
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let script = std::fs::read_to_string(world.path("s.qp")).unwrap();
    assert!(script.ends_with("\nfor m in a b; echo $m; end\nif false; echo c; end\n"), "{script}");
}

#[test]
fn blocks_and_scripts_nest_within_their_limits() {
    let world = World::new();
    let script = format!("{}source a.qp\n{}", "for m in a\n".repeat(31), "end\n".repeat(31));
    world.write("a.qp", script);
    let ran = world.run_args(&["run", "a.qp"]);
    assert!(ran.code == 1 && ran.error().contains("nest scripts more than 16 deep"), "{}", ran.talk);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_loop() {
    let world = World::new();
    let line = "for n in 1 2 3; bench models/resnet8.onnx --seconds 60; end; echo after";
    let mut child =
        world.qp().args(["-c", line]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
