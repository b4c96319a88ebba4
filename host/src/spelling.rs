//! Which of the existing names a typed one means: by a pattern, or by similarity.

use std::cmp::Ordering;

/// The candidate most similar to `name`, if any is similar.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |candidate: &str| {
        let similarity = strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
        (similarity * 1e6) as u64
    };
    candidates
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score > 800_000)
        .max_by_key(|(score, _)| *score)
        .map(|(_, candidate)| candidate)
}

/// Whether `text` matches a pattern in which `*` stands for any letters and `?` for one.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let piece = |letter| match letter {
        '*' => Piece::Many,
        '?' => Piece::One,
        letter => Piece::Letter(letter),
    };
    match_pieces(&pattern.chars().map(piece).collect::<Vec<_>>(), text)
}

/// A pattern as in a shell: `*`, `?`, and `[a-z]` or `[!a-z]` for a letter of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// This letter.
    Letter(char),
    /// Any letters, or none.
    Many,
    /// Any letter.
    One,
    /// The start of a set; a plain letter if the set does not end.
    Bracket,
    /// A letter of these ranges, or of none of them.
    Set { ranges: Vec<(char, char)>, is_negated: bool },
}

impl Piece {
    fn fits(&self, letter: char) -> bool {
        match self {
            Self::Letter(own) => *own == letter,
            Self::Bracket => letter == '[',
            Self::Many | Self::One => true,
            Self::Set { ranges, is_negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter)) != *is_negated
            }
        }
    }
}

impl Pattern {
    /// Adds text that stands for itself, apart from `]` and what is before it in a set.
    pub fn push_text(&mut self, text: &str) {
        self.0.extend(text.chars().map(Piece::Letter));
    }

    /// Adds `*`, `?` or `[`.
    pub fn push_wildcard(&mut self, letter: char) {
        self.0.push(match letter {
            '*' => Piece::Many,
            '?' => Piece::One,
            _ => Piece::Bracket,
        });
    }

    /// The patterns between the slashes.
    pub fn components(&self) -> Vec<Self> {
        self.0.split(|piece| *piece == Piece::Letter('/')).map(|part| Self(part.to_vec())).collect()
    }

    /// The only text that it matches; `None` for one with wildcards.
    pub fn plain(&self) -> Option<String> {
        let letter = |piece: &Piece| match piece {
            Piece::Letter(letter) => Some(*letter),
            _ => None,
        };
        self.0.iter().map(letter).collect()
    }

    /// Whether it begins with this letter itself.
    pub fn begins_with(&self, letter: char) -> bool {
        self.0.first() == Some(&Piece::Letter(letter))
    }

    /// Whether it matches a text.
    pub fn matches(&self, text: &str) -> bool {
        match_pieces(&self.with_sets(), text)
    }

    /// The pieces, with those of each set joined.
    fn with_sets(&self) -> Vec<Piece> {
        let (mut pieces, mut at) = (Vec::new(), 0);
        while let Some(piece) = self.0.get(at) {
            at += 1;
            match set(&self.0[at..]).filter(|_| *piece == Piece::Bracket) {
                Some((set, length)) => {
                    at += length;
                    pieces.push(set);
                }
                None => pieces.push(piece.clone()),
            }
        }
        pieces
    }
}

/// The set whose pieces after the `[` these are, and how many pieces it takes; a leading `]` is one of its letters.
fn set(pieces: &[Piece]) -> Option<(Piece, usize)> {
    let is_negated = matches!(pieces.first(), Some(Piece::Letter('!' | '^')));
    let begin = usize::from(is_negated);
    let end = begin + 1 + pieces.get(begin + 1..)?.iter().position(|piece| *piece == Piece::Letter(']'))?;
    let letters: Vec<char> = pieces[begin..end]
        .iter()
        .map(|piece| match piece {
            Piece::Letter(letter) => *letter,
            Piece::Many => '*',
            Piece::One => '?',
            Piece::Bracket | Piece::Set { .. } => '[',
        })
        .collect();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some(&first) = letters.get(at) {
        match letters.get(at + 1..at + 3) {
            Some(&['-', last]) => {
                ranges.push((first, last));
                at += 3;
            }
            _ => {
                ranges.push((first, first));
                at += 1;
            }
        }
    }
    Some((Piece::Set { ranges, is_negated }, end + 1))
}

fn match_pieces(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut position) = (0, 0);
    // Where to resume when the text after the last `*` does not match.
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(Piece::Many) => {
                retry = Some((at, position));
                at += 1;
            }
            Some(piece) if piece.fits(text[position]) => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((star, start)) => {
                    retry = Some((star, start + 1));
                    at = star + 1;
                    position = start + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|piece| *piece == Piece::Many)
}

/// Natural order: numbers in texts are ordered by value, `a2` before `a10`.
pub fn natural_order(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    while let (Some(first), Some(second)) = (left.chars().next(), right.chars().next()) {
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (number, after) = digits(left);
            let (than, after_that) = digits(right);
            (left, right) = (after, after_that);
            number.len().cmp(&than.len()).then_with(|| number.cmp(than))
        } else {
            (left, right) = (&left[first.len_utf8()..], &right[second.len_utf8()..]);
            first.cmp(&second)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| one.cmp(other))
}

/// The digits that a text begins with, without leading zeros, and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("a?c", "abc"), ("*.onnx", "x.onnx"), ("*a*b", "xaxab")]
        {
            assert!(matches_pattern(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a?c", "ac"), ("a*c", "ab"), ("", "a"), ("*.onnx", "x.onnx.data")] {
            assert!(!matches_pattern(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn sets_match_one_letter_of_them() {
        let matches = |pattern: &str, text: &str| {
            let mut parsed = Pattern::default();
            for letter in pattern.chars() {
                match letter {
                    '*' | '?' | '[' => parsed.push_wildcard(letter),
                    letter => parsed.push_text(letter.encode_utf8(&mut [0; 4])),
                }
            }
            parsed.matches(text)
        };
        for (pattern, text) in [
            ("a[0-9]", "a5"),
            ("a[!0-9]", "ax"),
            ("[abx-z]*", "yes"),
            ("[]a]", "]"),
            ("[a-]", "-"),
            ("a[b", "a[b"),
            ("[*]?", "*a"),
            ("x[", "x["),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a[0-9]", "ax"), ("a[!0-9]", "a5"), ("[ab]", "ab"), ("[ab]", ""), ("a[b", "ab")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let mut names = ["m10", "m2", "a", "m2b", "m02", "", "m99999999999999999999999", "é"];
        names.sort_by(|one, other| natural_order(one, other));
        assert_eq!(names, ["", "a", "m02", "m2", "m2b", "m10", "m99999999999999999999999", "é"]);
    }
}
