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

/// The tokens of one logical line.
pub fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(first) = characters.next() {
        match first {
            '#' => break,
            _ if first.is_whitespace() => {}
            '"' | '\'' => {
                let mut text = String::new();
                while let Some(next) = characters.next() {
                    match next {
                        _ if next == first => break,
                        '\\' => text.extend(characters.next().map(|escaped| match escaped {
                            'n' => '\n',
                            't' => '\t',
                            other => other,
                        })),
                        other => text.push(other),
                    }
                }
                tokens.push(Token::Text(text));
            }
            _ if first.is_ascii_digit() => {
                let mut text = String::from(first);
                while let Some(&next) = characters.peek() {
                    let is_sign = matches!(next, '+' | '-') && text.ends_with(['e', 'E']);
                    if !(next.is_ascii_alphanumeric() || next == '.' || is_sign) {
                        break;
                    }
                    text.push(next);
                    characters.next();
                }
                let is_real = text.contains(['.', 'e', 'E']);
                tokens.push(text.parse().map_or(Token::Name(text), |number| Token::Number(number, is_real)));
            }
            _ if first.is_alphabetic() || first == '_' => {
                let mut text = String::from(first);
                while let Some(&next) = characters.peek() {
                    if !(next.is_alphanumeric() || next == '_') {
                        break;
                    }
                    text.push(next);
                    characters.next();
                }
                tokens.push(Token::Name(text));
            }
            other => tokens.push(Token::Symbol(other)),
        }
    }
    tokens
}
