//! The expressions of TorchScript's code.

use super::lexer::Token;
use std::fmt;

const MAX_DEPTH: u32 = 100;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A variable, or the first part of a dotted name.
    Name(String),
    /// A number, and whether it is written as one that need not be whole.
    Number(f64, bool),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Expression>),
    /// A tuple.
    Tuple(Vec<Expression>),
    /// A dictionary.
    Dictionary(Vec<(Expression, Expression)>),
    /// `value.name`.
    Attribute(Box<Expression>, String),
    /// `value[index]`.
    Index(Box<Expression>, Box<Expression>),
    /// `callee(arguments)`.
    Call(Box<Expression>, Vec<Expression>),
    /// An argument by its name: `alpha=2`.
    Keyword(String, Box<Expression>),
    /// What the parser does not know.
    Unknown,
}

impl Expression {
    /// The text of a dotted name: `ops.quantized.add_relu`.
    pub fn dotted(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.clone()),
            Self::Attribute(value, name) => Some(format!("{}.{name}", value.dotted()?)),
            _ => None,
        }
    }
}

impl fmt::Display for Expression {
    /// As TorchScript writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, elements: &[Self]| {
            elements.iter().enumerate().try_for_each(|(index, element)| {
                f.write_str(if index == 0 { "" } else { ", " })?;
                element.fmt(f)
            })
        };
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number, false) => write!(f, "{}", *number as i64),
            Self::Number(number, true) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Self::List(elements) => {
                f.write_str("[")?;
                list(f, elements)?;
                f.write_str("]")
            }
            Self::Tuple(elements) => {
                f.write_str("(")?;
                list(f, elements)?;
                f.write_str(if elements.len() == 1 { ",)" } else { ")" })
            }
            Self::Dictionary(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Attribute(value, name) => write!(f, "{value}.{name}"),
            Self::Index(value, index) => match &**index {
                Self::Tuple(types) => {
                    write!(f, "{value}[")?;
                    list(f, types)?;
                    f.write_str("]")
                }
                index => write!(f, "{value}[{index}]"),
            },
            Self::Call(callee, arguments) => {
                write!(f, "{callee}(")?;
                list(f, arguments)?;
                f.write_str(")")
            }
            Self::Keyword(name, value) => write!(f, "{name}={value}"),
            Self::Unknown => f.write_str("…"),
        }
    }
}

/// Reads expressions from tokens.
pub struct Parser<'a> {
    tokens: &'a [Token],
    depth: u32,
}

impl<'a> Parser<'a> {
    /// Reads these tokens.
    pub fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, depth: 0 }
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn eat(&mut self, symbol: char) -> bool {
        let found = self.tokens.first() == Some(&Token::Symbol(symbol));
        if found {
            self.next();
        }
        found
    }

    /// One expression, or several with commas between and perhaps one at the end.
    pub fn sequence(&mut self) -> Expression {
        let first = self.expression();
        if !self.eat(',') {
            return first;
        }
        let mut elements = vec![first];
        while !self.tokens.is_empty() {
            elements.push(self.expression());
            if !self.eat(',') {
                break;
            }
        }
        Expression::Tuple(elements)
    }

    fn expression(&mut self) -> Expression {
        self.depth += 1;
        let parsed = if self.depth > MAX_DEPTH { Expression::Unknown } else { self.postfix() };
        self.depth -= 1;
        // Operators and conditions: the value is the left side, what follows is skipped up to the next
        // delimiter.
        while let Some(Token::Name(word)) = self.tokens.first()
            && matches!(word.as_str(), "if" | "else" | "and" | "or" | "is" | "in" | "not")
        {
            self.next();
            if word == "if" || word == "else" {
                self.postfix_within();
            }
        }
        parsed
    }

    fn postfix_within(&mut self) {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            self.postfix();
        }
        self.depth -= 1;
    }

    fn postfix(&mut self) -> Expression {
        let mut value = self.primary();
        loop {
            if self.eat('.') {
                match self.next() {
                    Some(Token::Name(name)) => value = Expression::Attribute(Box::new(value), name.clone()),
                    _ => return Expression::Unknown,
                }
            } else if self.eat('(') {
                let arguments = self.elements(')');
                value = Expression::Call(Box::new(value), arguments);
            } else if self.eat('[') {
                let mut index = self.elements(']');
                let index = if index.len() == 1 { index.remove(0) } else { Expression::Tuple(index) };
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return value;
            }
        }
    }

    fn primary(&mut self) -> Expression {
        match self.next() {
            Some(Token::Name(name)) => Expression::Name(name.clone()),
            Some(Token::Number(number, is_real)) => Expression::Number(*number, *is_real),
            Some(Token::Text(text)) => Expression::Text(text.clone()),
            Some(Token::Symbol('-')) => match self.next() {
                Some(Token::Number(number, is_real)) => Expression::Number(-number, *is_real),
                Some(Token::Name(name)) => Expression::Name(format!("-{name}")),
                _ => Expression::Unknown,
            },
            Some(Token::Symbol('[')) => Expression::List(self.elements(']')),
            Some(Token::Symbol('{')) => self.dictionary(),
            Some(Token::Symbol('(')) => {
                let is_empty = self.tokens.first() == Some(&Token::Symbol(')'));
                let first = if is_empty { None } else { Some(self.expression()) };
                // `(x)` is `x`; `(x,)` and `(x, y)` are tuples.
                match first {
                    Some(first) if self.eat(')') => first,
                    first => {
                        self.eat(',');
                        let mut elements: Vec<Expression> = first.into_iter().collect();
                        elements.extend(self.elements(')'));
                        Expression::Tuple(elements)
                    }
                }
            }
            _ => Expression::Unknown,
        }
    }

    /// Expressions up to the closing bracket.
    fn elements(&mut self, close: char) -> Vec<Expression> {
        let mut elements = Vec::new();
        while !self.tokens.is_empty() && !self.eat(close) {
            let before = self.tokens.len();
            let mut element = self.expression();
            if self.eat('=') {
                let value = Box::new(self.expression());
                element = match element {
                    Expression::Name(name) => Expression::Keyword(name, value),
                    _ => *value,
                };
            }
            elements.push(element);
            self.eat(',');
            if self.tokens.len() == before {
                self.next();
            }
        }
        elements
    }

    fn dictionary(&mut self) -> Expression {
        let mut entries = Vec::new();
        while !self.tokens.is_empty() && !self.eat('}') {
            let before = self.tokens.len();
            let key = self.expression();
            let value = if self.eat(':') { self.expression() } else { Expression::Unknown };
            entries.push((key, value));
            self.eat(',');
            if self.tokens.len() == before {
                self.next();
            }
        }
        Expression::Dictionary(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::Parser;

    #[test]
    fn an_expression_is_written_as_it_was_read() {
        for text in [
            "torch.add(x, (self.fc).forward(y), alpha=2)",
            "[1, -2.5, 1.0, 9223372036854775807, -inf]",
            "annotate(Dict[str, Tensor], {\"a\": x, \"b\": (y, z)})",
            "(x,)",
            "ops.prim.RaiseException(\"a \\\"b\\\"\\n\")",
        ] {
            let found = Parser::new(&tokens(text)).sequence().to_string();
            assert_eq!(found, text.replace("(self.fc)", "self.fc"));
        }
    }
}
