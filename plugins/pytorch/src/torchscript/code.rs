//! The code records of TorchScript: Python's syntax, one class after another.
//!
//! The parser is tolerant: it knows the statements and expressions that TorchScript's printer writes, and what
//! it does not know becomes [`Expression::Unknown`]. Control flow is flattened: every branch is listed.

use super::lexer::{Token, tokens};
use std::collections::HashMap;

const MAX_DEPTH: u32 = 100;

/// A class, with what matters of it here.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// The names of its parameters.
    pub parameters: Vec<String>,
    /// The names of its buffers.
    pub buffers: Vec<String>,
    /// Its methods by name.
    pub methods: HashMap<String, Method>,
}

/// A method.
#[derive(Debug, Clone, Default)]
pub struct Method {
    /// The name of its first argument, mostly `self`.
    pub receiver: String,
    /// The names and types of the other arguments.
    pub arguments: Vec<(String, String)>,
    /// The type it returns.
    pub returns: String,
    /// Its statements.
    pub body: Vec<Statement>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `targets = value`.
    Assign(Vec<Expression>, Expression),
    /// `return value`.
    Return(Expression),
    /// An expression for its effect.
    Evaluate(Expression),
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A variable, or the first part of a dotted name.
    Name(String),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list or tuple.
    Sequence(Vec<Expression>),
    /// A dictionary.
    Dictionary(Vec<(Expression, Expression)>),
    /// `value.name`.
    Attribute(Box<Expression>, String),
    /// `value[index]`.
    Index(Box<Expression>, Box<Expression>),
    /// `callee(arguments)`.
    Call(Box<Expression>, Vec<Expression>),
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

/// The classes of a code record, by name.
pub fn classes(source: &str) -> HashMap<String, Class> {
    let mut classes: HashMap<String, Class> = HashMap::new();
    let mut class: Option<String> = None;
    let mut method: Option<String> = None;
    for (indent, line) in logical_lines(source) {
        let line = line.trim();
        if indent == 0 {
            method = None;
            class = line.strip_prefix("class ").map(|rest| {
                let end = rest.find(['(', ':']).unwrap_or(rest.len());
                rest.get(..end).unwrap_or_default().trim().to_owned()
            });
            if let Some(name) = &class {
                classes.entry(name.clone()).or_default();
            }
            continue;
        }
        let Some(class) = class.as_ref().and_then(|class| classes.get_mut(class)) else { continue };
        if let Some(header) = line.strip_prefix("def ") {
            let (name, parsed) = method_header(header);
            class.methods.insert(name.clone(), parsed);
            method = Some(name);
        } else if indent <= 2 {
            method = None;
            if let Some(list) = line.strip_prefix("__parameters__ =") {
                class.parameters = texts(list);
            } else if let Some(list) = line.strip_prefix("__buffers__ =") {
                class.buffers = texts(list);
            }
        } else if let Some(method) = method.as_ref().and_then(|method| class.methods.get_mut(method)) {
            method.body.extend(statement(line));
        }
    }
    classes
}

/// Lines with their indentation; what is open in brackets goes on in the next line.
fn logical_lines(source: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut depth = 0_i64;
    for line in source.lines() {
        let text = line.trim_start();
        if text.is_empty() && depth == 0 {
            continue;
        }
        match lines.last_mut() {
            Some((_, open)) if depth > 0 => {
                open.push(' ');
                open.push_str(text);
            }
            _ => lines.push((line.len() - text.len(), text.to_owned())),
        }
        depth = (depth + open_brackets(text)).max(0);
    }
    lines
}

/// Brackets that `text` opens and does not close, those in texts not counted.
fn open_brackets(text: &str) -> i64 {
    tokens(text).iter().fold(0, |depth, token| match token {
        Token::Symbol('(' | '[' | '{') => depth + 1,
        Token::Symbol(')' | ']' | '}') => depth - 1,
        _ => depth,
    })
}

fn texts(list: &str) -> Vec<String> {
    let texts = tokens(list).into_iter().filter_map(|token| match token {
        Token::Text(text) => Some(text),
        _ => None,
    });
    texts.collect()
}

/// `forward(self: T, x: Tensor) -> Tensor:`.
fn method_header(header: &str) -> (String, Method) {
    let (name, rest) = header.split_once('(').unwrap_or((header, ""));
    let (arguments, returns) = match rest.rsplit_once("->") {
        Some((arguments, returns)) => (arguments, returns.trim().trim_end_matches(':').trim()),
        None => (rest, ""),
    };
    let arguments = arguments.trim().trim_end_matches(':').trim_end().trim_end_matches(')');
    let mut parsed = Method { returns: returns.to_owned(), ..Method::default() };
    let (mut depth, mut start) = (0_i64, 0);
    let mut parts = Vec::new();
    for (at, character) in arguments.char_indices() {
        match character {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(arguments.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments.get(start..).unwrap_or_default());
    for part in parts {
        let (name, annotation) = part.split_once(':').unwrap_or((part, "Tensor"));
        let annotation = annotation.split('=').next().unwrap_or_default();
        match (parsed.receiver.is_empty(), name.trim()) {
            (_, "") => {}
            (true, name) => parsed.receiver = name.to_owned(),
            (false, name) => parsed.arguments.push((name.to_owned(), annotation.trim().to_owned())),
        }
    }
    (name.trim().to_owned(), parsed)
}

fn statement(line: &str) -> Option<Statement> {
    let control = ["if ", "else:", "elif ", "for ", "while ", "pass", "with ", "assert "];
    if control.iter().any(|word| line.starts_with(word)) {
        return None;
    }
    let tokens = tokens(line);
    if let Some((Token::Name(word), rest)) = tokens.split_first()
        && word == "return"
    {
        return Some(Statement::Return(Parser::new(rest).sequence()));
    }
    // A comparison never stands alone, so that the first `=` outside of brackets is an assignment.
    let mut depth = 0;
    let equals = tokens.iter().position(|token| {
        match token {
            Token::Symbol('(' | '[' | '{') => depth += 1,
            Token::Symbol(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        depth == 0 && *token == Token::Symbol('=')
    });
    let Some(equals) = equals else { return Some(Statement::Evaluate(Parser::new(&tokens).sequence())) };
    let (targets, value) = tokens.split_at(equals);
    // `name : type = value`.
    let annotation = targets.iter().position(|token| *token == Token::Symbol(':')).unwrap_or(targets.len());
    let targets = match Parser::new(targets.get(..annotation).unwrap_or_default()).sequence() {
        Expression::Sequence(targets) => targets,
        target => vec![target],
    };
    Some(Statement::Assign(targets, Parser::new(value.get(1..).unwrap_or_default()).sequence()))
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: u32,
}

impl<'a> Parser<'a> {
    fn new(tokens: &'a [Token]) -> Self {
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
    fn sequence(&mut self) -> Expression {
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
        Expression::Sequence(elements)
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
                let index = if index.len() == 1 { index.remove(0) } else { Expression::Sequence(index) };
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return value;
            }
        }
    }

    fn primary(&mut self) -> Expression {
        match self.next() {
            Some(Token::Name(name)) => Expression::Name(name.clone()),
            Some(Token::Number(number)) => Expression::Number(*number),
            Some(Token::Text(text)) => Expression::Text(text.clone()),
            Some(Token::Symbol('-')) => match self.next() {
                Some(Token::Number(number)) => Expression::Number(-number),
                _ => Expression::Unknown,
            },
            Some(Token::Symbol('[')) => Expression::Sequence(self.elements(']')),
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
                        Expression::Sequence(elements)
                    }
                }
            }
            _ => Expression::Unknown,
        }
    }

    /// Expressions up to the closing bracket; keyword arguments are given by value.
    fn elements(&mut self, close: char) -> Vec<Expression> {
        let mut elements = Vec::new();
        while !self.tokens.is_empty() && !self.eat(close) {
            let before = self.tokens.len();
            let mut element = self.expression();
            if self.eat('=') {
                element = self.expression();
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
    use super::*;

    #[test]
    fn a_class_has_its_parameters_methods_and_statements() {
        let source = "class Conv(Module):\n  __parameters__ = [\"weight\", \"bias\", ]\n  __buffers__ = []\n  \
             weight : Tensor\n  def forward(self: __torch__.Conv,\n    x: Tensor,\n    n: List[int]) -> Tensor:\n    \
             _0 = ops.quantized.conv2d_relu(x, self.w, 0.5, -3)\n    a, b, = (self.conv).forward(_0, )\n    return _0\n";
        let classes = classes(source);
        let class = classes.get("Conv").unwrap();
        assert_eq!(class.parameters, ["weight", "bias"]);
        let forward = class.methods.get("forward").unwrap();
        assert_eq!(forward.arguments, [("x".into(), "Tensor".into()), ("n".into(), "List[int]".into())]);
        assert_eq!(forward.returns, "Tensor");
        let Some(Statement::Assign(targets, Expression::Call(callee, arguments))) = forward.body.first()
        else {
            panic!("{:?}", forward.body)
        };
        assert_eq!(targets, &[Expression::Name("_0".into())]);
        assert_eq!(callee.dotted().as_deref(), Some("ops.quantized.conv2d_relu"));
        assert_eq!(arguments.get(2..), Some(&[Expression::Number(0.5), Expression::Number(-3.0)][..]));
        assert!(matches!(forward.body.get(1), Some(Statement::Assign(targets, _)) if targets.len() == 2));
        assert!(matches!(forward.body.get(2), Some(Statement::Return(Expression::Name(_)))));
    }

    #[test]
    fn nonsense_is_parsed_without_end_or_panic() {
        for source in
            ["class (", "class A\n  def f(\n    ((((", "class A:\n  def f():\n    x = {[(,=:", "\u{feff}"]
        {
            classes(source);
        }
        classes(&format!("class A:\n  def f():\n    x = {}1", "-".repeat(100_000)));
        let deep = format!("class A:\n  def f():\n    x = {}", "(".repeat(100_000));
        assert_eq!(classes(&deep).len(), 1);
    }
}
