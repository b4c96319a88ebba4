//! Statements within `if … end` and `for … end`.
//!
//! - `if EXPR`, any number of `else if EXPR`, perhaps `else`, then `end`: the first body whose expression is true.
//! - `for NAME in WORD…`, then `end`: the body, once for each word, which `$NAME` stands for.
//!
//! Each of these is a statement of its own, and these words are special only unquoted, in place of a command.

use super::token::{Part, Problem, Statement, Word, is_name, parse};
use std::ops::Range;

/// The keywords of blocks, and the syntax of each.
pub const KEYWORDS: [(&str, &str); 4] = [
    ("if", "if EXPR … else if EXPR … else … end"),
    ("else", "if EXPR … else … end"),
    ("for", "for NAME in WORD… … end"),
    ("end", "if EXPR … end` or `for NAME in WORD… … end"),
];

/// Deeper nesting is refused: blocks are executed and checked recursively.
const MAX_DEPTH: usize = 32;

/// A statement or a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// One command.
    Statement(Statement),
    /// `if … end`
    If(If),
    /// `for … end`
    For(For),
}

/// `if … end`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct If {
    /// The conditions, in order, each with what is executed if it is the first that holds.
    pub branches: Vec<(Statement, Vec<Node>)>,
    /// What is executed if none holds.
    pub otherwise: Vec<Node>,
    /// From `if` to the end of `end`.
    pub span: Range<usize>,
}

/// `for … end`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct For {
    /// The statement that begins it.
    pub header: Statement,
    /// The name of the variable.
    pub variable: String,
    /// What is executed in each round.
    pub body: Vec<Node>,
    /// From `for` to the end of `end`.
    pub span: Range<usize>,
}

impl For {
    /// The words it loops over.
    pub fn words(&self) -> &[Word] {
        self.header.words.get(3..).unwrap_or_default()
    }
}

/// The statements of a text, and its blocks.
///
/// # Errors
/// All problems, in order.
pub fn blocks(text: &str) -> Result<Vec<Node>, Vec<Problem>> {
    let mut builder = Builder::default();
    for statement in parse(text)? {
        builder.statement(statement);
    }
    builder.finish()
}

/// Whether the text ends within a block or a quote, or after a backslash, so that the next line belongs to it.
pub fn is_incomplete(text: &str) -> bool {
    super::token::is_incomplete(text)
        || blocks(text).is_err_and(|problems| problems.iter().all(|problem| problem.is_incomplete))
}

/// The lines of a text as a prompt would take them one after another: each with all that belongs to it, as to a block.
/// Empty ones are left out.
pub fn separate_lines(text: &str) -> Vec<&str> {
    let (mut lines, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        let whole = text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r']);
        if !is_incomplete(whole) {
            lines.push(whole);
            start = end;
        }
    }
    lines.push(text.get(start..).unwrap_or_default().trim_end_matches(['\n', '\r']));
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// The syntax of the block that a keyword belongs to; `None` for other words.
pub fn usage(word: &str) -> Option<&'static str> {
    KEYWORDS.iter().find(|(keyword, _)| *keyword == word).map(|(_, usage)| *usage)
}

/// A block that has begun.
struct Open {
    /// The statement that began it.
    first: Statement,
    kind: Kind,
}

enum Kind {
    If {
        /// The branches before the one that is being read.
        branches: Vec<(Statement, Vec<Node>)>,
        /// The condition of the one that is being read; `None` after `else`.
        condition: Option<Statement>,
    },
    For {
        variable: String,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// What was read so far of each open block's body; the first is the text's own.
    bodies: Vec<Vec<Node>>,
    top: Vec<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    fn statement(&mut self, statement: Statement) {
        if let (Some(program), Some(_)) = (&statement.program, keyword(statement.words.first())) {
            self.problem("only the result of a command goes to a program", program.clone());
        }
        match keyword(statement.words.first()) {
            Some("if") => {
                self.require(statement.words.len() > 1, &statement, "`if` needs an expression");
                let kind = Kind::If { branches: Vec::new(), condition: Some(statement.clone()) };
                self.begin(statement, kind);
            }
            Some("for") => {
                let variable = self.variable(&statement);
                self.begin(statement, Kind::For { variable });
            }
            Some("else") => self.otherwise(statement),
            Some("end") => self.end(&statement),
            _ => self.add(Node::Statement(statement)),
        }
    }

    fn require(&mut self, is_right: bool, statement: &Statement, message: &'static str) {
        if !is_right {
            self.problem(message, statement.span.clone());
        }
    }

    fn problem(&mut self, message: &'static str, span: Range<usize>) {
        self.problems.push(Problem { message, span, is_incomplete: false });
    }

    fn begin(&mut self, first: Statement, kind: Kind) {
        if self.open.len() == MAX_DEPTH {
            self.problem("blocks are nested more than 32 deep", first.span.clone());
        }
        self.open.push(Open { first, kind });
        self.bodies.push(Vec::new());
    }

    fn variable(&mut self, statement: &Statement) -> String {
        let name = plain(statement.words.get(1)).unwrap_or_default();
        let is_in = plain(statement.words.get(2)) == Some("in");
        if !is_in || statement.words.len() < 4 {
            self.problem("`for` is written `for NAME in WORD…`", statement.span.clone());
        } else if !is_name(name) {
            self.problem(
                "a variable's name has letters, digits and `_`, no digit first",
                statement.words[1].span.clone(),
            );
        }
        name.to_owned()
    }

    fn otherwise(&mut self, statement: Statement) {
        let body = self.bodies.last_mut().map(std::mem::take).unwrap_or_default();
        let Some(Open { kind: Kind::If { branches, condition }, .. }) = self.open.last_mut() else {
            return self.problem("`else` without `if`", statement.span);
        };
        let Some(before) = condition.take() else {
            return self.problem("`else` after `else`", statement.span);
        };
        branches.push((before, body));
        if keyword(statement.words.get(1)) == Some("if") {
            let mut words = statement.words;
            words.remove(0);
            let inner = Statement { span: words[0].span.start..statement.span.end, words, program: None };
            self.require(inner.words.len() > 1, &inner, "`if` needs an expression");
            if let Some(Open { kind: Kind::If { condition, .. }, .. }) = self.open.last_mut() {
                *condition = Some(inner);
            }
        } else {
            self.require(statement.words.len() == 1, &statement, "`else` takes no words, except `if`");
        }
    }

    fn end(&mut self, statement: &Statement) {
        self.require(statement.words.len() == 1, statement, "`end` takes no words");
        let (Some(Open { first, kind }), Some(body)) = (self.open.pop(), self.bodies.pop()) else {
            return self.problem("`end` without `if` or `for`", statement.span.clone());
        };
        // A tree nested too deeply would overflow the stack when dropped, too.
        if self.open.len() >= MAX_DEPTH {
            return;
        }
        let span = first.span.start..statement.span.end;
        self.add(match kind {
            Kind::If { mut branches, condition } => {
                let otherwise = match condition {
                    Some(condition) => {
                        branches.push((condition, body));
                        Vec::new()
                    }
                    None => body,
                };
                Node::If(If { branches, otherwise, span })
            }
            Kind::For { variable } => Node::For(For { header: first, variable, body, span }),
        });
    }

    fn add(&mut self, node: Node) {
        self.bodies.last_mut().unwrap_or(&mut self.top).push(node);
    }

    fn finish(mut self) -> Result<Vec<Node>, Vec<Problem>> {
        for open in &self.open {
            let message = "no `end` for this block";
            self.problems.push(Problem { message, span: open.first.span.clone(), is_incomplete: true });
        }
        self.problems.sort_by_key(|problem| problem.span.start);
        if self.problems.is_empty() { Ok(self.top) } else { Err(self.problems) }
    }
}

/// The word as a keyword, if it is unquoted.
fn keyword(word: Option<&Word>) -> Option<&'static str> {
    let text = plain(word)?;
    KEYWORDS.iter().map(|(keyword, _)| *keyword).find(|keyword| *keyword == text)
}

/// The text of a word without quotes and variables.
fn plain(word: Option<&Word>) -> Option<&str> {
    match word?.parts.as_slice() {
        [Part::Literal(text)] if text.len() == word?.span.len() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree in brackets: conditions, variables and commands by their texts.
    fn shape(text: &str, nodes: &[Node]) -> String {
        let of = |span: &Range<usize>| text[span.clone()].to_owned();
        let one = |node: &Node| match node {
            Node::Statement(statement) => of(&statement.span),
            Node::For(block) => {
                format!("[{}: {}: {}]", block.variable, block.words().len(), shape(text, &block.body))
            }
            Node::If(block) => {
                let branches = block
                    .branches
                    .iter()
                    .map(|(condition, body)| format!("{} -> {}", of(&condition.span), shape(text, body)));
                format!("[{} | {}]", branches.collect::<Vec<_>>().join(" | "), shape(text, &block.otherwise))
            }
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn tree(text: &str) -> String {
        shape(text, &blocks(text).unwrap())
    }

    fn problems(text: &str) -> Vec<(&'static str, &str)> {
        blocks(text)
            .unwrap_err()
            .iter()
            .map(|problem| (problem.message, &text[problem.span.clone()]))
            .collect()
    }

    #[test]
    fn blocks_nest_and_end_where_they_say() {
        assert_eq!(
            tree("a; for m in x 'y z'\n if m == 1; b; else; c; end; end\nd"),
            "a, [m: 2: [if m == 1 -> b | c]], d"
        );
        assert_eq!(
            tree("if a; b; else if c; d; else if e; else; f; g; end"),
            "[if a -> b | if c -> d | if e ->  | f, g]"
        );
    }

    #[test]
    fn the_words_are_special_only_where_a_command_could_stand() {
        assert_eq!(tree("echo if end; 'end'; \\for x"), "echo if end, 'end', \\for x");
    }

    #[test]
    fn what_is_wrong_with_a_block_has_its_place() {
        assert_eq!(problems("a; end"), [("`end` without `if` or `for`", "end")]);
        assert_eq!(problems("else"), [("`else` without `if`", "else")]);
        assert_eq!(problems("for m in a; else; end"), [("`else` without `if`", "else")]);
        assert_eq!(problems("if a; else; else; end"), [("`else` after `else`", "else")]);
        assert_eq!(problems("if a; b; else c; end"), [("`else` takes no words, except `if`", "else c")]);
        assert_eq!(
            problems("if; end x"),
            [("`if` needs an expression", "if"), ("`end` takes no words", "end x")]
        );
        assert_eq!(problems("for m a b; end"), [("`for` is written `for NAME in WORD…`", "for m a b")]);
        assert_eq!(problems("for m in; end"), [("`for` is written `for NAME in WORD…`", "for m in")]);
        assert_eq!(problems("for 1 in a; end")[0].1, "1");
        assert_eq!(
            problems("if a; for m in b"),
            [("no `end` for this block", "if a"), ("no `end` for this block", "for m in b")]
        );
    }

    #[test]
    fn a_block_goes_on_until_it_ends_or_can_no_longer_be_right() {
        assert!(is_incomplete("if a\nb") && is_incomplete("for m in x; echo 'y"));
        assert!(!is_incomplete("if a; end") && !is_incomplete("for m a") && !is_incomplete("end; if a"));
    }

    #[test]
    fn lines_are_separate_unless_they_belong_together() {
        assert_eq!(
            separate_lines("a\n\nfor m in x\n b\nend\r\n c 'd\ne'\nif f\n"),
            ["a", "for m in x\n b\nend", " c 'd\ne'", "if f"]
        );
        assert_eq!(separate_lines("\n \n"), [""; 0]);
        assert_eq!(separate_lines("end\na"), ["end", "a"]);
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "if a; ".repeat(depth), "end; ".repeat(depth));
        assert!(blocks(&nested(32)).is_ok());
        assert_eq!(problems(&nested(33)).len(), 1);
        assert!(blocks(&nested(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn spans_are_within_the_text(text in "((if|for m in|else|end|a|'|\\$x|\\*)( |;|\n)?){0,40}") {
            match blocks(&text) {
                Ok(nodes) => { let _ = shape(&text, &nodes); }
                Err(problems) => for problem in problems { prop_assert!(text.get(problem.span).is_some()); },
            }
        }
    }
}
