//! The tokens of TorchScript's code.

use std::borrow::Cow;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// A number, and whether it is written as one that need not be whole.
    Number(f64, bool),
    /// A text without its quotes.
    Text(Cow<'a, str>),
    /// Any other character.
    Symbol(char),
}

/// A token as it stands in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// What begins with a digit.
    Number(&'a str),
    /// What is between quotes.
    Text(&'a str),
    /// Any other character.
    Symbol(char),
}

/// The tokens of one logical line, one after another.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    rest: &'a str,
}

/// The tokens of one logical line.
pub fn tokens(line: &str) -> Vec<Token<'_>> {
    /// Room for as many tokens is there from the start.
    const ROOM: usize = 64;
    let mut tokens = Vec::with_capacity((line.len() / 2 + 1).min(ROOM));
    tokens.extend(Lexer::new(line));
    tokens
}

impl<'a> Lexer<'a> {
    /// Reads this line.
    pub fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// The next token as it stands in the code.
    pub fn piece(&mut self) -> Option<Piece<'a>> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        Some(match first {
            '#' => {
                self.rest = "";
                return None;
            }
            '"' | '\'' => {
                self.take(1);
                Piece::Text(self.text(first))
            }
            _ if first.is_ascii_digit() => {
                let mut previous = first;
                let end = self.rest.find(|next: char| {
                    let is_sign = matches!(next, '+' | '-') && matches!(previous, 'e' | 'E');
                    previous = next;
                    !(next.is_ascii_alphanumeric() || next == '.' || is_sign)
                });
                Piece::Number(self.take(end.unwrap_or(self.rest.len())))
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = self.rest.find(|next: char| !(next.is_alphanumeric() || next == '_'));
                Piece::Name(self.take(end.unwrap_or(self.rest.len())))
            }
            other => {
                self.take(other.len_utf8());
                Piece::Symbol(other)
            }
        })
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// What is up to the quote that closes a text, or to the end.
    fn text(&mut self, quote: char) -> &'a str {
        let mut is_escaped = false;
        let end = self.rest.find(|next: char| {
            let is_end = next == quote && !is_escaped;
            is_escaped = next == '\\' && !is_escaped;
            is_end
        });
        let text = self.take(end.unwrap_or(self.rest.len()));
        self.take(end.map_or(0, |_| 1));
        text
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        Some(match self.piece()? {
            Piece::Name(name) => Token::Name(name),
            Piece::Number(text) => {
                let is_real = text.contains(['.', 'e', 'E']);
                text.parse().map_or(Token::Name(text), |number| Token::Number(number, is_real))
            }
            Piece::Text(text) => Token::Text(unescaped(text)),
            Piece::Symbol(symbol) => Token::Symbol(symbol),
        })
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        match next {
            '\\' => plain.extend(characters.next().map(|escaped| match escaped {
                'n' => '\n',
                't' => '\t',
                other => other,
            })),
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::{Token, tokens};

    #[test]
    fn tokens_are_names_numbers_texts_and_symbols() {
        let found = tokens(" x2 = [1e-5, 0x1, 1.,'a\\'b\\n', \"\\\\\"]é # y");
        let name = Token::Name;
        let text = |text: &'static str| Token::Text(text.into());
        let symbol = Token::Symbol;
        let expected = [
            name("x2"),
            symbol('='),
            symbol('['),
            Token::Number(1e-5, true),
            symbol(','),
            name("0x1"),
            symbol(','),
            Token::Number(1.0, true),
            symbol(','),
            text("a'b\n"),
            symbol(','),
            text("\\"),
            symbol(']'),
            name("é"),
        ];
        assert_eq!(found, expected);
        assert_eq!(tokens("'open\\"), [text("open")]);
        assert_eq!(tokens(""), []);
    }
}
