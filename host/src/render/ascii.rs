//! Text for terminals whose locale is not UTF-8: each character becomes one in ASCII that looks like it, so that columns
//! stay in place.

use std::borrow::Cow;

/// The text in ASCII; what has no likeness becomes a question mark.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_ascii() => folded.push(letter),
            // Stands at the end of a text, where its width does not matter.
            '…' => folded.push_str("..."),
            letter => folded.push(likeness(letter)),
        }
    }
    Cow::Owned(folded)
}

fn likeness(letter: char) -> char {
    match letter {
        '─' | '–' | '—' | '−' | '‐' => '-',
        '━' => '=',
        '│' | '┤' | '├' | '▏' | '▎' => '|',
        '┼' | '┿' | '┴' | '┬' | '└' | '┘' | '┌' | '┐' | '╰' | '╯' | '╮' | '╭' => '+',
        '█' | '▉' | '▊' | '▋' | '▇' | '▆' => '#',
        '▌' | '▍' | '▅' | '▄' => '=',
        '▁' | '▂' => '_',
        '▃' => '-',
        '×' | '✗' => 'x',
        '·' => '.',
        '→' => '>',
        '←' | '◀' => '<',
        '↑' | '▲' => '^',
        '↓' | '▼' => 'v',
        '●' | '✓' | '∗' => '*',
        '≈' => '~',
        '±' => '+',
        '²' | '₂' => '2',
        '³' | '₃' => '3',
        '¹' | '₁' => '1',
        '⁰' | '₀' => '0',
        '⁴' => '4',
        '⁻' => '-',
        'σ' => 's',
        'µ' | 'μ' => 'u',
        'ᵀ' => 'T',
        '’' | '‘' => '\'',
        '“' | '”' => '"',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn drawings_keep_their_shape() {
        let text = "  layer  3×3 – 1.5 µs\n  ──────\n  ██▌ ▁▂▅▇ │━┿━ ▲";
        let folded = fold(text);
        assert_eq!(folded, "  layer  3x3 - 1.5 us\n  ------\n  ##= __=# |=+= ^");
        assert_eq!(folded.width(), text.width());
        assert_eq!(fold("größe …"), "gr??e ...");
    }
}
