//! Colors of a line while it is typed: commands, options, strings, numbers, variables, comments, programs.

use crate::commands;
use crate::language::block;
use crate::render::style::Tone;
use std::ops::Range;

/// The line with colors.
pub fn paint(line: &str) -> String {
    let mut painter = Painter { line, at: 0, text: String::with_capacity(line.len() * 2), words: Vec::new() };
    painter.run();
    painter.text
}

struct Painter<'l> {
    line: &'l str,
    at: usize,
    text: String,
    /// The words of the statement so far.
    words: Vec<&'l str>,
}

impl<'l> Painter<'l> {
    fn run(&mut self) {
        while let Some(letter) = self.rest().chars().next() {
            let is_first = self.words.is_empty();
            match letter {
                ';' | '\n' => {
                    self.push(1, Tone::Plain);
                    self.words.clear();
                }
                letter if letter.is_whitespace() => self.push(letter.len_utf8(), Tone::Plain),
                '#' => self.push(self.up_to("\n"), Tone::Dim),
                '!' if is_first => {
                    self.push(1, Tone::Heading);
                    self.push(self.up_to("\n"), Tone::Name);
                }
                '|' if !is_first && !self.rest().starts_with("||") => {
                    self.push(1, Tone::Heading);
                    self.push(self.program_length(), Tone::Name);
                }
                _ => self.word(),
            }
        }
    }

    fn rest(&self) -> &'l str {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, length: usize, tone: Tone) {
        let piece = self.rest().get(..length).unwrap_or(self.rest());
        self.text.push_str(&tone.paint(piece));
        self.at += piece.len();
    }

    fn up_to(&self, end: &str) -> usize {
        self.rest().find(end).unwrap_or(self.rest().len())
    }

    fn program_length(&self) -> usize {
        let mut quote = None;
        for (index, letter) in self.rest().char_indices() {
            match (quote, letter) {
                (None, ';' | '\n') => return index,
                (None, '\'' | '"') => quote = Some(letter),
                (Some(open), letter) if open == letter => quote = None,
                _ => {}
            }
        }
        self.rest().len()
    }

    fn word(&mut self) {
        let parts = parts(self.rest());
        let length = parts.last().map_or(1, |(range, _)| range.end);
        let word = self.rest().get(..length).unwrap_or_default();
        let tone = self.tone(word);
        for (range, part) in parts {
            self.push(range.len(), part.unwrap_or(tone));
        }
        self.words.push(word);
    }

    /// The tone of what is neither quoted nor a variable.
    fn tone(&self, word: &str) -> Tone {
        let is_typed = self.at + word.len() == self.line.len();
        match self.words.as_slice() {
            [] => command_tone(word, is_typed),
            ["else"] if word == "if" => Tone::Good,
            ["for", _] if word == "in" => Tone::Good,
            [command, ..] if word.starts_with("--") => option_tone(command, &self.words[1..], word, is_typed),
            _ if matches!(word, ">" | ">>" | ">|") => Tone::Heading,
            _ if word.parse::<f64>().is_ok() && word.contains(|letter: char| letter.is_ascii_digit()) => {
                Tone::Number
            }
            _ => Tone::Plain,
        }
    }
}

/// The stretches of the first word: quoted texts, variables, and the rest, which has no tone of its own.
fn parts(text: &str) -> Vec<(Range<usize>, Option<Tone>)> {
    let mut parts: Vec<(Range<usize>, Option<Tone>)> = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some(&(start, letter)) = letters.peek() {
        let rest = &text[start..];
        let (length, tone) = match letter {
            ';' => break,
            letter if letter.is_whitespace() => break,
            '\'' | '"' => {
                let end = rest[1..].find(letter).map_or(rest.len(), |end| end + 2);
                (end, Some(Tone::Warning))
            }
            '$' => {
                let name =
                    rest[1..].find(|letter: char| !letter.is_alphanumeric() && !"_{}".contains(letter));
                (name.map_or(rest.len(), |end| end + 1), Some(Tone::Name))
            }
            '\\' => (1 + rest[1..].chars().next().map_or(0, char::len_utf8), None),
            letter => (letter.len_utf8(), None),
        };
        match parts.last_mut() {
            Some((range, last)) if *last == tone => range.end = start + length,
            _ => parts.push((start..start + length, tone)),
        }
        while letters.peek().is_some_and(|(at, _)| *at < start + length) {
            letters.next();
        }
    }
    parts
}

/// Red would be a false alarm while it can still become a command.
fn command_tone(word: &str, is_typed: bool) -> Tone {
    let word = word.strip_prefix('?').unwrap_or(word);
    let mut names =
        commands::TABLE.iter().map(|entry| entry.name).chain(block::KEYWORDS.map(|(name, _)| name));
    match commands::find(word) {
        Some(_) => Tone::Good,
        None if block::usage(word).is_some() || word.is_empty() => Tone::Good,
        None if is_typed && names.any(|name| name.starts_with(word)) => Tone::Plain,
        None => Tone::Bad,
    }
}

fn option_tone(command: &str, before: &[&str], word: &str, is_typed: bool) -> Tone {
    let Some(entry) = commands::find(command).filter(|entry| !entry.takes_text) else { return Tone::Name };
    let mut definition = entry.definition();
    for name in before {
        match definition.find_subcommand(name).cloned() {
            Some(nested) => definition = nested,
            None => break,
        }
    }
    let name = word.trim_start_matches("--").split('=').next().unwrap_or_default();
    let takes_words = definition.get_positionals().any(clap::Arg::is_allow_hyphen_values_set);
    let names: Vec<&str> =
        definition.get_arguments().filter_map(clap::Arg::get_long).chain(["json", "help"]).collect();
    if takes_words || name.is_empty() || names.contains(&name) {
        Tone::Name
    } else if is_typed && names.iter().any(|long| long.starts_with(name)) {
        Tone::Plain
    } else {
        Tone::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style::strip;
    use proptest::prelude::*;

    /// The line with the first letter of each tone before what has it.
    fn tones(line: &str) -> String {
        let names = [
            (Tone::Good, 'g'),
            (Tone::Bad, 'b'),
            (Tone::Name, 'n'),
            (Tone::Warning, 's'),
            (Tone::Number, '1'),
            (Tone::Dim, 'd'),
            (Tone::Heading, 'h'),
        ];
        let mut painted = paint(line);
        for (tone, mark) in names {
            let sample = tone.paint("x");
            painted = painted.replace(sample.split('x').next().unwrap(), &format!("<{mark}:"));
        }
        painted.replace("\u{1b}[0m", ">").replace("\u{1b}[39m", ">")
    }

    #[test]
    fn every_statement_of_a_line_is_painted() {
        assert_eq!(tones("layers m; summary"), "<g:layers> m; <g:summary>");
        assert_eq!(tones("layerx; summ"), "<b:layerx>; summ");
        assert_eq!(tones("layers --op Conv --opp x --so"), "<g:layers> <n:--op> Conv <b:--opp> x --so");
        assert_eq!(tones("run --repeat 100 'a b' \"c"), "<g:run> <n:--repeat> <1:100> <s:'a b'> <s:\"c>");
        assert_eq!(tones("for m in $x; end # why"), "<g:for> m <g:in> <n:$x>; <g:end> <d:# why>");
    }

    #[test]
    fn programs_and_files_are_told_from_words() {
        assert_eq!(tones("layers | grep 'a;b'; x"), "<g:layers> <h:|><n: grep 'a;b'>; <b:x>");
        assert_eq!(tones("!ls; x"), "<h:!><n:ls; x>");
        assert_eq!(tones("models > f"), "<g:models> <h:>> f");
    }

    proptest! {
        #[test]
        fn nothing_but_colors_is_added(line in any::<String>()) {
            prop_assume!(!line.contains(|letter: char| letter.is_control()));
            prop_assert_eq!(strip(&paint(&line)), line);
        }
    }
}
