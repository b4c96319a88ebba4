//! The session on a real pseudo-terminal: prompt, Tab, Ctrl-C, Ctrl-D. Everything else is tested without one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests too"
)]

mod support;

use expectrl::session::OsSession;
use expectrl::{ControlCode, Eof, Expect, Session};
use std::process::Command;
use std::time::Duration;
use support::onnx;
use support::world::World;

fn terminal(world: &World) -> OsSession {
    let mut command: Command = world.qp();
    command.env("TERM", "xterm").env("NO_COLOR", "1").arg("models");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.expect("qp> ").unwrap();
    session
}

#[test]
fn tab_completes_and_enter_runs() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("us\tresnet8_u\t\r").unwrap();
    session.expect("current model: resnet8_uint8.onnx").unwrap();
    session.expect("qp resnet8_uint8.onnx> ").unwrap();
    session.send(ControlCode::EndOfTransmission).unwrap();
    session.expect(Eof).unwrap();
}

#[test]
fn ctrl_c_at_the_prompt_drops_the_line_and_keeps_the_session() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("load nonsense").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("qp> ").unwrap();
    session.send("format\r").unwrap();
    session.expect("results are printed as table").unwrap();
}

#[test]
fn ctrl_c_during_a_command_ends_the_command_and_keeps_the_session() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("use resnet8.onnx\r").unwrap();
    session.expect("qp resnet8.onnx> ").unwrap();
    session.send("input random; run --repeat 100000\r").unwrap();
    session.expect("fits resnet8.onnx").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.expect("qp resnet8.onnx> ").unwrap();
    session.send("format\r").unwrap();
    session.expect("results are printed as table").unwrap();
}

#[test]
fn an_open_quote_continues_on_the_next_line() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("load 'resnet8\r").unwrap();
    session.send("x'; format\r").unwrap();
    session.expect("no model is named").unwrap();
}

#[test]
fn a_block_continues_until_its_end_and_ctrl_c_drops_it() {
    // The editor asks the terminal for this whenever it shows a prompt.
    const PROMPT: &str = "\u{1b}[?2004h";
    let world = World::new();
    let mut session = terminal(&world);
    let continue_with = |session: &mut OsSession, lines: &[&str]| {
        for line in lines {
            session.send(format!("{line}\r")).unwrap();
            session.expect(PROMPT).unwrap();
            session.expect("... ").unwrap();
        }
    };
    continue_with(&mut session, &["for m in a b", "echo dropped-$m"]);
    session.send(ControlCode::EndOfText).unwrap();
    session.expect(PROMPT).unwrap();
    session.expect("qp> ").unwrap();
    continue_with(&mut session, &["for m in a b", "if m == 'b'", "echo said-$m", "end"]);
    session.send("end\r").unwrap();
    let shown = session.expect("said-b").unwrap();
    assert!(!String::from_utf8_lossy(shown.as_bytes()).contains("dropped-a"));
    session.expect("qp> ").unwrap();
    let loop_of_runs = "for m in resnet8.onnx resnet8_int8.onnx; run $m --repeat 100000; end; echo aft\"\"er";
    session.send(format!("use resnet8.onnx; input random; {loop_of_runs}\r")).unwrap();
    session.expect("fits resnet8.onnx").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.expect(PROMPT).unwrap();
    session.send("format\r").unwrap();
    let shown = session.expect("results are printed as table").unwrap();
    assert!(!String::from_utf8_lossy(shown.as_bytes()).contains("after"));
}

/// The prompt has the names of the current model and layer in it, completion those of all.
#[test]
fn no_name_of_a_file_reaches_the_terminal_as_a_command_to_it() {
    let world = World::new();
    let payload = "\u{1b}]0;PWNED\u{7}";
    let io = [
        onnx::field(11, &onnx::value("x", &[Ok(4)])),
        onnx::field(12, &onnx::value(&format!("y{payload}"), &[Ok(4)])),
    ];
    let node = onnx::node(&format!("lay{payload}"), "Relu", "", &["x"], &[&format!("y{payload}")]);
    let model = onnx::model(&[onnx::field(1, &node), io.concat()].concat(), &[]);
    world.write(&format!("models/zz{payload}.onnx"), model);
    let mut session = terminal(&world);
    session.send("load zz*\r").unwrap();
    session.expect("]0;PWNED\u{fffd}.onnx> ").unwrap();
    session.send("layer lay\t\t\u{15}format\r").unwrap();
    let shown = session.expect("results are printed as table").unwrap();
    let shown = String::from_utf8_lossy(shown.as_bytes()).into_owned();
    assert!(!shown.contains(payload), "{shown:?}");
}

/// All that was shown up to the end of the session.
fn rest(session: &mut OsSession) -> String {
    String::from_utf8_lossy(session.expect(Eof).unwrap().as_bytes()).into_owned()
}

/// What must be in the text, in this order.
fn assert_order(text: &str, parts: impl IntoIterator<Item = String>) {
    let mut at = 0;
    for part in parts {
        at += text[at..].find(&part).unwrap_or_else(|| panic!("no {part:?} from {at} on in {text:?}"));
    }
}

#[test]
fn ten_lines_sent_at_once_are_ten_commands() {
    let world = World::new();
    let mut session = terminal(&world);
    let lines: String = (0..10).map(|index| format!("echo li\"\"ne-{index}\r")).collect();
    session.send(lines + "quit\r").unwrap();
    let shown = rest(&mut session);
    assert_order(&shown, (0..10).map(|index| format!("\nline-{index}\r")));
}

#[test]
fn lines_typed_while_a_command_runs_follow_it() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("use resnet8.onnx; input random; run --repeat 40\r").unwrap();
    session.expect("fits resnet8.onnx").unwrap();
    let lines: String = (0..5).map(|index| format!("echo li\"\"ne-{index}\r")).collect();
    session.send(lines).unwrap();
    session.send("quit\r").unwrap();
    let shown = rest(&mut session);
    assert_order(&shown, (0..5).map(|index| format!("\nline-{index}\r")));
}

#[test]
fn lines_typed_before_the_first_prompt_are_run() {
    let world = World::new();
    let mut command: Command = world.qp();
    command.env("TERM", "xterm").env("NO_COLOR", "1").arg("models");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.send("echo fi\"\"rst\recho sec\"\"ond\rquit\r").unwrap();
    assert_order(&rest(&mut session), ["\nfirst\r".to_owned(), "\nsecond\r".to_owned()]);
}

#[test]
fn pasted_lines_are_shown_each_before_its_result_and_an_error_ends_only_its_line() {
    let world = World::new();
    let mut session = terminal(&world);
    let paste = "echo on\"\"e\rnonsense\rfor m in a b\r  echo in-$m\rend\recho la\"\"st\r";
    session.send(format!("\u{1b}[200~{paste}\u{1b}[201~")).unwrap();
    session.send("\r").unwrap();
    let shown = session.expect("\nlast\r").unwrap();
    let shown = String::from_utf8_lossy(shown.as_bytes()).into_owned();
    assert_order(
        &shown,
        [
            "qp> echo on\"\"e\r\none\r",
            "qp> nonsense\r\n",
            "unknown command",
            "in-a",
            "in-b",
            "qp> echo la\"\"st\r\n",
        ]
        .map(str::to_owned),
    );
    session.expect("qp> ").unwrap();
    session.send("history\rquit\r").unwrap();
    assert_order(&rest(&mut session), ["3  for m in a b".to_owned()]);
}

#[test]
fn ctrl_c_also_drops_the_lines_that_wait() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("use resnet8.onnx; input random; run --repeat 100000\recho no\"\"t-run\r").unwrap();
    session.expect("fits resnet8.onnx").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.expect("qp resnet8.onnx> ").unwrap();
    session.send("quit\r").unwrap();
    assert!(!rest(&mut session).contains("\nnot-run"));
}

#[test]
fn a_command_that_does_not_stop_ends_with_the_program_only_after_a_warning() {
    let world = World::new();
    world.write(
        "models/deaf.toy",
        "toy 1\nmisbehave deaf\ninput x float32 1,4\ntensor w float32 4 = 1 2 3 4\nlayer m Mul x w -> y\noutput y\n",
    );
    let mut session = terminal(&world);
    session.send("use deaf.toy; input random; run\r").unwrap();
    session.expect("fits deaf.toy").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send(ControlCode::EndOfText).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    // One that comes before the warning makes it appear, and those that follow at once are not answers to it.
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("Ctrl-C again ends qp").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(session.get_process().is_alive().unwrap());
    session.send(ControlCode::EndOfText).unwrap();
    session.expect(Eof).unwrap();
    assert!(matches!(session.get_process().wait(), Ok(status) if format!("{status:?}").contains("130")));
}

#[test]
fn a_space_keeps_a_line_out_of_the_history() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("echo shown\r echo hidden\rhistory\r").unwrap();
    session.expect("1  echo shown").unwrap();
    session.expect("2  history").unwrap();
    session.send("quit\r").unwrap();
    session.expect(Eof).unwrap();
    let kept = std::fs::read_to_string(world.path("home/state/history.txt")).unwrap();
    assert_eq!(kept, "echo shown\nhistory\nquit\n");
}

/// A session on a screen of this size, with these variables.
fn terminal_of(world: &World, (width, height): (u16, u16), variables: &[(&str, &str)]) -> OsSession {
    let mut command: Command = world.qp();
    command.env("TERM", "xterm").env("NO_COLOR", "1").envs(variables.iter().copied()).arg("models");
    let mut session = Session::spawn(command).unwrap();
    session.get_process_mut().set_window_size(width, height).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.expect("qp> ").unwrap();
    session
}

#[test]
fn a_long_result_waits_after_each_screen_and_says_what_is_left() {
    let world = World::new();
    let mut session = terminal_of(&world, (80, 24), &[]);
    session.send("help\r").unwrap();
    let first = session.expect(" more: Space next page, Enter next line, a all, q end --").unwrap();
    assert_eq!(String::from_utf8_lossy(first.as_bytes()).lines().count(), 25);
    session.send("\r").unwrap();
    session.expect(" more: Space").unwrap();
    session.send(" ").unwrap();
    session.expect(" more: Space").unwrap();
    session.send("q").unwrap();
    session.expect(" lines not shown").unwrap();
    session.expect("qp> ").unwrap();
    session.send("help\r").unwrap();
    session.expect(" more: Space").unwrap();
    session.send("a").unwrap();
    session.expect("`help COMMAND` explains one").unwrap();
    session.send("quit\r").unwrap();
    session.expect(Eof).unwrap();
}

#[test]
fn a_short_result_and_lines_typed_ahead_do_not_wait() {
    let world = World::new();
    let mut session = terminal_of(&world, (80, 24), &[]);
    session.send("models\r").unwrap();
    session.expect("qp> ").unwrap();
    session.send("\u{1b}[200~help\rhelp\recho do\"\"ne\r\u{1b}[201~\r").unwrap();
    session.expect("\ndone\r").unwrap();
}

#[test]
fn the_pager_of_the_user_gets_long_results() {
    let world = World::new();
    let mut session =
        terminal_of(&world, (80, 24), &[("PAGER", "cat > paged.txt"), ("PATH", "/usr/bin:/bin")]);
    session.send("help\recho do\"\"ne\r").unwrap();
    session.expect("\ndone\r").unwrap();
    assert!(std::fs::read_to_string(world.path("paged.txt")).unwrap().contains("Find and load models"));
    let mut session = terminal_of(&world, (80, 24), &[("PAGER", "no-such-pager"), ("PATH", "/usr/bin:/bin")]);
    session.send("help\r").unwrap();
    session.expect(" more: Space").unwrap();
}

#[test]
fn results_go_to_programs_and_ctrl_c_ends_the_program_alone() {
    let world = World::new();
    let mut session = terminal_of(&world, (80, 24), &[("PATH", "/usr/bin:/bin")]);
    session.send("help | grep -c Show\r!echo ra\"\"n\r").unwrap();
    session.expect("\nran\r").unwrap();
    session.send("!echo st\"\"arted; sleep 100\r").unwrap();
    session.expect("\nstarted\r").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.send("cd models\r").unwrap();
    session.expect("/models\r").unwrap();
    session.send("open resnet8.on\t\r").unwrap();
    session.expect("1 model").unwrap();
}

#[test]
fn tab_finds_names_by_any_part_and_says_what_they_are() {
    let world = World::new();
    let mut session = terminal_of(&world, (100, 30), &[]);
    session.send("use resnet8_int8.onnx\r").unwrap();
    session.expect("qp resnet8_int8.onnx> ").unwrap();
    session.send("layer conv2\t").unwrap();
    let listed = session.expect("layer3.conv2  Conv N×64×8×8").unwrap();
    let listed = String::from_utf8_lossy(listed.as_bytes()).into_owned();
    assert!(
        listed.contains("3 names with `conv2`") && listed.contains("layer1.conv2  Conv N×16×32×32"),
        "{listed:?}"
    );
    assert!(!listed.contains("QuantizeLinear"), "{listed:?}");
    session.send("\u{1b}[H").unwrap();
    session.send("\u{b}").unwrap();
    session.send("layers --op Ge\t\r").unwrap();
    session.expect("1 of 70 layers in").unwrap();
}

#[test]
fn up_searches_lines_that_begin_like_this_one() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("echo fi\"\"rst\rformat\recho sec\"\"ond\rtiming\r").unwrap();
    session.expect("times are not shown").unwrap();
    session.expect("qp> ").unwrap();
    session.send("ech\u{1b}[A\u{1b}[A\r").unwrap();
    session.expect("\nfirst\r").unwrap();
    // Without anything typed, one line after the other.
    session.send("\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A\r").unwrap();
    session.expect("results are printed as table").unwrap();
}

#[test]
fn a_hint_says_what_a_command_takes_and_is_never_part_of_the_line() {
    let world = World::new();
    let mut session = terminal(&world);
    session.send("use resnet8.onnx\r").unwrap();
    session.expect("qp resnet8.onnx> ").unwrap();
    session.send("summary ").unwrap();
    session.expect("Show the variants of a network").unwrap();
    session.send("\u{1b}[C\u{5}\r").unwrap();
    session.expect("resnet8_int8.onnx").unwrap();
}

#[test]
fn a_picker_takes_several_words_shows_plumbing_last_and_escape_is_quiet() {
    let world = World::new();
    let mut session = terminal_of(&world, (80, 24), &[]);
    session.send("use resnet8_int8.onnx\r").unwrap();
    session.expect("qp resnet8_int8.onnx> ").unwrap();
    session.send("layer\r").unwrap();
    let first = session.expect("Esc to leave").unwrap();
    let first = String::from_utf8_lossy(first.as_bytes()).into_owned();
    assert!(first.contains("layer1.conv1  Conv") && !first.contains("QuantizeLinear"), "{first:?}");
    session.send("\u{1b}").unwrap();
    let left = session.expect("qp resnet8_int8.onnx> ").unwrap();
    assert!(!String::from_utf8_lossy(left.as_bytes()).contains("error"));
    session.send("layer\r").unwrap();
    session.expect("Esc to leave").unwrap();
    session.send("conv2 layer2\r").unwrap();
    session.expect("quantized     qdq").unwrap();
}

#[test]
fn a_terminal_whose_locale_is_not_utf_8_gets_ascii() {
    let world = World::new();
    let mut session = terminal_of(
        &world,
        (100, 24),
        &[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")],
    );
    session.send("use resnet8_int8.onnx\r").unwrap();
    session.expect("qp resnet8_int8.onnx> ").unwrap();
    session.send("models\rlayer layer1.conv\t\u{15}layers --all | cat\rquit\r").unwrap();
    let shown = rest(&mut session);
    assert!(shown.contains("-----------") && shown.contains("Conv Nx16x32x32"), "{shown}");
    // A program gets what a file would.
    assert!(shown.contains("─────"), "{shown}");
    let mut session = terminal_of(&world, (100, 24), &[("LC_ALL", "C.UTF-8")]);
    session.send("models\r").unwrap();
    session.expect("─────").unwrap();
}

#[test]
fn progress_shows_a_rate_in_a_unit_and_goes_when_the_work_ends() {
    let world = World::new();
    let mut session = terminal_of(&world, (100, 24), &[]);
    session.send("use resnet8.onnx; input random; run --repeat 100000\r").unwrap();
    session.expect(" samples/s, ").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.send("bench --rounds 100000\r").unwrap();
    session.expect(" rounds/s, ").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.send("quit\r").unwrap();
    session.expect(Eof).unwrap();
}

/// A session whose messages go into a file while results stay on the terminal.
#[cfg(target_os = "linux")]
#[test]
fn progress_is_a_line_every_ten_seconds_where_messages_go_to_no_terminal() {
    let world = World::new();
    let line = "load models/resnet8.onnx; input models/digits.npz:images[0:4]; run --repeat 100000";
    // A pseudo-terminal takes all three streams: a shell sends the messages elsewhere.
    let program = world.qp();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" -c \"$1\" 2>said"]).arg(program.get_program()).arg(line);
    command
        .env_clear()
        .current_dir(world.path("models/.."))
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm");
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let session = Session::spawn(command).unwrap();
    let qp = u32::try_from(session.get_process().pid().as_raw()).unwrap();
    // Nothing has to be computed for the line: the worker stands still.
    let begun = std::time::Instant::now();
    let worker = loop {
        match support::world::workers(qp).first() {
            Some(worker) => break *worker,
            None => assert!(begun.elapsed() < Duration::from_secs(30), "no worker"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    std::thread::sleep(Duration::from_secs(2));
    assert!(Command::new("kill").args(["-STOP", &worker.to_string()]).status().unwrap().success());
    let lines = || std::fs::read_to_string(world.path("said")).unwrap();
    while !lines().contains("running samples") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", lines());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_secs(9));
    let text = lines();
    let line = text.lines().find(|line| line.starts_with("running samples")).unwrap();
    assert!(line.contains(" of 400004, ") && line.contains(" left"), "{line}");
    assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
}

#[test]
fn numbers_on_options_say_in_words_what_they_take() {
    let world = World::new();
    let mut session = terminal_of(&world, (100, 24), &[]);
    for (line, words) in [
        ("run --repeat never", "it takes a whole number from 1 to 100000"),
        ("run --repeat 0", "it takes a whole number from 1 to 100000"),
        ("undo 0", "it takes a whole number from 1 on"),
        ("capture --budget some", "it takes a size, as in 256MiB"),
    ] {
        session.send(format!("{line}\r")).unwrap();
        session.expect(words).unwrap();
    }
    session.send("quit\r").unwrap();
    session.expect(Eof).unwrap();
}

#[test]
fn the_first_start_says_what_is_here_and_what_to_type() {
    let world = World::new();
    let start = |folder: &[&str]| {
        let mut command: Command = world.qp();
        command.args(folder).env("TERM", "xterm").env("NO_COLOR", "1");
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        let shown = session.expect("qp> ").unwrap();
        let shown = String::from_utf8_lossy(shown.as_bytes()).into_owned();
        session.send("quit\r").unwrap();
        session.expect(Eof).unwrap();
        shown
    };
    let first = start(&[]);
    assert!(first.contains("6 models in this folder or below: models/resnet8.onnx, "), "{first}");
    assert!(
        first.contains("and 4 more\r\nType `open .` to list them")
            && first.contains("`help` lists all commands"),
        "{first}"
    );
    assert!(start(&[]).contains(": `open FOLDER` to begin"));
    assert!(start(&["models"]).contains(": `summary` to compare the models"));
}
