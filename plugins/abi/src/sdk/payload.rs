//! JSON payloads of requests: as much as the SDK needs, because this crate has no JSON reader.

use std::iter::Peekable;
use std::str::Chars;

/// The text under `name` in a JSON object; `None` if there is none, or the payload is not an object.
pub(super) fn text(payload: &str, name: &str) -> Option<String> {
    let mut reader = Reader(payload.chars().peekable());
    let mut found = None;
    reader.expect('{')?;
    if reader.next_is('}') {
        return None;
    }
    loop {
        let key = reader.string()?;
        reader.expect(':')?;
        if reader.next_is('"') {
            let value = reader.string()?;
            if key == name {
                found = Some(value);
            }
        } else {
            reader.skip()?;
        }
        match reader.token()? {
            ',' => {}
            '}' => return found,
            _ => return None,
        }
    }
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    /// The next character that is not a space.
    fn token(&mut self) -> Option<char> {
        self.0.find(|letter| !letter.is_ascii_whitespace())
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        (self.token()? == wanted).then_some(())
    }

    /// Whether the next token begins with `wanted`, which is not consumed.
    fn next_is(&mut self, wanted: char) -> bool {
        while self.0.next_if(char::is_ascii_whitespace).is_some() {}
        self.0.peek() == Some(&wanted)
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.0.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                letter => text.push(letter),
            }
        }
    }

    /// What a backslash stands for; characters beyond the first plane are two halves.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                if (self.0.next()?, self.0.next()?) != ('\\', 'u') {
                    return None;
                }
                let second = self.unit()?.checked_sub(0xdc00).filter(|half| *half < 0x400)?;
                char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?
            }
            letter @ ('"' | '\\' | '/') => letter,
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit * 16 + self.0.next()?.to_digit(16)?))
    }

    /// Skips a value that is not a text.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        loop {
            while self.0.next_if(char::is_ascii_whitespace).is_some() {}
            match self.0.peek()? {
                ',' | '}' if depth == 0 => return Some(()),
                '"' => {
                    self.string()?;
                    continue;
                }
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.0.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_text_is_found_by_its_name_among_other_values() {
        let payload =
            r#" { "a" : [1, {"tensor": "no"}], "tensor" : "x\"\\\/\n\u00e9\ud83d\ude00" , "b": null } "#;
        assert_eq!(text(payload, "tensor").as_deref(), Some("x\"\\/\n\u{e9}\u{1f600}"));
        assert_eq!(text(r#"{"tensor": ""}"#, "tensor").as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_object_or_lacks_the_text_has_none() {
        for payload in [
            "",
            "{",
            "{}",
            "[]",
            "\"tensor\"",
            r#"{"tensor": 1}"#,
            r#"{"other": "x"}"#,
            r#"{"tensor": "x"#,
            r#"{"tensor": "\ud83d"}"#,
            r#"{"tensor": "\q"}"#,
            r#"{"a": ]}"#,
        ] {
            assert_eq!(text(payload, "tensor"), None, "{payload}");
        }
    }
}
