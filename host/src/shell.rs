//! Programs that the user starts: their pager, what follows `|` and `!`.

use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often the end of a program is looked for.
const TICK: Duration = Duration::from_millis(20);

/// A command of the shell.
pub fn command(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// Runs a program on this text, if any, and waits for its end; `idle` is called meanwhile.
///
/// # Errors
/// Those of the system; `NotFound` if the shell cannot start the program.
pub fn run(command: &mut Command, input: Option<String>, mut idle: impl FnMut()) -> io::Result<ExitStatus> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let writer = child.stdin.take().zip(input).map(|(mut stdin, text)| {
        // A program that ends early has seen enough.
        std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())))
    });
    let status = loop {
        idle();
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(TICK),
        }
    };
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    // A shell ends with 126 or 127 if it cannot start a program.
    if matches!(status.code(), Some(126 | 127)) { Err(io::ErrorKind::NotFound.into()) } else { Ok(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_ends_early() {
        let run = |line: &str, text: String| run(&mut command(line), Some(text), || {});
        let error = run("qp-no-such-program 2>/dev/null", "text".to_owned()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(run("true", "text\n".repeat(100_000)).unwrap().success());
        assert_eq!(run("exit 3", String::new()).unwrap().code(), Some(3));
    }
}
