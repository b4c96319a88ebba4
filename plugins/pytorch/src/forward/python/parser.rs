//! From tokens to statements.

use super::lexer::{Kind, Token, tokens};
use super::syntax::{Argument, Binary, Class, Expression, Function, Parameter, Statement, Unary};
use qp_abi::sdk::{BackendError, Result};

/// Expressions within expressions: a bound for the stack.
const MAX_DEPTH: u32 = 100;
/// Operators in a row: each is one level of the tree.
const MAX_CHAIN: u32 = 200;

/// The statements of `source`.
///
/// # Errors
/// `UnsupportedOp` with the line, for what is not of the part of Python that is known here.
pub fn parse(source: &str) -> Result<Vec<Statement>> {
    let said = |(line, what): (usize, String)| {
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        let shown: String = text.chars().take(100).collect();
        BackendError::unsupported_op(format!("line {line} of the code cannot be followed: {what}"))
            .with_cause(format!("`{shown}`"))
    };
    let tokens = tokens(source).map_err(said)?;
    let mut parser = Parser { tokens: &tokens, depth: 0, line: 1 };
    let mut statements = Vec::new();
    while !parser.tokens.is_empty() {
        parser.statement(&mut statements).map_err(said)?;
    }
    Ok(statements)
}

type Parsed<T> = std::result::Result<T, (usize, String)>;

struct Parser<'a> {
    tokens: &'a [Token],
    depth: u32,
    line: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.first().map(|token| &token.kind)
    }

    fn advance(&mut self) {
        if let Some((first, rest)) = self.tokens.split_first() {
            self.line = first.line;
            self.tokens = rest;
        }
    }

    fn wrong<T>(&self, what: impl Into<String>) -> Parsed<T> {
        Err((self.tokens.first().map_or(self.line, |token| token.line), what.into()))
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Kind::Symbol(found)) if *found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Name(found)) if found == word)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.eat(symbol) { Ok(()) } else { self.wrong(format!("`{symbol}` is missing")) }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Kind::Name(name)) => {
                let name = name.clone();
                self.advance();
                Ok(name)
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
            Some(Kind::Name(word)) => match word.as_str() {
                "def" => return self.function().map(|function| into.push(Statement::Function(function))),
                "class" => return self.class().map(|class| into.push(Statement::Class(class))),
                "if" => return self.condition().map(|condition| into.push(condition)),
                "for" => return self.repetition().map(|repetition| into.push(repetition)),
                "while" | "with" | "try" | "async" | "lambda" | "global" | "nonlocal" | "del" | "yield"
                | "await" | "assert" => {
                    let word = word.clone();
                    return self.wrong(format!("`{word}` is not known here"));
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
    fn loop_names(&mut self) -> Parsed<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.eat(",") {
            names.push(self.name()?);
        }
        if self.eat_word("in") { Ok(names) } else { self.wrong("`in` is missing") }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.wrong("the code is nested too deep");
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// One expression, or a tuple without parentheses.
    fn sequence(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut elements = vec![first];
        while self.eat(",") {
            let is_end = matches!(self.peek(), None | Some(Kind::Newline))
                || [")", "]", "=", ";"].iter().any(|end| self.is(end));
            if is_end {
                break;
            }
            elements.push(self.expression()?);
        }
        Ok(Expression::Tuple(elements))
    }

    fn expression(&mut self) -> Parsed<Expression> {
        self.nested(|parser| {
            let value = parser.disjunction()?;
            if !parser.eat_word("if") {
                return Ok(value);
            }
            let condition = parser.disjunction()?;
            if !parser.eat_word("else") {
                return parser.wrong("`else` is missing");
            }
            let other = parser.expression()?;
            Ok(Expression::Conditional(Box::new([condition, value, other])))
        })
    }

    /// Counts an operator of a chain of `links`.
    fn link(&self, links: &mut u32) -> Parsed<()> {
        *links += 1;
        if *links > MAX_CHAIN { self.wrong("the expression is too long") } else { Ok(()) }
    }

    fn disjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.conjunction()?;
        let mut links = 0;
        while self.eat_word("or") {
            self.link(&mut links)?;
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Expression> {
        let mut left = self.negation()?;
        let mut links = 0;
        while self.eat_word("and") {
            self.link(&mut links)?;
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed<Expression> {
        if self.eat_word("not") {
            let operand = self.nested(Self::negation)?;
            return Ok(Expression::Unary(Unary::Not, Box::new(operand)));
        }
        let mut left = self.binary(0)?;
        let mut links = 0;
        while let Some(operator) = self.comparison() {
            self.link(&mut links)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(self.binary(0)?));
        }
        Ok(left)
    }

    /// A comparison, which is passed.
    fn comparison(&mut self) -> Option<Binary> {
        let operator = match self.peek()? {
            Kind::Symbol("==") => Binary::Equal,
            Kind::Symbol("!=") => Binary::NotEqual,
            Kind::Symbol("<=") => Binary::LessEqual,
            Kind::Symbol(">=") => Binary::GreaterEqual,
            Kind::Symbol("<") => Binary::Less,
            Kind::Symbol(">") => Binary::Greater,
            Kind::Name(word) if word == "is" => Binary::Is,
            Kind::Name(word) if word == "in" => Binary::In,
            Kind::Name(word) if word == "not" => Binary::NotIn,
            _ => return None,
        };
        self.advance();
        if operator == Binary::NotIn {
            self.eat_word("in");
        }
        Some(if operator == Binary::Is && self.eat_word("not") { Binary::IsNot } else { operator })
    }

    /// Operators of the level `level` and those that bind closer.
    fn binary(&mut self, level: usize) -> Parsed<Expression> {
        const LEVELS: [&[(&str, Binary)]; 6] = [
            &[("|", Binary::BitOr)],
            &[("^", Binary::BitXor)],
            &[("&", Binary::BitAnd)],
            &[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)],
            &[("+", Binary::Add), ("-", Binary::Subtract)],
            &[
                ("*", Binary::Multiply),
                ("/", Binary::Divide),
                ("//", Binary::FloorDivide),
                ("%", Binary::Remainder),
                ("@", Binary::MatrixMultiply),
            ],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut links = 0;
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.is(symbol)) {
            self.link(&mut links)?;
            self.advance();
            left = Expression::Binary(*operator, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let operator = match self.peek() {
            Some(Kind::Symbol("-")) => Unary::Negate,
            Some(Kind::Symbol("+")) => Unary::Plus,
            Some(Kind::Symbol("~")) => Unary::Invert,
            _ => return self.power(),
        };
        self.advance();
        let operand = self.nested(Self::unary)?;
        Ok(match (operator, operand) {
            (Unary::Negate, Expression::Int(number)) => Expression::Int(number.wrapping_neg()),
            (Unary::Negate, Expression::Float(number)) => Expression::Float(-number),
            (operator, operand) => Expression::Unary(operator, Box::new(operand)),
        })
    }

    fn power(&mut self) -> Parsed<Expression> {
        let base = self.postfix()?;
        if !self.eat("**") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        Ok(Expression::Binary(Binary::Power, Box::new(base), Box::new(exponent)))
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.primary()?;
        // A chain is as deep a tree as brackets within brackets are.
        for _ in 0..MAX_DEPTH {
            if self.eat(".") {
                value = Expression::Attribute(Box::new(value), self.name()?);
            } else if self.eat("(") {
                let arguments = self.arguments()?;
                value = Expression::Call(Box::new(value), arguments);
            } else if self.eat("[") {
                let index = self.index()?;
                self.expect("]")?;
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return Ok(value);
            }
        }
        self.wrong("the code is nested too deep")
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments = Vec::new();
        while !self.is(")") {
            if self.eat("*") {
                arguments.push(Argument::Spread(self.expression()?));
            } else {
                let value = self.expression()?;
                arguments.push(match value {
                    Expression::Name(name) if self.eat("=") => Argument::Keyword(name, self.expression()?),
                    value => Argument::Positional(value),
                });
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn index(&mut self) -> Parsed<Expression> {
        let mut elements = vec![self.slice()?];
        let mut is_tuple = false;
        while self.eat(",") {
            is_tuple = true;
            if self.is("]") {
                break;
            }
            elements.push(self.slice()?);
        }
        Ok(if is_tuple { Expression::Tuple(elements) } else { elements.remove(0) })
    }

    fn slice(&mut self) -> Parsed<Expression> {
        let mut parts = [const { None }; 3];
        let mut at = 0;
        loop {
            if !self.is(":") && !self.is("]") && !self.is(",") {
                parts[at] = Some(self.expression()?);
            }
            if at == 2 || !self.eat(":") {
                break;
            }
            at += 1;
        }
        if at > 0 {
            return Ok(Expression::Slice(Box::new(parts)));
        }
        let [first, ..] = parts;
        first.map_or_else(|| self.wrong("an index is missing"), Ok)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let Some(kind) = self.peek().cloned() else { return self.wrong("the code ends too early") };
        match kind {
            Kind::Name(name) => {
                const WORDS: [&str; 8] =
                    ["lambda", "else", "elif", "yield", "await", "def", "class", "return"];
                if WORDS.contains(&name.as_str()) {
                    return self.wrong(format!("`{name}` is not known here"));
                }
                self.advance();
                Ok(match name.as_str() {
                    "None" => Expression::None,
                    "True" => Expression::Bool(true),
                    "False" => Expression::Bool(false),
                    _ => Expression::Name(name),
                })
            }
            Kind::Int(number) => {
                self.advance();
                Ok(Expression::Int(number))
            }
            Kind::Float(number) => {
                self.advance();
                Ok(Expression::Float(number))
            }
            Kind::Text(text) => {
                self.advance();
                let mut whole = text;
                // Texts beside each other are one.
                while let Some(Kind::Text(more)) = self.peek() {
                    whole.push_str(&more.clone());
                    self.advance();
                }
                Ok(Expression::Text(whole))
            }
            Kind::Symbol("...") => {
                self.advance();
                Ok(Expression::Ellipsis)
            }
            Kind::Symbol("(") => {
                self.advance();
                if self.eat(")") {
                    return Ok(Expression::Tuple(Vec::new()));
                }
                let inner = self.sequence()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Symbol("[") => {
                self.advance();
                self.list()
            }
            Kind::Symbol("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.is("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                    if !self.eat(",") {
                        break;
                    }
                }
                self.expect("}")?;
                Ok(Expression::Dictionary(entries))
            }
            Kind::Symbol(symbol) => self.wrong(format!("`{symbol}` is not expected")),
            Kind::Newline | Kind::Indent | Kind::Dedent => self.wrong("the line ends too early"),
        }
    }

    fn list(&mut self) -> Parsed<Expression> {
        let mut elements = Vec::new();
        while !self.is("]") {
            elements.push(self.expression()?);
            if elements.len() == 1 && self.eat_word("for") {
                let names = self.loop_names()?;
                let values = Box::new(self.disjunction()?);
                let condition = if self.eat_word("if") { Some(Box::new(self.disjunction()?)) } else { None };
                self.expect("]")?;
                return Ok(Expression::Comprehension(Box::new(elements.remove(0)), names, values, condition));
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Expression::List(elements))
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
