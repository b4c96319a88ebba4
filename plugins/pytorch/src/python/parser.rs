//! From tokens to statements; `expression.rs` has what they are made of.

use super::lexer::{Kind, Token, tokens};
use super::syntax::{Argument, Binary, Class, Expression, Function, Parameter, Statement};
use qp_abi::sdk::{BackendError, Result};

/// Expressions within expressions, and blocks within blocks: a bound for the stack.
const MAX_DEPTH: u32 = 64;
/// Levels of the tree that an expression is. A chain such as `a.b[0](c) + d` is one for each link, and whoever follows,
/// copies or drops the tree goes that deep.
const MAX_HEIGHT: u32 = 200;
/// Targets of one value, which each has a copy of.
const MAX_TARGETS: usize = 16;

/// The statements of `source`.
///
/// # Errors
/// `UnsupportedOp` with the line, for what is not of the part of Python that is known here.
pub fn parse(source: &str) -> Result<Vec<Statement>> {
    let said = |(line, what): (usize, String)| {
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        let shown: String = text.chars().take(100).collect();
        let what: String = what.chars().take(200).collect();
        BackendError::unsupported_op(format!("line {line} of the code cannot be followed: {what}"))
            .with_cause(format!("`{shown}`"))
    };
    let tokens = tokens(source).map_err(said)?;
    let mut parser = Parser { tokens: &tokens, depth: 0, height: 0, line: 1 };
    let mut statements = Vec::new();
    while !parser.tokens.is_empty() {
        parser.statement(&mut statements).map_err(said)?;
    }
    Ok(statements)
}

pub(super) type Parsed<T> = std::result::Result<T, (usize, String)>;

pub(super) struct Parser<'a> {
    tokens: &'a [Token<'a>],
    depth: u32,
    /// The levels of the expression that was read last.
    pub(super) height: u32,
    line: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&'a Kind<'a>> {
        self.tokens.first().map(|token| &token.kind)
    }

    pub(super) fn advance(&mut self) {
        if let Some((first, rest)) = self.tokens.split_first() {
            self.line = first.line;
            self.tokens = rest;
        }
    }

    pub(super) fn wrong<T>(&self, what: impl Into<String>) -> Parsed<T> {
        Err((self.tokens.first().map_or(self.line, |token| token.line), what.into()))
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Kind::Symbol(found)) if *found == symbol)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Name(found)) if *found == word)
    }

    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.eat(symbol) { Ok(()) } else { self.wrong(format!("`{symbol}` is missing")) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Kind::Name(name)) => {
                self.advance();
                Ok((*name).to_owned())
            }
            _ => self.wrong("a name is missing"),
        }
    }

    fn dotted(&mut self) -> Parsed<String> {
        let mut path = self.name()?;
        while self.eat(".") {
            path.push('.');
            path.push_str(&self.name()?);
        }
        Ok(path)
    }

    /// A logical line, which may hold several statements, or a block.
    fn statement(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
        match self.peek() {
            Some(Kind::Newline) => {
                self.advance();
                return Ok(());
            }
            Some(Kind::Name(word)) => match *word {
                "def" => return self.function().map(|function| into.push(Statement::Function(function))),
                "class" => return self.class().map(|class| into.push(Statement::Class(class))),
                "if" => return self.condition().map(|condition| into.push(condition)),
                "for" => return self.repetition().map(|repetition| into.push(repetition)),
                "while" | "with" | "try" | "async" | "lambda" | "global" | "nonlocal" | "del" | "yield"
                | "await" | "assert" => {
                    return self.wrong(format!("`{word}` is not supported"));
                }
                _ => {}
            },
            _ => {}
        }
        loop {
            self.simple(into)?;
            if !self.eat(";") {
                break;
            }
            if self.peek() == Some(&Kind::Newline) {
                break;
            }
        }
        match self.peek() {
            None => Ok(()),
            Some(Kind::Newline) => {
                self.advance();
                Ok(())
            }
            Some(_) => self.wrong("the line does not end where its statement does"),
        }
    }

    fn simple(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
        if self.eat_word("pass") {
            return Ok(());
        }
        if self.eat_word("return") {
            let is_empty = matches!(self.peek(), None | Some(Kind::Newline)) || self.is(";");
            let value = if is_empty { Expression::None } else { self.sequence()? };
            into.push(Statement::Return(value));
            return Ok(());
        }
        if self.eat_word("raise") {
            let value = self.sequence()?;
            let text = match &value {
                Expression::Call(_, arguments) => match arguments.first() {
                    Some(Argument::Positional(Expression::Text(text))) => text.clone(),
                    _ => "an error is raised".to_owned(),
                },
                _ => "an error is raised".to_owned(),
            };
            into.push(Statement::Raise(text));
            return Ok(());
        }
        if self.is_word("import") || self.is_word("from") {
            return self.import(into);
        }
        let first = self.sequence()?;
        // `name : type = value`, `name : type`.
        if self.eat(":") {
            self.expression()?;
            if !self.is("=") {
                return Ok(());
            }
        }
        if let Some(operator) = self.in_place() {
            self.advance();
            let value = self.sequence()?;
            into.push(Statement::Augment(first, operator, value));
            return Ok(());
        }
        if !self.is("=") {
            into.push(Statement::Evaluate(first));
            return Ok(());
        }
        let mut targets = vec![first];
        while self.eat("=") {
            if targets.len() > MAX_TARGETS {
                return self.wrong("a value has too many names");
            }
            targets.push(self.sequence()?);
        }
        // `a = b = value`: the value is the last one.
        if let Some(value) = targets.pop() {
            into.extend(targets.into_iter().map(|target| match target {
                Expression::Tuple(names) | Expression::List(names) => Statement::Assign(names, value.clone()),
                target => Statement::Assign(vec![target], value.clone()),
            }));
        }
        Ok(())
    }

    fn in_place(&self) -> Option<Binary> {
        let Some(Kind::Symbol(symbol)) = self.peek() else { return None };
        Some(match *symbol {
            "+=" => Binary::Add,
            "-=" => Binary::Subtract,
            "*=" => Binary::Multiply,
            "/=" => Binary::Divide,
            "//=" => Binary::FloorDivide,
            "%=" => Binary::Remainder,
            "**=" => Binary::Power,
            "@=" => Binary::MatrixMultiply,
            "<<=" => Binary::ShiftLeft,
            ">>=" => Binary::ShiftRight,
            "&=" => Binary::BitAnd,
            "|=" => Binary::BitOr,
            "^=" => Binary::BitXor,
            _ => return None,
        })
    }

    fn import(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
        if self.eat_word("from") {
            let module = self.dotted()?;
            if !self.eat_word("import") {
                return self.wrong("`import` is missing");
            }
            loop {
                let name = self.name()?;
                let shown = if self.eat_word("as") { self.name()? } else { name.clone() };
                into.push(Statement::Import(shown, format!("{module}.{name}")));
                if !self.eat(",") {
                    return Ok(());
                }
            }
        }
        self.advance();
        loop {
            let module = self.dotted()?;
            let (shown, path) = if self.eat_word("as") {
                (self.name()?, module)
            } else {
                let first = module.split('.').next().unwrap_or_default().to_owned();
                (first.clone(), first)
            };
            into.push(Statement::Import(shown, path));
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.expect(":")?;
        let mut body = Vec::new();
        if self.peek() != Some(&Kind::Newline) {
            self.statement(&mut body)?;
            return Ok(body);
        }
        self.advance();
        if self.peek() != Some(&Kind::Indent) {
            return self.wrong("a block is missing");
        }
        self.advance();
        while self.peek() != Some(&Kind::Dedent) && self.peek().is_some() {
            self.statement(&mut body)?;
        }
        self.advance();
        Ok(body)
    }

    fn function(&mut self) -> Parsed<Function> {
        self.advance();
        let name = self.dotted()?;
        self.expect("(")?;
        let mut parameters = Vec::new();
        while !self.is(")") {
            let is_rest = self.eat("*");
            // A star alone: what follows goes by name.
            if is_rest && (self.eat(",") || self.is(")")) {
                continue;
            }
            let name = self.name()?;
            if self.eat(":") {
                self.expression()?;
            }
            let default = if self.eat("=") { Some(self.expression()?) } else { None };
            parameters.push(Parameter { name, default, is_rest });
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        if self.eat("->") {
            self.expression()?;
        }
        Ok(Function { name, parameters, body: self.nested(Self::block)? })
    }

    fn class(&mut self) -> Parsed<Class> {
        self.advance();
        let name = self.dotted()?;
        let mut bases = Vec::new();
        if self.eat("(") {
            while !self.is(")") {
                bases.push(self.dotted()?);
                if !self.eat(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        Ok(Class { name, bases, body: self.nested(Self::block)? })
    }

    fn condition(&mut self) -> Parsed<Statement> {
        self.advance();
        let condition = self.expression()?;
        let branch = self.nested(Self::block)?;
        let other = if self.is_word("elif") {
            vec![self.nested(Self::condition)?]
        } else if self.eat_word("else") {
            self.nested(Self::block)?
        } else {
            Vec::new()
        };
        Ok(Statement::If(condition, branch, other))
    }

    fn repetition(&mut self) -> Parsed<Statement> {
        self.advance();
        let names = self.loop_names()?;
        let values = self.expression()?;
        Ok(Statement::For(names, values, self.nested(Self::block)?))
    }

    /// The names between `for` and `in`.
    pub(super) fn loop_names(&mut self) -> Parsed<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.eat(",") {
            names.push(self.name()?);
        }
        if self.eat_word("in") { Ok(names) } else { self.wrong("`in` is missing") }
    }

    /// Counts the level above parts of which the highest has `height` levels.
    pub(super) fn grow(&mut self, height: u32) -> Parsed<()> {
        self.height = height + 1;
        if self.height > MAX_HEIGHT { self.wrong("the expression is too long") } else { Ok(()) }
    }

    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.wrong("the code is nested too deep");
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_traced_graph_is_read_statement_by_statement() {
        let source = "\n\n\ndef forward(self, x : torch.Tensor, y = None) -> torch.Tensor:\n    \
            a = getattr(self, \"conv/Conv\")(x, stride = 2);  x = None\n    \
            b = a[(slice(None, None, None), 0)]\n    c = a[..., 1:, None] + -2.5e-3 ** 2\n    \
            return (b, {'out': c})\n    \n";
        let parsed = parse(source).unwrap();
        let [Statement::Function(forward)] = parsed.as_slice() else { panic!("{parsed:?}") };
        let names: Vec<&str> = forward.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!((forward.name.as_str(), names), ("forward", vec!["self", "x", "y"]));
        assert_eq!(forward.body.len(), 5);
        let Statement::Assign(targets, Expression::Call(callee, arguments)) = &forward.body[0] else {
            panic!("{:?}", forward.body[0])
        };
        assert_eq!(targets, &[Expression::Name("a".to_owned())]);
        assert!(matches!(&**callee, Expression::Call(..)));
        assert_eq!(arguments[1], Argument::Keyword("stride".to_owned(), Expression::Int(2)));
        let Statement::Return(Expression::Tuple(elements)) = &forward.body[4] else { panic!() };
        assert!(matches!(&elements[1], Expression::Dictionary(entries) if entries.len() == 1));
    }

    #[test]
    fn operators_bind_as_in_python() {
        let shape = |source: &str| format!("{:?}", parse(source).unwrap());
        assert_eq!(shape("a + b * c"), shape("a + (b * c)"));
        assert_eq!(shape("-a ** b"), shape("-(a ** b)"));
        assert_eq!(shape("not a == b and c"), shape("(not (a == b)) and c"));
        assert_eq!(shape("a | b & c << d + e"), shape("a | (b & (c << (d + e)))"));
        assert_eq!(shape("x if a else y if b else z"), shape("x if a else (y if b else z)"));
        assert_ne!(shape("(a + b) * c"), shape("a + b * c"));
    }

    #[test]
    fn what_is_not_known_is_an_error_with_its_line() {
        for source in [
            "x = 1\nwhile x:\n    pass",
            "x = lambda: 1",
            "x = (1",
            "x = 'open",
            "x = 1 2",
            "def f(:\n    pass",
            "    x = 1\n  y = 2",
            "x = $",
            "import os as",
        ] {
            assert!(parse(source).is_err(), "{source}");
        }
        let deep = format!("x = {}1{}", "(".repeat(5000), ")".repeat(5000));
        assert!(parse(&deep).unwrap_err().message.contains("nested too deep"));
        let chain = format!("x = a{}", ".b".repeat(5000));
        assert!(parse(&chain).is_err());
        assert!(parse(&format!("x = a{}", " + a".repeat(5000))).is_err());
        let error = parse("a = 1\nwith a:\n    pass").unwrap_err();
        assert!(error.message.starts_with("line 2"), "{error:?}");
    }
}
