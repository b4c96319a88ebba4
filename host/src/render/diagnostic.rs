//! Errors as people read them: what, where, why, and what to do.

use crate::error::Error;
use crate::printable;
use crate::render::style::Tone;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// The text an error came from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A line typed at a prompt of this width, still visible above the message.
    Prompt {
        /// The line.
        text: &'a str,
        /// Columns before the line.
        prompt_width: usize,
    },
    /// A text that is not on the screen: a script, a pipe, an argument.
    Text {
        /// Its name: the script's path, `-c`, `standard input`.
        name: &'a str,
        /// All of it.
        text: &'a str,
    },
    /// None: the error has no place.
    None,
}

/// The error, styled; several lines, the last one ended.
pub fn error(error: &Error, source: Source<'_>, is_verbose: bool) -> String {
    let mut text = String::new();
    match (source, error.span()) {
        (Source::Prompt { text: line, prompt_width }, Some(span)) => {
            if let Some(caret) = carets(line, span, prompt_width) {
                let _ = writeln!(text, "{}", Tone::Bad.paint(&caret));
            }
            push_message(&mut text, error);
        }
        (Source::Text { name, text: whole }, Some(span)) if whole.get(span.clone()).is_some() => {
            let report = [Level::ERROR.primary_title(title(error)).element(
                Snippet::source(whole)
                    .path(printable::line(name))
                    .annotation(AnnotationKind::Primary.span(span)),
            )];
            text.push_str(&Renderer::styled().render(&report));
            text.push('\n');
        }
        _ => push_message(&mut text, error),
    }
    for hint in error.hints() {
        let _ = writeln!(text, "  {} {}", Tone::Name.paint("hint:"), on_one_line(hint));
    }
    match error.detail() {
        Some(detail) if is_verbose => {
            for line in detail.lines() {
                let _ =
                    writeln!(text, "  {} {}", Tone::Dim.paint("|"), Tone::Dim.paint(&printable::line(line)));
            }
        }
        _ => {}
    }
    text
}

/// A warning or a remark in one line.
pub fn warning(message: &str) -> String {
    format!("{} {}\n", Tone::Warning.paint("warning:"), on_one_line(message))
}

fn push_message(text: &mut String, error: &Error) {
    let _ = writeln!(text, "{} {}", Tone::Bad.paint("error:"), title(error));
}

fn title(error: &Error) -> String {
    on_one_line(&error.one_line())
}

/// A message on one line, line breaks replaced by spaces.
fn on_one_line(text: &str) -> String {
    printable::line(&text.replace(['\n', '\t'], " ")).into_owned()
}

/// A line of carets below the span, or none if the terminal may have wrapped the line.
fn carets(line: &str, span: std::ops::Range<usize>, prompt_width: usize) -> Option<String> {
    if line.contains('\n') {
        return None;
    }
    let before = line.get(..span.start)?.width();
    let width = line.get(span)?.width().max(1);
    Some(format!("{}{}", " ".repeat(prompt_width + before), "^".repeat(width)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style::strip;

    #[test]
    fn carets_stand_under_wide_letters() {
        let failure = Error::usage("unknown model `größe模`").with_span(5..15);
        let source = Source::Prompt { text: "load größe模", prompt_width: 4 };
        let text = strip(&error(&failure, source, false));
        assert_eq!(text, "         ^^^^^^^\nerror: unknown model `größe模`\n");
    }

    #[test]
    fn a_script_is_quoted_with_its_line_number() {
        let failure = Error::usage("unknown command `lod`").with_span(5..8).with_hint("Write `load`.");
        let text = strip(&error(&failure, Source::Text { name: "a.qp", text: "open\nlod x\n" }, false));
        assert!(text.contains("--> a.qp:2:1"), "{text}");
        assert!(text.contains("lod x"), "{text}");
        assert!(text.ends_with("  hint: Write `load`.\n"), "{text}");
    }

    #[test]
    fn detail_is_for_the_verbose() {
        let failure = Error::not_found("x").with_detail("deep\nstack");
        assert!(!error(&failure, Source::None, false).contains("stack"));
        assert!(strip(&error(&failure, Source::None, true)).contains("| stack"));
    }
}
