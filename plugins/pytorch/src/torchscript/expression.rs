//! The expressions of TorchScript's code.

use super::lexer::Token;
use std::fmt;

/// Brackets within brackets: a bound for the parser's own stack.
const MAX_DEPTH: u32 = 100;
/// Levels of the tree: a chain such as `a.b[0](c)` is one for each link. Whoever walks, copies or drops an expression
/// goes that deep. The deepest of a real model are paths of modules.
const MAX_HEIGHT: u32 = 200;

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
        let (root, names) = self.chain();
        let Self::Name(root) = root else { return None };
        let mut text = root.clone();
        for name in names.into_iter().rev() {
            text.push('.');
            text.push_str(name);
        }
        Some(text)
    }

    /// What `.b.c` follows in `a.b.c`, and the names after it, the last one first.
    pub fn chain(&self) -> (&Self, Vec<&str>) {
        let (mut root, mut names) = (self, Vec::new());
        while let Self::Attribute(value, name) = root {
            names.push(name.as_str());
            root = value;
        }
        (root, names)
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
    tokens: &'a [Token<'a>],
    depth: u32,
    /// The height of the tree that was read last.
    height: u32,
}

impl<'a> Parser<'a> {
    /// Reads these tokens.
    pub fn new(tokens: &'a [Token<'a>]) -> Self {
        Self { tokens, depth: 0, height: 0 }
    }

    fn next(&mut self) -> Option<&'a Token<'a>> {
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
        let mut height = self.height;
        while !self.tokens.is_empty() {
            elements.push(self.expression());
            height = height.max(self.height);
            if !self.eat(',') {
                break;
            }
        }
        self.node(Expression::Tuple(elements), height)
    }

    /// A tree that is one level higher than `height`, which is that of the highest of its parts.
    fn node(&mut self, expression: Expression, height: u32) -> Expression {
        self.height = height + 1;
        if self.height <= MAX_HEIGHT {
            return expression;
        }
        self.height = 0;
        Expression::Unknown
    }

    fn expression(&mut self) -> Expression {
        self.depth += 1;
        self.height = 0;
        let parsed = if self.depth > MAX_DEPTH { Expression::Unknown } else { self.postfix() };
        self.depth -= 1;
        let height = self.height;
        // Operators and conditions: the value is the left side, what follows is skipped up to the next
        // delimiter.
        while let Some(&Token::Name(word @ ("if" | "else" | "and" | "or" | "is" | "in" | "not"))) =
            self.tokens.first()
        {
            self.next();
            if matches!(word, "if" | "else") {
                self.postfix_within();
            }
        }
        self.height = height;
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
            let height = self.height;
            value = if self.eat('.') {
                match self.next() {
                    Some(Token::Name(name)) => {
                        self.node(Expression::Attribute(Box::new(value), (*name).to_owned()), height)
                    }
                    _ => return self.unknown(),
                }
            } else if self.eat('(') {
                let arguments = self.elements(')');
                let height = height.max(self.height);
                self.node(Expression::Call(Box::new(value), arguments), height)
            } else if self.eat('[') {
                let mut index = self.elements(']');
                let height = height.max(self.height);
                if index.len() == 1 {
                    self.node(Expression::Index(Box::new(value), Box::new(index.remove(0))), height)
                } else {
                    let index = self.node(Expression::Tuple(index), height);
                    let height = height.max(self.height);
                    self.node(Expression::Index(Box::new(value), Box::new(index)), height)
                }
            } else {
                return value;
            };
        }
    }

    /// What the parser does not know, however deep it is.
    fn unknown(&mut self) -> Expression {
        self.height = 0;
        Expression::Unknown
    }

    fn primary(&mut self) -> Expression {
        self.height = 0;
        match self.next() {
            Some(Token::Name(name)) => Expression::Name((*name).to_owned()),
            Some(Token::Number(number, is_real)) => Expression::Number(*number, *is_real),
            Some(Token::Text(text)) => Expression::Text(text.clone().into_owned()),
            Some(Token::Symbol('-')) => match self.next() {
                Some(Token::Number(number, is_real)) => Expression::Number(-number, *is_real),
                Some(Token::Name(name)) => Expression::Name(format!("-{name}")),
                _ => Expression::Unknown,
            },
            Some(Token::Symbol('[')) => {
                let elements = self.elements(']');
                self.node(Expression::List(elements), self.height)
            }
            Some(Token::Symbol('{')) => self.dictionary(),
            Some(Token::Symbol('(')) => {
                let is_empty = self.tokens.first() == Some(&Token::Symbol(')'));
                let first = if is_empty { None } else { Some(self.expression()) };
                // `(x)` is `x`; `(x,)` and `(x, y)` are tuples.
                match first {
                    Some(first) if self.eat(')') => first,
                    first => {
                        self.eat(',');
                        let height = self.height;
                        let mut elements: Vec<Expression> = first.into_iter().collect();
                        elements.extend(self.elements(')'));
                        let height = height.max(self.height);
                        self.node(Expression::Tuple(elements), height)
                    }
                }
            }
            _ => Expression::Unknown,
        }
    }

    /// Expressions up to the closing bracket; the height is that of the highest.
    fn elements(&mut self, close: char) -> Vec<Expression> {
        let mut elements = Vec::new();
        let mut height = 0;
        while !self.tokens.is_empty() && !self.eat(close) {
            let before = self.tokens.len();
            let mut element = self.expression();
            if self.eat('=') {
                let value = self.expression();
                element = match element {
                    Expression::Name(name) => {
                        self.node(Expression::Keyword(name, Box::new(value)), self.height)
                    }
                    _ => value,
                };
            }
            height = height.max(self.height);
            elements.push(element);
            self.eat(',');
            if self.tokens.len() == before {
                self.next();
            }
        }
        self.height = height;
        elements
    }

    fn dictionary(&mut self) -> Expression {
        let mut entries = Vec::new();
        let mut height = 0;
        while !self.tokens.is_empty() && !self.eat('}') {
            let before = self.tokens.len();
            let key = self.expression();
            height = height.max(self.height);
            let value = if self.eat(':') { self.expression() } else { self.unknown() };
            height = height.max(self.height);
            entries.push((key, value));
            self.eat(',');
            if self.tokens.len() == before {
                self.next();
            }
        }
        self.node(Expression::Dictionary(entries), height)
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
