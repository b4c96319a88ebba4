//! The code records of TorchScript: Python's syntax, one class or function after another.
//!
//! The parser is tolerant: it knows the statements and expressions that TorchScript's printer writes, and what
//! it does not know becomes [`Expression::Unknown`].

use super::expression::{Expression, Parser};
use super::lexer::{Lexer, Piece, Token, tokens};
use super::reach::Reach;
use super::symbol::Kind;
use qp_abi::sdk::{BackendError, Result};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Blocks within blocks; what is deeper is left out.
const MAX_BLOCKS: usize = 64;
/// Tokens of all code: each becomes a part of an expression, of a hundred bytes. The largest models have a tenth.
const MAX_TOKENS: usize = 1 << 21;
/// Bytes of a name, of which there is a copy wherever it is used.
const MAX_NAME: usize = 1024;
/// Arguments of a method; those of one with more are left out.
const MAX_ARGUMENTS: usize = 4096;
/// How many tokens a line counts as beside its own, and how many bytes of a name that is made count as one.
const LINE: usize = 3;
const TOKEN_BYTES: usize = 8;

/// All code of an archive, by qualified names.
#[derive(Debug, Default)]
pub struct Code {
    /// The classes.
    pub classes: HashMap<String, Class>,
    /// The functions that belong to no class.
    pub functions: HashMap<String, Method>,
    /// What it calls, by its names alone.
    pub reach: Reach,
    tokens: usize,
}

/// A class, with what matters of it here.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// The names of its parameters.
    pub parameters: HashSet<String>,
    /// The names of its buffers.
    pub buffers: HashSet<String>,
    /// Its methods by name.
    pub methods: HashMap<String, Method>,
}

/// A method, or a function.
#[derive(Debug, Clone, Default)]
pub struct Method {
    /// The name of a method's first argument, mostly `self`; empty for a function.
    pub receiver: String,
    /// The names and types of the other arguments.
    pub arguments: Vec<(String, String)>,
    /// The names of those that have a default.
    pub optional: Vec<String>,
    /// What the types of these say of tensors.
    pub kinds: Vec<Kind>,
    /// The type it returns.
    pub returns: String,
    /// What that says of tensors.
    pub returned: Kind,
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
    /// `if condition: … else: …`.
    If(Expression, Vec<Statement>, Vec<Statement>),
    /// `for name in values: …`.
    For(Expression, Expression, Vec<Statement>),
    /// `while condition: …`.
    While(Expression, Vec<Statement>),
    /// `with value as name: …`.
    With(Expression, Vec<Statement>),
}

impl Code {
    /// Adds the classes and functions of a code record; `module` is its name with dots.
    ///
    /// # Errors
    /// `CorruptFile` for more code than any model has.
    pub fn add(&mut self, module: &str, source: &str) -> Result<()> {
        let lines = logical_lines(source, &mut self.tokens)?;
        self.reach.add(source);
        let mut rest = lines.as_slice();
        while let [(_, line), after @ ..] = rest {
            let (block, others) = block_of(after, 0);
            rest = others;
            if let Some(header) = line.strip_prefix("class ") {
                let end = header.find(['(', ':']).unwrap_or(header.len());
                let name = header.get(..end).unwrap_or_default().trim();
                self.tokens += module.len() / TOKEN_BYTES;
                self.classes.insert(format!("{module}.{name}"), class(block));
            } else if let Some(header) = line.strip_prefix("def ") {
                let (name, mut function) = method_header(header, false);
                function.body = statements(block, 0);
                self.tokens += module.len() / TOKEN_BYTES;
                self.functions.insert(format!("{module}.{name}"), function);
            }
            check(self.tokens)?;
        }
        Ok(())
    }

    /// A method of a class.
    pub fn method(&self, class: &str, name: &str) -> Option<&Method> {
        self.classes.get(class)?.methods.get(name)
    }
}

impl Class {
    /// The names of the methods but `forward`, and but those that save and load; sorted.
    pub fn other_methods(&self) -> Vec<&str> {
        let is_known = |name: &str| matches!(name, "forward" | "__getstate__" | "__setstate__");
        let mut names: Vec<&str> =
            self.methods.keys().map(String::as_str).filter(|name| !is_known(name)).collect();
        names.sort_unstable();
        names
    }
}

type Line<'a> = (usize, Cow<'a, str>);

/// The lines that are indented by more than `indent`, and what comes after them.
fn block_of<'a, 'b>(lines: &'a [Line<'b>], indent: usize) -> (&'a [Line<'b>], &'a [Line<'b>]) {
    let end = lines.iter().position(|(inner, _)| *inner <= indent).unwrap_or(lines.len());
    lines.split_at(end)
}

fn class(lines: &[Line<'_>]) -> Class {
    let mut class = Class::default();
    let mut rest = lines;
    while let [(indent, line), after @ ..] = rest {
        let (block, others) = block_of(after, *indent);
        rest = others;
        if let Some(header) = line.strip_prefix("def ") {
            let (name, mut method) = method_header(header, true);
            method.body = statements(block, 0);
            class.methods.insert(name, method);
        } else if let Some(list) = line.strip_prefix("__parameters__ =") {
            class.parameters = texts(list);
        } else if let Some(list) = line.strip_prefix("__buffers__ =") {
            class.buffers = texts(list);
        }
    }
    class
}

/// Lines with their indentation; what is open in brackets goes on in the next line. `total` counts the tokens.
fn logical_lines<'a>(source: &'a str, total: &mut usize) -> Result<Vec<Line<'a>>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut depth = 0_i64;
    for line in source.lines() {
        let text = line.trim();
        if text.is_empty() && depth == 0 {
            continue;
        }
        match lines.last_mut() {
            Some((_, open)) if depth > 0 => {
                let open = open.to_mut();
                open.push(' ');
                open.push_str(text);
            }
            _ => lines.push((line.len() - line.trim_start().len(), Cow::Borrowed(text))),
        }
        depth = (depth + open_brackets(text, total)?).max(0);
    }
    Ok(lines)
}

fn check(tokens: usize) -> Result<()> {
    match tokens > MAX_TOKENS {
        true => Err(BackendError::corrupt_file("the archive has too much code")),
        false => Ok(()),
    }
}

/// Brackets that `text` opens and does not close, those in texts not counted.
fn open_brackets(text: &str, total: &mut usize) -> Result<i64> {
    let mut depth = 0;
    *total += LINE;
    let mut lexer = Lexer::new(text);
    while let Some(piece) = lexer.piece() {
        *total += 1;
        check(*total)?;
        let is_name = |number: &str| number.parse::<f64>().is_err();
        match piece {
            Piece::Symbol('(' | '[' | '{') => depth += 1,
            Piece::Symbol(')' | ']' | '}') => depth -= 1,
            Piece::Number(name) if name.len() <= MAX_NAME || !is_name(name) => {}
            Piece::Name(name) | Piece::Number(name) if name.len() > MAX_NAME => {
                let message = format!("a name in the code has {} bytes", name.len());
                return Err(BackendError::corrupt_file(message));
            }
            _ => {}
        }
    }
    Ok(depth)
}

fn texts(list: &str) -> HashSet<String> {
    let texts = Lexer::new(list).filter_map(|token| match token {
        Token::Text(text) => Some(text.into_owned()),
        _ => None,
    });
    texts.collect()
}

/// `forward(self: T, x: Tensor) -> Tensor:`.
fn method_header(header: &str, has_receiver: bool) -> (String, Method) {
    let (name, rest) = header.split_once('(').unwrap_or((header, ""));
    let (arguments, returns) = match rest.rsplit_once("->") {
        Some((arguments, returns)) => (arguments, returns.trim().trim_end_matches(':').trim()),
        None => (rest, ""),
    };
    let arguments = arguments.trim().trim_end_matches(':').trim_end().trim_end_matches(')');
    let mut parsed = Method { returns: returns.to_owned(), returned: Kind::of(returns), ..Method::default() };
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
        let (annotation, has_default) = match annotation.split_once('=') {
            Some((annotation, _)) => (annotation, true),
            None => (annotation, false),
        };
        match (has_receiver && parsed.receiver.is_empty(), name.trim()) {
            (_, "") => {}
            (true, name) => parsed.receiver = name.to_owned(),
            (false, _) if parsed.arguments.len() >= MAX_ARGUMENTS => break,
            (false, name) => {
                if has_default {
                    parsed.optional.push(name.to_owned());
                }
                parsed.kinds.push(Kind::of(annotation));
                parsed.arguments.push((name.to_owned(), annotation.trim().to_owned()));
            }
        }
    }
    (name.trim().to_owned(), parsed)
}

fn statements(lines: &[Line<'_>], depth: usize) -> Vec<Statement> {
    let mut statements = Vec::new();
    if depth > MAX_BLOCKS {
        return statements;
    }
    let mut rest = lines;
    while let [(indent, line), after @ ..] = rest {
        let (block, others) = block_of(after, *indent);
        rest = others;
        let inner = || self::statements(block, depth + 1);
        let head = |text: &str| Parser::new(&tokens(text.trim().trim_end_matches(':'))).sequence();
        if let Some(condition) = line.strip_prefix("if ") {
            let otherwise = match rest {
                [(_, line), after @ ..] if line == "else:" => {
                    let (block, others) = block_of(after, *indent);
                    rest = others;
                    self::statements(block, depth + 1)
                }
                _ => Vec::new(),
            };
            statements.push(Statement::If(head(condition), inner(), otherwise));
        } else if let Some(condition) = line.strip_prefix("while ") {
            statements.push(Statement::While(head(condition), inner()));
        } else if let Some((target, values)) =
            line.strip_prefix("for ").and_then(|line| line.split_once(" in "))
        {
            statements.push(Statement::For(head(target), head(values), inner()));
        } else if let Some(value) = line.strip_prefix("with ") {
            let value = value.split(" as ").next().unwrap_or_default();
            statements.push(Statement::With(head(value), inner()));
        } else {
            statements.extend(statement(line));
        }
    }
    statements
}

fn statement(line: &str) -> Option<Statement> {
    if matches!(line, "pass" | "else:") {
        return None;
    }
    let tokens = tokens(line);
    if let Some((Token::Name(word), rest)) = tokens.split_first()
        && *word == "return"
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
        Expression::Tuple(targets) => targets,
        target => vec![target],
    };
    Some(Statement::Assign(targets, Parser::new(value.get(1..).unwrap_or_default()).sequence()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(source: &str) -> Code {
        let mut code = Code::default();
        code.add("m", source).unwrap();
        code
    }

    #[test]
    fn a_class_has_its_parameters_methods_and_statements() {
        let source = "class Conv(Module):\n  __parameters__ = [\"weight\", \"bias\", ]\n  __buffers__ = []\n  \
             weight : Tensor\n  def forward(self: __torch__.Conv,\n    x: Tensor,\n    n: List[int]) -> Tensor:\n    \
             _0 = ops.quantized.conv2d_relu(x, self.w, 0.5, -3)\n    a, b, = (self.conv).forward(_0, )\n    return _0\n";
        let code = parsed(source);
        let class = code.classes.get("m.Conv").unwrap();
        assert_eq!(class.parameters, ["weight", "bias"].map(str::to_owned).into());
        let forward = class.methods.get("forward").unwrap();
        assert_eq!(forward.receiver, "self");
        assert_eq!(forward.arguments, [("x".into(), "Tensor".into()), ("n".into(), "List[int]".into())]);
        assert_eq!(forward.returns, "Tensor");
        let Some(Statement::Assign(targets, Expression::Call(callee, arguments))) = forward.body.first()
        else {
            panic!("{:?}", forward.body)
        };
        assert_eq!(targets, &[Expression::Name("_0".into())]);
        assert_eq!(callee.dotted().as_deref(), Some("ops.quantized.conv2d_relu"));
        let numbers = [Expression::Number(0.5, true), Expression::Number(-3.0, false)];
        assert_eq!(arguments.get(2..), Some(&numbers[..]));
        assert!(matches!(forward.body.get(1), Some(Statement::Assign(targets, _)) if targets.len() == 2));
        assert!(matches!(forward.body.get(2), Some(Statement::Return(Expression::Name(_)))));
    }

    #[test]
    fn branches_and_loops_keep_their_statements() {
        let code = parsed(
            "def f(x: Tensor) -> Tensor:\n  if c:\n    y = x\n  else:\n    for i in range(3):\n      y = x\n      z = x\n  \
             while b:\n    pass\n  return y\n",
        );
        let function = code.functions.get("m.f").unwrap();
        assert_eq!((function.receiver.as_str(), function.arguments.len()), ("", 1));
        let [Statement::If(_, then, otherwise), Statement::While(_, body), Statement::Return(_)] =
            function.body.as_slice()
        else {
            panic!("{:?}", function.body)
        };
        assert_eq!((then.len(), otherwise.len(), body.len()), (1, 1, 0));
        assert!(matches!(otherwise.first(), Some(Statement::For(_, _, body)) if body.len() == 2));
    }

    #[test]
    fn nonsense_is_parsed_without_end_or_panic() {
        for source in [
            "class (",
            "class A\n  def f(\n    ((((",
            "class A:\n  def f():\n    x = {[(,=:",
            "\u{feff}",
            "  x",
        ] {
            parsed(source);
        }
        parsed(&format!("class A:\n  def f():\n    x = {}1", "-".repeat(100_000)));
        let deep = format!("class A:\n  def f():\n    x = {}", "(".repeat(100_000));
        assert_eq!(parsed(&deep).classes.len(), 1);
        let blocks: String = (0..2000).map(|depth| format!("{}if c:\n", " ".repeat(depth + 2))).collect();
        assert_eq!(parsed(&format!("def f():\n{blocks}")).functions.len(), 1);
    }
}
