//! From text to tokens, indentation included.

use std::borrow::Cow;

/// A token, with the line it is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// The line, from 1.
    pub line: usize,
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind<'a> {
    /// A name or a word of the language.
    Name(&'a str),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text, without its quotation marks.
    Text(String),
    /// An operator or a delimiter.
    Symbol(&'static str),
    /// The end of a logical line.
    Newline,
    /// A block begins.
    Indent,
    /// A block ends.
    Dedent,
}

/// Operators and delimiters of several characters, the longer ones first.
const LONG: [&str; 23] = [
    "...", "**=", "//=", "<<=", ">>=", "->", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=",
    "*=", "/=", "@=", "&=", "|=", "^=", "%=",
];
/// Those of one.
const SINGLE: [&str; 23] = [
    "(", ")", "[", "]", "{", "}", ",", ":", ";", ".", "+", "-", "*", "/", "@", "%", "&", "|", "^", "~", "<",
    ">", "=",
];
/// Blocks within blocks.
const MAX_INDENTS: usize = 64;
/// Tokens of one source, of some fifty bytes each.
const MAX_TOKENS: usize = 1 << 21;
/// Bytes of a name, of which there is a copy wherever it is used.
const MAX_NAME: usize = 1024;

/// The tokens of `source`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn tokens(source: &str) -> Result<Vec<Token<'_>>, (usize, String)> {
    let mut lexer = Lexer { tokens: Vec::new(), indents: vec![0], open: 0, line: 1 };
    let mut rest = source;
    while !rest.is_empty() {
        rest = lexer.logical_line(rest)?;
    }
    while lexer.indents.len() > 1 {
        lexer.indents.pop();
        lexer.push(Kind::Dedent);
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    tokens: Vec<Token<'a>>,
    indents: Vec<usize>,
    /// Brackets that are open: a line goes on until they are closed.
    open: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, kind: Kind<'a>) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, (usize, String)> {
        Err((self.line, what.into()))
    }

    fn logical_line(&mut self, text: &'a str) -> Result<&'a str, (usize, String)> {
        let content = text.trim_start_matches([' ', '\t']);
        let is_blank = content.is_empty() || content.starts_with(['\n', '\r', '#']);
        if is_blank {
            let end = content.find('\n').map_or(content.len(), |end| end + 1);
            self.line += 1;
            return Ok(content.get(end..).unwrap_or_default());
        }
        self.indent(text.len() - content.len())?;
        let mut rest = content;
        loop {
            if self.tokens.len() > MAX_TOKENS {
                return self.wrong("the code is too long");
            }
            rest = rest.trim_start_matches([' ', '\t', '\r']);
            let Some(first) = rest.chars().next() else { break };
            match first {
                '\n' => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.line += 1;
                    if self.open == 0 {
                        self.tokens.push(Token { kind: Kind::Newline, line: self.line - 1 });
                        return Ok(rest);
                    }
                }
                '#' => rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default(),
                '\'' | '"' => rest = self.text(rest, first)?,
                first if first.is_ascii_digit() => rest = self.number(rest)?,
                '.' if rest.chars().nth(1).is_some_and(|next| next.is_ascii_digit()) => {
                    rest = self.number(rest)?;
                }
                first if first.is_alphabetic() || first == '_' => {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                    let (name, after) = rest.split_at(end);
                    if name.len() > MAX_NAME {
                        return self.wrong(format!("a name has {} bytes", name.len()));
                    }
                    self.push(Kind::Name(name));
                    rest = after;
                }
                _ => rest = self.symbol(rest)?,
            }
        }
        self.push(Kind::Newline);
        Ok("")
    }

    fn indent(&mut self, width: usize) -> Result<(), (usize, String)> {
        let current = self.indents.last().copied().unwrap_or(0);
        if width > current {
            if self.indents.len() >= MAX_INDENTS {
                return self.wrong("blocks are nested too deep");
            }
            self.indents.push(width);
            self.push(Kind::Indent);
        }
        while self.indents.last().is_some_and(|last| width < *last) {
            self.indents.pop();
            self.push(Kind::Dedent);
        }
        if self.indents.last() == Some(&width) { Ok(()) } else { self.wrong("the indentation fits no block") }
    }

    fn symbol(&mut self, rest: &'a str) -> Result<&'a str, (usize, String)> {
        // No symbol of several characters has a bracket or another delimiter in its second place.
        let is_long = matches!(rest.as_bytes().get(1), Some(b'.' | b'*' | b'/' | b'<' | b'>' | b'='));
        let long = LONG.iter().filter(|_| is_long).find(|symbol| rest.starts_with(**symbol));
        let single = || SINGLE.iter().find(|symbol| rest.as_bytes().first() == symbol.as_bytes().first());
        let Some(symbol) = long.or_else(single) else {
            return self.wrong(format!("`{}` is not Python", rest.chars().next().unwrap_or_default()));
        };
        match *symbol {
            "(" | "[" | "{" => self.open += 1,
            ")" | "]" | "}" => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        self.push(Kind::Symbol(symbol));
        Ok(rest.get(symbol.len()..).unwrap_or_default())
    }

    fn number(&mut self, rest: &'a str) -> Result<&'a str, (usize, String)> {
        let mut end = 0;
        let mut previous = ' ';
        for (at, character) in rest.char_indices() {
            let is_sign = matches!(character, '+' | '-') && matches!(previous, 'e' | 'E');
            if !(character.is_ascii_alphanumeric() || matches!(character, '.' | '_') || is_sign) {
                break;
            }
            previous = character;
            end = at + character.len_utf8();
        }
        let (digits, after) = rest.split_at(end);
        let plain =
            if digits.contains('_') { Cow::Owned(digits.replace('_', "")) } else { Cow::Borrowed(digits) };
        if let Ok(number) = plain.parse() {
            self.push(Kind::Int(number));
        } else if let Some(Ok(number)) = plain.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16)) {
            self.push(Kind::Int(number));
        } else if let Ok(number) = plain.parse() {
            self.push(Kind::Float(number));
        } else {
            return self.wrong(format!("`{digits}` is not a number"));
        }
        Ok(after)
    }

    fn text(&mut self, rest: &'a str, quote: char) -> Result<&'a str, (usize, String)> {
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        let (opening, is_long) = if rest.starts_with(triple) { (3, true) } else { (1, false) };
        let body = rest.get(opening..).unwrap_or_default();
        let mut text = String::new();
        let mut characters = body.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(same @ ('\\' | '\'' | '"')) => text.push(same),
                    Some('\n') => self.line += 1,
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                '\n' if !is_long => break,
                _ if is_long && body.get(at..).is_some_and(|end| end.starts_with(triple)) => {
                    self.push(Kind::Text(text));
                    return Ok(body.get(at + 3..).unwrap_or_default());
                }
                _ if !is_long && character == quote => {
                    self.push(Kind::Text(text));
                    return Ok(body.get(at + 1..).unwrap_or_default());
                }
                _ => {
                    if character == '\n' {
                        self.line += 1;
                    }
                    text.push(character);
                }
            }
        }
        self.wrong("a text has no end")
    }
}
