//! Mutations of texts that keep their words whole: of source code and of the command language.

use crate::random::Random;

/// A text is not made longer than this.
const MOST_BYTES: usize = 20_000;
const NUMBERS: [&str; 8] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1e999",
    "18446744073709551616",
    "0.5",
    "4096",
];
const BRACKETS: [(&str, &str); 6] =
    [("(", ")"), ("[", "]"), ("{", "}"), ("\"", "\""), ("'", "'"), ("-(", ")")];

/// `seed` with words, pieces and lines swapped, repeated, removed, nested, or replaced by those of `other` and by `words`.
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let (text, other) = (String::from_utf8_lossy(seed), String::from_utf8_lossy(other));
    let mut pieces: Vec<String> = split(&text);
    let others = split(&other);
    for _ in 0..=random.below(4) {
        let at = random.below(pieces.len());
        let to = random.below(pieces.len());
        let end = (at + 1 + random.below(12)).min(pieces.len());
        match random.below(10) {
            0 if !pieces.is_empty() => pieces.swap(at, to),
            1 => drop(pieces.drain(at.min(end)..end)),
            2 => {
                let part = pieces.get(at..end).unwrap_or_default().to_vec();
                let times = [1, 2, 5, 100, 2_000][random.below(5)];
                let part = part.iter().cycle().take(part.len() * times).cloned();
                drop(pieces.splice(to..to, part.collect::<Vec<_>>()));
            }
            3 if !pieces.is_empty() => {
                let (open, close) = BRACKETS[random.below(BRACKETS.len())];
                let times = [1, 3, 60, 300, 5_000][random.below(5)];
                pieces[at] = format!("{}{}{}", open.repeat(times), pieces[at], close.repeat(times));
            }
            4 if !pieces.is_empty() => pieces[at] = NUMBERS[random.below(NUMBERS.len())].to_owned(),
            5 if !pieces.is_empty() => pieces[at] = pieces[to].clone(),
            6 if !pieces.is_empty() => {
                pieces[at] = random.pick(words).map_or_else(String::new, |word| (*word).to_owned())
            }
            7 => pieces.insert(at, random.pick(words).map_or_else(String::new, |word| format!(" {word} "))),
            8 => {
                let start = random.below(others.len());
                let stop = (start + random.below(20)).min(others.len());
                drop(pieces.splice(at..at, others[start..stop].iter().cloned()));
            }
            _ => swap_lines(random, &mut pieces),
        }
        if pieces.iter().map(String::len).sum::<usize>() > MOST_BYTES {
            break;
        }
    }
    let mut text = pieces.concat();
    text.truncate(text.floor_char_boundary(MOST_BYTES));
    text.into_bytes()
}

/// Words, and what is between them, character by character; white space stays together.
fn split(text: &str) -> Vec<String> {
    let kind = |letter: char| match letter {
        '_' | '.' => 0,
        letter if letter.is_alphanumeric() => 0,
        letter if letter.is_whitespace() => 1,
        _ => 2,
    };
    let mut pieces: Vec<String> = Vec::new();
    let mut last = 2;
    for letter in text.chars() {
        let now = kind(letter);
        match pieces.last_mut() {
            Some(piece) if now == last && now != 2 && letter != '\n' => piece.push(letter),
            _ => pieces.push(letter.to_string()),
        }
        last = now;
    }
    pieces
}

fn swap_lines(random: &mut Random, pieces: &mut Vec<String>) {
    let text = pieces.concat();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (at, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 if !lines.is_empty() => lines.swap(at, to),
        1 if !lines.is_empty() => lines.insert(to, lines[at]),
        _ if !lines.is_empty() => drop(lines.remove(at)),
        _ => {}
    }
    *pieces = split(&lines.concat());
}
