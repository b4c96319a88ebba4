//! Splits a text into statements and words, as a shell does, and keeps each one's position.
//!
//! - Words are separated by white space; statements by newlines or `;`.
//! - `'…'` is literal; `"…"` expands `$name` and knows `\"`, `\\`, `\$` and a backslash before a newline.
//! - Outside quotes a backslash makes the next character literal; before a newline it joins the lines.
//! - `$name` and `${name}` are expanded later, into one word, whatever the value holds.
//! - `#` at the start of a word begins a comment that ends with the line.
//! - `|` at the start of a word ends a statement's own words: the rest, up to a newline or an unquoted `;`, is for a shell, as is
//!   the rest of the line after `!` in place of a command.

use std::ops::Range;

/// One command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The words, never empty.
    pub words: Vec<Word>,
    /// From the first word to the end of the last, in bytes of the text.
    pub span: Range<usize>,
    /// What is for a shell: after `|`, or after the only word `!`.
    pub program: Option<Range<usize>>,
}

impl Statement {
    /// The position with what is for a shell.
    pub fn whole(&self) -> Range<usize> {
        self.span.start..self.program.as_ref().map_or(self.span.end, |program| program.end)
    }

    /// Whether it only runs a program.
    pub fn is_program(&self) -> bool {
        self.program.as_ref().is_some_and(|program| program.start == self.span.end) && self.span.len() == 1
    }
}

/// One word, its variables not yet expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its pieces, in order; adjacent literals are one.
    pub parts: Vec<Part>,
    /// Its position, quotes included, in bytes of the text.
    pub span: Range<usize>,
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// `*`, `?` or `[` outside quotes: itself, unless the word is taken as a pattern.
    Wildcard(char),
    /// The value of a variable.
    Variable {
        /// The name without the `$`.
        name: String,
        /// The position of the reference, in bytes of the text.
        span: Range<usize>,
    },
}

/// A part of the text that cannot be split into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: &'static str,
    /// Where it begins and ends, in bytes of the text.
    pub span: Range<usize>,
    /// Whether more text could fix it: an open quote, a backslash at the end.
    pub is_incomplete: bool,
}

/// The statements of a text.
///
/// # Errors
/// All problems, in order.
pub fn parse(text: &str) -> Result<Vec<Statement>, Vec<Problem>> {
    let mut splitter = Splitter { text, position: 0, statements: Vec::new(), problems: Vec::new() };
    splitter.run();
    if splitter.problems.is_empty() { Ok(splitter.statements) } else { Err(splitter.problems) }
}

/// Whether the text ends within a quote or after a backslash, so that the next line belongs to it.
pub fn is_incomplete(text: &str) -> bool {
    parse(text).is_err_and(|problems| problems.iter().any(|problem| problem.is_incomplete))
}

struct Splitter<'a> {
    text: &'a str,
    position: usize,
    statements: Vec<Statement>,
    problems: Vec<Problem>,
}

impl Splitter<'_> {
    fn run(&mut self) {
        let mut words: Vec<Word> = Vec::new();
        while let Some(letter) = self.peek() {
            match letter {
                '\n' | ';' => {
                    self.bump();
                    self.finish_statement(&mut words, None);
                }
                '!' if words.is_empty() => {
                    let start = self.position;
                    self.bump();
                    let rest = &self.text[self.position..];
                    let end = self.position + rest.find('\n').unwrap_or(rest.len());
                    let program = self.position..end;
                    let span = start..start + 1;
                    words.push(Word { parts: vec![Part::Literal("!".to_owned())], span: span.clone() });
                    self.position = end;
                    if self.text[program.clone()].trim().is_empty() {
                        self.problem("`!` without a program", span);
                    }
                    self.finish_statement(&mut words, Some(program));
                }
                '|' if !words.is_empty() && !self.text[self.position..].starts_with("||") => {
                    let start = self.position;
                    self.bump();
                    let program = self.program();
                    if self.text[program.clone()].trim().is_empty() {
                        self.problem("`|` without a program", start..start + 1);
                    }
                    self.finish_statement(&mut words, Some(program));
                }
                '#' => {
                    let rest = &self.text[self.position..];
                    self.position += rest.find('\n').unwrap_or(rest.len());
                }
                '\\' if self.text[self.position..].starts_with("\\\n") => self.position += 2,
                '\\' if self.text[self.position..].starts_with("\\\r\n") => self.position += 3,
                letter if letter.is_whitespace() => self.bump(),
                _ => {
                    let word = self.word();
                    words.push(word);
                }
            }
        }
        self.finish_statement(&mut words, None);
    }

    fn finish_statement(&mut self, words: &mut Vec<Word>, program: Option<Range<usize>>) {
        if let (Some(first), Some(last)) = (words.first(), words.last()) {
            let span = first.span.start..last.span.end;
            self.statements.push(Statement { words: std::mem::take(words), span, program });
        }
    }

    /// Up to the end of the statement, with the quotes of a shell.
    fn program(&mut self) -> Range<usize> {
        let start = self.position;
        let mut quote = None;
        while let Some(letter) = self.peek() {
            match (quote, letter) {
                (None, '\n' | ';') => break,
                (None, '\'' | '"') => quote = Some((letter, self.position)),
                (Some((open, _)), letter) if letter == open => quote = None,
                (None | Some(('"', _)), '\\') => self.bump(),
                _ => {}
            }
            self.bump();
        }
        if let Some((_, quote)) = quote {
            self.open_quote(quote);
        }
        start..self.position
    }

    fn problem(&mut self, message: &'static str, span: Range<usize>) {
        self.problems.push(Problem { message, span, is_incomplete: false });
    }

    fn word(&mut self) -> Word {
        let start = self.position;
        let mut parts = Vec::new();
        while let Some(letter) = self.peek() {
            match letter {
                ';' => break,
                letter if letter.is_whitespace() => break,
                '\'' => self.single_quoted(&mut parts),
                '"' => self.double_quoted(&mut parts),
                '\\' => self.escape(&mut parts),
                '$' => self.variable(&mut parts),
                '*' | '?' | '[' => {
                    parts.push(Part::Wildcard(letter));
                    self.bump();
                }
                letter => {
                    push_letter(&mut parts, letter);
                    self.bump();
                }
            }
        }
        Word { parts, span: start..self.position }
    }

    fn single_quoted(&mut self, parts: &mut Vec<Part>) {
        let start = self.position;
        let content = &self.text[start + 1..];
        let Some(length) = content.find('\'') else {
            self.position = self.text.len();
            return self.open_quote(start);
        };
        push_text(parts, &content[..length]);
        self.position = start + 1 + length + 1;
    }

    fn double_quoted(&mut self, parts: &mut Vec<Part>) {
        let start = self.position;
        push_text(parts, "");
        self.bump();
        while let Some(letter) = self.peek() {
            match letter {
                '"' => return self.bump(),
                '$' => self.variable(parts),
                '\\' => {
                    self.bump();
                    match self.peek() {
                        Some(escaped @ ('"' | '\\' | '$')) => {
                            push_letter(parts, escaped);
                            self.bump();
                        }
                        Some('\n') => self.bump(),
                        _ => push_letter(parts, '\\'),
                    }
                }
                letter => {
                    push_letter(parts, letter);
                    self.bump();
                }
            }
        }
        self.open_quote(start);
    }

    fn escape(&mut self, parts: &mut Vec<Part>) {
        let start = self.position;
        self.bump();
        match self.peek() {
            Some('\n') => self.bump(),
            Some(letter) => {
                push_letter(parts, letter);
                self.bump();
            }
            None => self.problems.push(Problem {
                message: "a backslash at the end of the line",
                span: start..self.position,
                is_incomplete: true,
            }),
        }
    }

    fn variable(&mut self, parts: &mut Vec<Part>) {
        let start = self.position;
        let rest = &self.text[start + 1..];
        let (name, length) = match rest.strip_prefix('{') {
            Some(inner) => match inner.find('}') {
                Some(length) => (&inner[..length], length + 2),
                None => ("", rest.len()),
            },
            None => {
                let length = rest.find(|letter: char| !is_name_letter(letter)).unwrap_or(rest.len());
                (&rest[..length], length)
            }
        };
        self.position = start + 1 + length;
        let span = start..self.position;
        if is_name(name) {
            parts.push(Part::Variable { name: name.to_owned(), span });
        } else {
            self.problems.push(Problem {
                message: "`$` without a variable name",
                span,
                is_incomplete: false,
            });
        }
    }

    fn open_quote(&mut self, start: usize) {
        let span = start..self.text.len();
        self.problems.push(Problem { message: "unclosed quote", span, is_incomplete: true });
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn bump(&mut self) {
        self.position += self.peek().map_or(0, char::len_utf8);
    }
}

/// Whether a variable can have this name: letters, digits and `_`, not starting with a digit.
pub fn is_name(name: &str) -> bool {
    name.chars().next().is_some_and(|first| !first.is_ascii_digit()) && name.chars().all(is_name_letter)
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn push_letter(parts: &mut Vec<Part>, letter: char) {
    push_text(parts, letter.encode_utf8(&mut [0; 4]));
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Literal(last)) => last.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// A word as it is written in a line: in quotes only if it must be.
pub fn quoted(text: &str) -> String {
    let is_special = |letter: char| letter.is_whitespace() || "'\"\\;$#*?[".contains(letter);
    if !text.is_empty() && !text.contains(is_special) {
        return text.to_owned();
    }
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut written = String::from('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | '$') {
            written.push('\\');
        }
        written.push(letter);
    }
    written + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let plain = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Wildcard(letter) => format!("({letter})"),
            Part::Variable { name, .. } => format!("<{name}>"),
        };
        parse(text)
            .unwrap()
            .iter()
            .map(|statement| {
                statement.words.iter().map(|word| word.parts.iter().map(plain).collect()).collect()
            })
            .collect()
    }

    #[test]
    fn semicolons_and_newlines_separate_statements_and_comments_vanish() {
        assert_eq!(
            words("open models; load all # both\n\n;; summary"),
            [vec!["open", "models"], vec!["load", "all"], vec!["summary"]]
        );
    }

    #[test]
    fn a_hash_or_a_quote_inside_a_word_does_not_start_anything_new() {
        assert_eq!(words("open a#b 'c;d'e\"f g\""), [["open", "a#b", "c;def g"]]);
    }

    #[test]
    fn a_bar_and_an_exclamation_mark_leave_the_rest_to_a_shell() {
        let parts = |text: &'static str| -> Vec<(&str, Option<&str>)> {
            let statements = parse(text).unwrap();
            let of =
                |statement: Statement| (&text[statement.span], statement.program.map(|span| &text[span]));
            statements.into_iter().map(of).collect()
        };
        assert_eq!(
            parts("layers m | grep 'a;b' | head -3; summary\necho 'a | b' c|d"),
            [("layers m", Some(" grep 'a;b' | head -3")), ("summary", None), ("echo 'a | b' c|d", None)]
        );
        assert_eq!(
            parts("a; !ls $HOME; ls 'x\nassert a || b"),
            [("a", None), ("!", Some("ls $HOME; ls 'x")), ("assert a || b", None)]
        );
        assert!(parse("a !b").is_ok_and(|statements| statements[0].program.is_none()));
        assert!(
            is_incomplete("a | grep 'b")
                && !is_incomplete("a |")
                && parse("a |").is_err()
                && parse("!").is_err()
        );
        assert!(parse("!x").unwrap()[0].is_program() && !parse("a |x").unwrap()[0].is_program());
    }

    #[test]
    fn quotes_and_escapes_follow_the_shell() {
        assert_eq!(words(r#"echo '\$x' "\"\$\\\n" a\ b ''"#), [["echo", r"\$x", r#""$\\n"#, "a b", ""]]);
    }

    #[test]
    fn a_quoted_word_is_read_as_it_was() {
        for text in ["a", "", "a b", "it's", "$x \"y\" 'z' \\", "layer[0]*", "#1", "a;b", "/features/0/Conv"]
        {
            assert_eq!(words(&format!("echo {}", quoted(text))), [["echo", text]]);
        }
        assert_eq!(quoted("/features/0/Conv"), "/features/0/Conv");
    }

    #[test]
    fn variables_expand_in_double_quotes_and_outside_but_not_in_single_ones() {
        assert_eq!(words("echo $a ${b}c \"$d.e\" '$f'"), [["echo", "<a>", "<b>c", "<d>.e", "$f"]]);
    }

    #[test]
    fn wildcards_are_those_outside_quotes() {
        assert_eq!(
            words(r#"for m in *.on? '*' "[" \* a[0"#),
            [["for", "m", "in", "(*).on(?)", "*", "[", "*", "a([)0"]]
        );
    }

    #[test]
    fn every_problem_has_its_place() {
        let problems = parse("echo $ ${1} 'open").unwrap_err();
        let spans: Vec<_> = problems.iter().map(|problem| problem.span.clone()).collect();
        assert_eq!(spans, [5..6, 7..11, 12..17]);
        assert!(is_incomplete("echo 'open"));
        assert!(is_incomplete("load \\"));
        assert!(!is_incomplete("echo $"));
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(words("load a \\\n  b"), [["load", "a", "b"]]);
    }

    proptest! {
        /// On text without features that only this language has, the words are those of the crate `shlex`.
        #[test]
        fn agrees_with_shlex(text in r#"[a-z \\"'é\t]{0,24}"#) {
            if let (Some(theirs), Ok(ours)) = (shlex::split(&text), parse(&text)) {
                let ours: Vec<String> = ours
                    .first()
                    .map(|statement| statement.words.iter().map(|word| match &word.parts[..] {
                        [Part::Literal(text)] => text.clone(),
                        parts => format!("{parts:?}"),
                    }).collect())
                    .unwrap_or_default();
                prop_assert_eq!(ours, theirs);
            }
        }

        #[test]
        fn never_panics_and_spans_are_within_the_text(text in any::<String>()) {
            match parse(&text) {
                Ok(statements) => for statement in statements {
                    for word in statement.words { prop_assert!(text.get(word.span).is_some()); }
                },
                Err(problems) => for problem in problems { prop_assert!(text.get(problem.span).is_some()); },
            }
        }
    }
}
