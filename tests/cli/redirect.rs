//! Results for programs and files: `|`, `>`, `>>`, `>|`, and `!`; `cd` and `pwd`.

use crate::support::world::World;
use std::io::Write;
use std::process::Stdio;

/// A shell and its tools are found.
fn run(world: &World, arguments: &[&str]) -> (String, String, i32) {
    let output = world.qp().env("PATH", "/usr/bin:/bin").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn a_program_gets_the_plain_text_of_a_result() {
    let world = World::new();
    let line = "open models | grep -c int8; layers resnet8.onnx | grep 'conv1' | head -1; for m in resnet8; info $m.onnx --json | grep -c \"$m\"; end";
    let (output, talk, code) = run(&world, &["--color", "always", "-c", line]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((code, talk.as_str()), (0, ""), "{output}");
    assert!(lines[0] == "3" && lines[1].starts_with("  layer1.conv1 ") && lines[2] == "1", "{output:?}");
}

#[test]
fn an_exclamation_mark_runs_a_program_with_the_rest_of_the_line() {
    let world = World::new();
    let (output, talk, code) = run(&world, &["-c", "!echo a; echo b | tr b c\n!exit 3\necho after"]);
    assert_eq!((output.as_str(), code), ("a\nc\n", 1));
    assert!(talk.contains("`exit 3` ended with exit code 3"), "{talk}");
    let (_, talk, code) = run(&world, &["-c", "format | no-such-program"]);
    assert!(code == 1 && talk.contains("`no-such-program` cannot be run"), "{talk}");
}

#[test]
fn a_file_is_new_unless_the_mark_says_otherwise() {
    let world = World::new();
    let read = || std::fs::read_to_string(world.path("s.txt")).unwrap();
    let ran = world.run("echo one > s.txt");
    assert_eq!((ran.output.as_str(), read().as_str()), ("", "one\n"), "{}", ran.talk);
    let ran = world.run("echo two > s.txt");
    assert_eq!((ran.error(), ran.code), ("`s.txt` already exists", 1));
    assert!(ran.talk.contains("add to it with `>>`, or replace it with `>|`"), "{}", ran.talk);
    assert_eq!(world.run("let f = s.txt; echo two >>$f").code, 0);
    assert_eq!(read(), "one\ntwo\n");
    assert_eq!(world.run("echo three >| s.txt").code, 0);
    assert_eq!(read(), "three\n");
}

#[test]
fn what_cannot_go_anywhere_is_refused_before_it_runs() {
    let world = World::new();
    for (line, expected) in [
        ("echo a >", "`>` is followed by one file, at the end of the command"),
        ("echo a > b c", "`>` is followed by one file, at the end of the command"),
        ("echo a > b | cat", "a result goes to a program or into a file, not both"),
        ("quit | cat", "`quit` has no result of its own to send on"),
        ("if 1 == 1 | cat; end", "only the result of a command goes to a program"),
        ("echo a |", "`|` without a program"),
    ] {
        let ran = world.run(line);
        assert_eq!((ran.error(), ran.code), (expected, 2), "{line}");
    }
    assert!(!world.path("b").exists());
    assert_eq!(world.run("let n = 3; assert n > 2 && 'b' > 'a'; let x = a > b").code, 0);
    assert!(!world.path("b").exists());
}

#[test]
fn a_script_runs_no_program_and_writes_only_new_files_below_itself() {
    let world = World::new();
    world.write("scripts/old.txt", "old");
    for (text, expected) in [
        ("!touch ../ran", "scripts may not run programs"),
        ("echo a | tee ../ran", "scripts may not run programs"),
        ("echo a >> new.txt", "scripts may not replace files or add to them"),
        ("echo a >| new.txt", "scripts may not replace files or add to them"),
        ("echo a > ../ran", "scripts may not write outside of their own folder"),
        ("cd ..; echo a > ran", "scripts may not write outside of their own folder"),
        ("echo a > link/ran", "scripts may not write outside of their own folder"),
        ("echo a > old.txt", "old.txt` already exists"),
    ] {
        let script = world.write("scripts/a.qp", text);
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink(world.path(""), world.path("scripts/link"));
        for line in [["run", "scripts/a.qp"], ["-c", "source scripts/a.qp"]] {
            let ran = world.run_args(&line);
            assert!(ran.code != 0 && ran.talk.contains(expected), "{text}: {}", ran.talk);
        }
        let mut piped =
            world.qp().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _ = piped
            .stdin
            .take()
            .unwrap()
            .write_all(text.replace("echo a > old", "echo a > scripts/old").as_bytes());
        piped.wait().unwrap();
        assert!(!world.path("ran").exists(), "{text}");
        assert!(script.exists());
    }
    world.write("scripts/a.qp", "echo a > new.txt");
    assert_eq!(world.run_args(&["run", "scripts/a.qp"]).code, 0);
    assert_eq!(std::fs::read_to_string(world.path("scripts/new.txt")).unwrap(), "a\n");
}

#[test]
fn an_option_lets_scripts_run_programs_and_check_knows_it() {
    let world = World::new();
    world.write("a.qp", "!echo ran\necho b | tr b c\n");
    let (output, _, code) = run(&world, &["--allow-programs", "run", "a.qp"]);
    assert_eq!((output.as_str(), code), ("ran\nc\n", 0));
    let (_, talk, code) = run(&world, &["check", "a.qp"]);
    assert!(code == 2 && talk.contains("2 problems") && talk.contains("--allow-programs"), "{talk}");
    assert_eq!(run(&world, &["--allow-programs", "check", "a.qp"]).2, 0);
}

#[test]
fn cd_changes_where_paths_start_and_open_models_stay() {
    let world = World::new();
    let ran = world.run(
        "open models; cd models; pwd; ?pwd; info resnet8.onnx; load resnet8_int8.onnx; input digits.npz:images",
    );
    assert_eq!(ran.code, 0, "{}", ran.talk);
    assert_eq!(ran.output.matches("/models\n").count(), 2);
    assert!(ran.output.contains("Show the folder where relative paths start"), "{}", ran.output);
    assert_eq!(world.run("cd nowhere").code, 1);
    world.write("here/a.qp", "cd ..");
    assert!(world.run("source here/a.qp; open models; info resnet8.onnx").code == 0);
}
