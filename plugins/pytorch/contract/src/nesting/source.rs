//! A source as libtorch's lexer sees it, and the nesting that its parser would follow by recursion.

use super::chain::Definitions;
use super::{MAX_BLANK, MAX_BLOCKS, MAX_EXPRESSION};

/// Words that combine expressions.
const OPERATORS: [&[u8]; 9] = [b"and", b"or", b"not", b"if", b"else", b"in", b"is", b"lambda", b"for"];

/// What may be called in a value that is computed while the source is compiled.
const CONSTANT_CALLS: [&str; 2] = ["annotate", "torch.device"];

/// Reads the source with this name in the archive, and adds its definitions.
///
/// # Errors
/// A message for excessive nesting, or a value computed while the source is compiled.
pub(super) fn read(name: &str, bytes: &[u8], definitions: &mut Definitions) -> Result<(), String> {
    let module = name.strip_prefix("code/").unwrap_or(name);
    let module = module.strip_suffix(".py").unwrap_or(module).replace('/', ".");
    let reader = Reader {
        name,
        module,
        bytes,
        at: 0,
        levels: vec![Level::default()],
        blocks: Vec::new(),
        elifs: 0,
        class: None,
        function: None,
        default: Default::None,
        last: Token::Line,
        dotted: String::new(),
        definitions,
    };
    reader.run()
}

#[derive(Clone, Copy, Default)]
struct Level {
    /// Operators so far in the current list element or expression.
    chain: usize,
    /// The depth of its content.
    deepest: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Line,
    Word,
    Text,
    Open,
    Close,
    Other,
}

/// Whether the current values are computed by libtorch during compilation: default values and constants of classes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Default {
    None,
    /// In the head of a function whose arguments are at this bracket level.
    Head(usize),
    /// In a default value there.
    Value(usize),
    /// In a statement of a class.
    Statement,
    /// In the value of such a statement.
    Constant,
}

struct Reader<'a> {
    name: &'a str,
    module: String,
    bytes: &'a [u8],
    at: usize,
    levels: Vec<Level>,
    /// Indentation, and the number of open `elif` in it.
    blocks: Vec<(usize, usize)>,
    elifs: usize,
    /// The current class, with its indentation.
    class: Option<(usize, String)>,
    /// The current function or method, with its indentation.
    function: Option<(usize, String)>,
    default: Default,
    last: Token,
    /// Names joined by dots.
    dotted: String,
    definitions: &'a mut Definitions,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Reader<'_> {
    fn run(mut self) -> Result<(), String> {
        let mut blank = 0;
        let mut indentation = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {
                    indentation += 1;
                    self.at += 1;
                    continue;
                }
                b'\n' => {
                    self.at += 1;
                    indentation = 0;
                    blank += 1;
                    if self.levels.len() == 1 {
                        self.end_line();
                    }
                }
                b'\\' if self.bytes.get(self.at + 1) == Some(&b'\n') => {
                    self.at += 2;
                    blank += 1;
                }
                b'#' if !self.is_type_comment() => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                    blank += 1;
                }
                _ => {
                    blank = 0;
                    if self.last == Token::Line {
                        self.begin_line(indentation)?;
                    }
                    self.token(byte)?;
                }
            }
            if blank > MAX_BLANK {
                return Err(format!("`{}` has more than {MAX_BLANK} consecutive empty lines", self.name));
            }
        }
        self.end_line();
        Ok(())
    }

    /// Type comments are code.
    fn is_type_comment(&self) -> bool {
        let rest = &self.bytes[self.at + 1..];
        rest.trim_ascii_start().starts_with(b"type:")
    }

    fn end_line(&mut self) {
        self.end_name();
        self.levels[0] = Level::default();
        self.last = Token::Line;
        self.default = Default::None;
    }

    fn begin_line(&mut self, indentation: usize) -> Result<(), String> {
        while let Some((open, elifs)) = self.blocks.last().copied()
            && open > indentation
        {
            self.elifs -= elifs;
            self.blocks.pop();
        }
        if self.blocks.last().is_none_or(|(open, _)| *open < indentation) {
            self.blocks.push((indentation, 0));
        }
        let word = self.word_at(self.at);
        if let Some((_, elifs)) = self.blocks.last_mut() {
            if word == b"elif" {
                *elifs += 1;
                self.elifs += 1;
            } else if word != b"else" {
                self.elifs -= *elifs;
                *elifs = 0;
            }
        }
        if self.blocks.len() + self.elifs > MAX_BLOCKS {
            return Err(format!("`{}` nests blocks more than {MAX_BLOCKS} deep", self.name));
        }
        self.begin_definition(word, indentation);
        Ok(())
    }

    fn word_at(&self, at: usize) -> &'static [u8] {
        // Only a few words matter.
        let rest = &self.bytes[at..];
        let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        [b"elif".as_slice(), b"else", b"def", b"class"]
            .into_iter()
            .find(|word| *word == &rest[..length])
            .unwrap_or_default()
    }

    /// Which function or class a line belongs to.
    fn begin_definition(&mut self, word: &[u8], indentation: usize) {
        if self.class.as_ref().is_some_and(|(own, _)| indentation <= *own) {
            self.class = None;
        }
        if self.function.as_ref().is_some_and(|(own, _)| indentation <= *own) {
            self.function = None;
        }
        let is_head = word == b"def" || word == b"class";
        if is_head {
            let start = self.at + word.len();
            let rest = &self.bytes[start.min(self.bytes.len())..];
            let rest = rest.trim_ascii_start();
            let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
            let name = String::from_utf8_lossy(&rest[..length]).into_owned();
            // Nested functions are compiled with the enclosing one.
            if word == b"class" && self.class.is_none() && self.function.is_none() {
                let name = format!("{}.{name}", self.module);
                self.definitions.entry(&name);
                self.class = Some((indentation, name));
            } else if word == b"def" && self.function.is_none() {
                if let Some((_, class)) = &self.class {
                    self.definitions.entry(class).methods.entry(name.clone()).or_default();
                }
                let name = if self.class.is_some() { name } else { format!("{}.{name}", self.module) };
                if self.class.is_none() {
                    self.definitions.entry(&name);
                }
                self.function = Some((indentation, name));
            }
        }
        self.default = match word {
            b"def" => Default::Head(2),
            _ if self.class.is_some() && self.function.is_none() && !is_head => Default::Statement,
            _ => Default::None,
        };
    }

    fn token(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'"' | b'\'' => self.text(byte)?,
            b'(' | b'[' | b'{' => self.open(byte)?,
            b')' | b']' | b'}' => self.close()?,
            b',' => {
                self.end_name();
                if let Some(level) = self.levels.last_mut() {
                    *level = Level::default();
                }
                if self.default == Default::Value(self.levels.len()) {
                    self.default = Default::Head(self.levels.len());
                }
                self.at += 1;
                self.last = Token::Other;
            }
            _ if is_word(byte) => self.word()?,
            _ => self.operator(byte)?,
        }
        Ok(())
    }

    fn text(&mut self, quote: u8) -> Result<(), String> {
        self.end_name();
        let rest = &self.bytes[self.at..];
        let length = if rest.starts_with(&[quote; 3]) { 3 } else { 1 };
        let mut end = length;
        let is_closed = loop {
            match rest.get(end) {
                None => break false,
                Some(b'\n') if length == 1 => break false,
                Some(b'\\') => end += 2,
                Some(_) if rest[end..].starts_with(&[quote; 3][..length]) => break true,
                Some(_) => end += 1,
            }
        };
        // libtorch reports unclosed brackets as errors.
        self.at += if is_closed { end + length } else { 1 };
        self.last = Token::Text;
        self.deeper()
    }

    fn open(&mut self, byte: u8) -> Result<(), String> {
        let follows = matches!(self.last, Token::Word | Token::Text | Token::Close);
        if byte == b'(' && follows && self.is_constant() {
            let called = std::mem::take(&mut self.dotted);
            if !CONSTANT_CALLS.contains(&called.as_str()) {
                return Err(self.computed());
            }
        }
        self.end_name();
        self.deeper()?;
        self.levels.push(Level::default());
        if self.levels.len() > MAX_EXPRESSION {
            return Err(self.too_deep());
        }
        self.at += 1;
        self.last = Token::Open;
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.end_name();
        if matches!(self.default, Default::Value(level) if level == self.levels.len()) {
            self.default = Default::Head(self.levels.len());
        }
        if self.levels.len() > 1
            && let Some(inner) = self.levels.pop()
            && let Some(level) = self.levels.last_mut()
        {
            level.deepest = level.deepest.max(inner.chain + inner.deepest + 1);
        }
        if self.levels.len() == 1 && matches!(self.default, Default::Head(_)) {
            self.default = Default::None;
        }
        self.at += 1;
        self.last = Token::Close;
        self.check()
    }

    fn word(&mut self) -> Result<(), String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        let word = &rest[..length];
        self.at += length;
        if OPERATORS.contains(&word) {
            if self.is_constant() {
                return Err(self.computed());
            }
            self.end_name();
            self.last = Token::Other;
            return self.deeper();
        }
        if !self.dotted.ends_with('.') {
            self.end_name();
        }
        self.dotted.push_str(&String::from_utf8_lossy(word));
        self.last = Token::Word;
        Ok(())
    }

    fn operator(&mut self, byte: u8) -> Result<(), String> {
        self.at += 1;
        if byte == b'.' {
            if self.last == Token::Word {
                self.dotted.push('.');
            } else {
                self.end_name();
                self.dotted.push('.');
            }
            self.last = Token::Other;
            return self.deeper();
        }
        self.end_name();
        let next = self.bytes.get(self.at).copied();
        if self.is_constant() && !matches!(byte, b'-' | b':') {
            return Err(self.computed());
        }
        if byte == b'=' && next != Some(b'=') {
            match self.default {
                Default::Head(level) if level == self.levels.len() => self.default = Default::Value(level),
                Default::Statement if self.levels.len() == 1 => self.default = Default::Constant,
                _ => {}
            }
        }
        self.last = Token::Other;
        if matches!(byte, b':' | b';') { Ok(()) } else { self.deeper() }
    }

    fn is_constant(&self) -> bool {
        matches!(self.default, Default::Value(_) | Default::Constant)
    }

    /// The end of names joined by dots.
    fn end_name(&mut self) {
        let dotted = std::mem::take(&mut self.dotted);
        if dotted.is_empty() {
            return;
        }
        let owner = match (&self.class, &self.function) {
            (Some((_, class)), _) => class,
            (None, Some((_, function))) => function,
            (None, None) => return,
        };
        let definition = self.definitions.entry(owner);
        if dotted.starts_with("__torch__.") {
            definition.reads.insert(dotted);
        } else if let (Some(_), Some((_, method))) = (&self.class, &self.function) {
            let attributes = dotted.split('.').skip(1).filter(|name| !name.is_empty()).map(str::to_owned);
            definition.methods.entry(method.clone()).or_default().extend(attributes);
        }
    }

    /// One more operator in this expression.
    fn deeper(&mut self) -> Result<(), String> {
        if let Some(level) = self.levels.last_mut() {
            level.chain += 1;
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let is_deep = self.levels.last().is_some_and(|level| level.chain + level.deepest > MAX_EXPRESSION);
        if is_deep { Err(self.too_deep()) } else { Ok(()) }
    }

    fn too_deep(&self) -> String {
        format!("`{}` nests an expression more than {MAX_EXPRESSION} deep", self.name)
    }

    fn computed(&self) -> String {
        format!("`{}` computes a value during loading where only a constant is allowed", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_BLOCKS, MAX_CHAIN, MAX_EXPRESSION, Sources};

    fn check(code: &str) -> Result<(), String> {
        let mut sources = Sources::default();
        sources.read("code/__torch__.py", code.as_bytes())?;
        sources.finish()
    }

    fn body(line: &str) -> String {
        format!(
            "class M(Module):\n  x : int\n  def forward(s: __torch__.M,\n    x: Tensor) -> Tensor:\n    {line}\n    return x\n"
        )
    }

    #[test]
    fn every_way_to_nest_an_expression_has_a_limit() {
        let ways: [(&str, &dyn Fn(usize) -> String); 12] = [
            ("lists", &|depth| format!("y = {}1{}", "[".repeat(depth), "]".repeat(depth))),
            ("parentheses", &|depth| format!("y = {}x{}", "(".repeat(depth), ")".repeat(depth))),
            ("minus", &|depth| format!("y = {}1", "-".repeat(depth))),
            ("not", &|depth| format!("y = {}True", "not ".repeat(depth))),
            ("sums", &|depth| format!("y = 1{}", " + 1".repeat(depth))),
            ("powers", &|depth| format!("y = 1{}", "**1".repeat(depth))),
            ("and", &|depth| format!("y = True{}", " and True".repeat(depth))),
            ("choices", &|depth| format!("y = {}1", "1 if True else ".repeat(depth))),
            ("attributes", &|depth| format!("y = x{}", ".T".repeat(depth))),
            ("subscripts", &|depth| format!("y = x{}", "[0]".repeat(depth))),
            ("calls", &|depth| format!("y = {}x{}", "torch.neg(".repeat(depth), ")".repeat(depth))),
            ("types", &|depth| format!("y : {}int{} = x", "List[".repeat(depth), "]".repeat(depth))),
        ];
        for (name, way) in ways {
            check(&body(&way(10))).unwrap_or_else(|error| panic!("{name}: {error}"));
            for depth in [MAX_EXPRESSION + 1, 10_000, 1_000_000] {
                let error = check(&body(&way(depth))).expect_err(name);
                assert!(error.contains("nests an expression"), "{name}: {error}");
            }
        }
        // Any number of them side by side is fine.
        check(&body(&format!("y = [{}]", "torch.add(x, -1), ".repeat(100_000)))).unwrap();
        check(&body(&"x = torch.add(x, 1)\n    ".repeat(100_000))).unwrap();
    }

    #[test]
    fn comments_texts_and_continued_lines_hide_nothing() {
        let deep = "(".repeat(10_000);
        assert!(check(&body(&format!("y = \\\n{deep}"))).is_err());
        assert!(check(&body(&format!("y = x # type: {deep}"))).is_err());
        assert!(check(&body(&format!("y = \"a\\\"\" + {deep}"))).is_err());
        check(&body(&format!("y = \"{deep}\" # {deep}"))).unwrap();
        check(&body(&format!("y = '''\n{deep}\n'''"))).unwrap();
        assert!(check(&body(&"\n".repeat(1_000_000))).unwrap_err().contains("empty lines"));
    }

    #[test]
    fn blocks_have_a_limit() {
        let nested = |depth: usize| -> String {
            (0..depth).map(|level| format!("{}if True:\n", " ".repeat(level + 4))).collect::<String>()
        };
        check(&body(&nested(20))).unwrap();
        assert!(check(&body(&nested(MAX_BLOCKS + 1))).unwrap_err().contains("nests blocks"));
        let elifs =
            "if a:\n      y = 1\n    ".to_owned() + &"elif b:\n      y = 2\n    ".repeat(MAX_BLOCKS + 1);
        assert!(check(&body(&elifs)).unwrap_err().contains("nests blocks"));
        check(&body(&"if a:\n      y = 1\n    elif b:\n      y = 2\n    ".repeat(10_000))).unwrap();
    }

    #[test]
    fn functions_and_methods_in_a_row_have_a_limit() {
        let functions = |count: usize| -> String {
            (0..count)
                .map(|index| {
                    format!("def f{index}(x: Tensor) -> Tensor:\n  return __torch__.f{}(x)\n", index + 1)
                })
                .collect()
        };
        check(&functions(MAX_CHAIN)).unwrap();
        for count in [MAX_CHAIN + 1, 100_000] {
            assert!(check(&functions(count)).unwrap_err().contains("need each other"));
        }
        let methods: String = (0..1000)
            .map(|index| {
                format!("  def f{index}(self, x: Tensor) -> Tensor:\n    return self.f{}(x)\n", index + 1)
            })
            .collect();
        assert!(check(&format!("class M(Module):\n{methods}")).unwrap_err().contains("need each other"));
        let classes: String = (0..1000)
            .map(|index| format!("class C{index}(Module):\n  inner : __torch__.C{}\n", index + 1))
            .collect();
        assert!(check(&classes).unwrap_err().contains("need each other"));
    }

    #[test]
    fn default_values_and_constants_of_classes_are_computed_by_nobody() {
        let head =
            |value: &str| format!("def f(x: Tensor, y: int={value}, z: int=1) -> Tensor:\n  return x\n");
        for fine in
            ["1", "-1", "[1, 2]", "None", "annotate(List[int], [])", "torch.device(\"cpu\")", "(1, (2, 3))"]
        {
            check(&head(fine)).unwrap_or_else(|error| panic!("{fine}: {error}"));
        }
        let constant = |value: &str| {
            format!("class M(Module):\n  y : Final[int] = {value}\n  def f(self):\n    return 1\n")
        };
        check(&constant("3")).unwrap();
        for computed in
            ["torch.save(1, \"f\")", "1 // 0", "[0] * 1000", "[a for a in b]", "1 if f(1) else 2", "(f)(1)"]
        {
            for code in [head(computed), constant(computed)] {
                assert!(check(&code).unwrap_err().contains("computes a value"), "{code}");
            }
        }
    }
}
