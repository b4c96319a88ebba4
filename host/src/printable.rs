//! Which parts of a stranger's text may reach a terminal. Names, producers, metadata and messages come from files;
//! terminals act on some characters, and others mislead readers.

use std::borrow::Cow;

/// Replaces each character that is not shown.
pub const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Whether the letter has an effect instead of a shape: a control character (C0, DEL, C1, with which escape sequences
/// begin), a separator of lines or paragraphs, a change of the direction of writing (Unicode Standard Annex 9), or
/// one without width, which makes two different names look the same.
pub fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text on one line: every invisible character is replaced, newlines and tabs too.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_invisible)
}

/// The text with its newlines and tabs; every other invisible character is replaced.
pub fn lines(text: &str) -> Cow<'_, str> {
    // For most texts a check of the bytes is enough, and much faster.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    replaced(text, |letter| is_invisible(letter) && !matches!(letter, '\n' | '\t'))
}

/// Whether the text is shown unchanged.
pub fn is_line(text: &str) -> bool {
    !text.contains(is_invisible)
}

/// Text on its way to a terminal: of what [`lines()`] replaces, only color sequences stay, `ESC [ … m`, and only if
/// `has_colors`. The last safeguard: whoever lays out a stranger's text has already used [`line()`], so that widths
/// are right and nothing has the colors of its file.
pub fn screen(text: &str, has_colors: bool) -> Cow<'_, str> {
    if matches!(lines(text), Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('\u{1b}') {
        shown.push_str(&lines(&rest[..start]));
        rest = &rest[start..];
        let sequence = color_sequence(rest);
        match sequence {
            "" => shown.push(REPLACEMENT),
            sequence if has_colors => shown.push_str(sequence),
            _ => {}
        }
        rest = &rest[sequence.len().max(1)..];
    }
    shown.push_str(&lines(rest));
    Cow::Owned(shown)
}

/// The text as JSON that a terminal shows unchanged and a program reads unchanged: invisible characters are escaped
/// as in RFC 8259, section 7. Only strings can hold such characters; the newlines of indented JSON stay.
pub fn json(text: &str) -> Cow<'_, str> {
    if matches!(lines(text), Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter != '\n' && is_invisible(letter) {
            letter
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// The color sequence at the start of the text; empty if there is none.
fn color_sequence(text: &str) -> &str {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return "" };
    let length = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';').unwrap_or(0);
    if parameters[length..].starts_with('m') { &text[..length + 3] } else { "" }
}

fn replaced(text: &str, is_replaced: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_replaced) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|letter| if is_replaced(letter) { REPLACEMENT } else { letter }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UAX 9's names for the characters that change the direction of writing, and ECMA-48's for those that a terminal
    /// acts on.
    #[test]
    fn what_is_not_seen_is_replaced_and_what_is_seen_stays() {
        let bidirectional =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        let escapes = "\u{1b}\u{7}\u{8}\r\u{7f}\u{84}\u{85}\u{90}\u{9b}\u{9d}";
        let zero_width = "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}";
        let separators = "\n\t\u{2028}\u{2029}";
        for text in [bidirectional, escapes, zero_width, separators] {
            assert!(text.chars().all(is_invisible), "{text:?}");
            assert!(line(text).chars().all(|letter| letter == REPLACEMENT), "{text:?}");
        }
        let seen = "größe/模.weight:0 (עברית) 👍🏽 e\u{301} ▁x";
        assert_eq!(line(seen), seen);
        assert_eq!(lines("a\n\tb\r\u{2028}"), "a\n\tb\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_screen_gets_colors_and_no_other_sequence() {
        let text = "\u{1b}[1;31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{1b}[3\n\u{1b}";
        assert_eq!(
            screen(text, true),
            "\u{1b}[1;31mred\u{1b}[0m\u{fffd}]0;title\u{fffd}\u{fffd}[2J\u{fffd}31m\u{fffd}[3\n\u{fffd}"
        );
        assert_eq!(screen("\u{1b}[1mred\u{1b}[0m\u{1b}[K", false), "red\u{fffd}[K");
        assert_eq!(screen("plain", true), "plain");
    }

    #[test]
    fn json_loses_nothing() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b}[31m\u{202e}\u{7f}\u{e0041}\nö" });
        let text = format!("{value:#}");
        let shown = json(&text);
        assert!(shown.chars().all(|letter| letter == '\n' || !is_invisible(letter)), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
