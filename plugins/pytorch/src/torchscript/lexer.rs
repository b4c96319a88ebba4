//! The tokens of TorchScript's code.

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name or keyword.
    Name(String),
    /// A number, and whether it is written as one that need not be whole.
    Number(f64, bool),
    /// A text without its quotes.
    Text(String),
    /// Any other character.
    Symbol(char),
}

/// The tokens of one logical line, one after another.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    characters: std::iter::Peekable<std::str::Chars<'a>>,
}

/// The tokens of one logical line.
pub fn tokens(line: &str) -> Vec<Token> {
    Lexer::new(line).collect()
}

impl<'a> Lexer<'a> {
    /// Reads this line.
    pub fn new(line: &'a str) -> Self {
        Self { characters: line.chars().peekable() }
    }

    /// The characters that follow as long as they are wanted.
    fn take(&mut self, first: char, mut is_wanted: impl FnMut(&str, char) -> bool) -> String {
        let mut text = String::from(first);
        while let Some(&next) = self.characters.peek()
            && is_wanted(&text, next)
        {
            text.push(next);
            self.characters.next();
        }
        text
    }

    fn text(&mut self, quote: char) -> String {
        let mut text = String::new();
        while let Some(next) = self.characters.next() {
            match next {
                _ if next == quote => break,
                '\\' => text.extend(self.characters.next().map(|escaped| match escaped {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                })),
                other => text.push(other),
            }
        }
        text
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.characters.next()?;
            return Some(match first {
                '#' => return None,
                _ if first.is_whitespace() => continue,
                '"' | '\'' => Token::Text(self.text(first)),
                _ if first.is_ascii_digit() => {
                    let text = self.take(first, |text, next| {
                        let is_sign = matches!(next, '+' | '-') && text.ends_with(['e', 'E']);
                        next.is_ascii_alphanumeric() || next == '.' || is_sign
                    });
                    let is_real = text.contains(['.', 'e', 'E']);
                    text.parse().map_or(Token::Name(text), |number| Token::Number(number, is_real))
                }
                _ if first.is_alphabetic() || first == '_' => {
                    Token::Name(self.take(first, |_, next| next.is_alphanumeric() || next == '_'))
                }
                other => Token::Symbol(other),
            });
        }
    }
}
