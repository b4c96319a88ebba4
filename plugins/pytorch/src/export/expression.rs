//! Sizes that follow from others, as people write them: `Add(FloorDiv(Symbol('s0', …), Integer(2)), Integer(1))` is
//! `(s0//2 + 1)`.

/// Calls within calls.
const MAX_DEPTH: usize = 32;
/// Bytes of an expression that is read.
const MAX_TEXT: usize = 1 << 14;

/// How tight an expression is bound: sums, products, everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Sum,
    Product,
    Whole,
}

/// What `srepr` of SymPy has written, with operators between operands; `None` for another text.
pub fn infix(text: &str) -> Option<String> {
    let mut reader = Reader { rest: text, depth: 0 };
    let whole = if text.len() > MAX_TEXT { None } else { reader.expression() }?;
    reader.rest.is_empty().then(|| bound(&whole, Binding::Whole))
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What stands before the next of `ends`.
    fn until(&mut self, ends: &[char]) -> Option<&'a str> {
        let end = self.rest.find(ends)?;
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(found)
    }

    fn expression(&mut self) -> Option<(String, Binding)> {
        let name = self.until(&['(', ')', ','])?;
        if !self.takes("(") || self.depth >= MAX_DEPTH {
            return None;
        }
        match name {
            "Integer" => {
                let number = self.until(&[')'])?.parse::<i64>().ok()?;
                let binding = if number < 0 { Binding::Sum } else { Binding::Whole };
                return self.takes(")").then(|| (number.to_string(), binding));
            }
            "Symbol" => {
                let name = self.until(&[',', ')'])?.trim_matches('\'').to_owned();
                self.until(&[')'])?;
                return self.takes(")").then_some((name, Binding::Whole));
            }
            _ => {}
        }
        self.depth += 1;
        let mut parts = Vec::new();
        loop {
            parts.push(self.expression()?);
            if !self.takes(", ") {
                break;
            }
        }
        self.depth -= 1;
        if !self.takes(")") {
            return None;
        }
        Some(match (name, &parts[..]) {
            ("Add", [first, rest @ ..]) => {
                let mut sum = first.0.clone();
                for (part, _) in rest {
                    match part.strip_prefix('-') {
                        Some(positive) => sum.push_str(&format!(" - {positive}")),
                        None => sum.push_str(&format!(" + {part}")),
                    }
                }
                (sum, Binding::Sum)
            }
            ("Mul", parts) => {
                let parts: Vec<String> = parts.iter().map(|part| bound(part, Binding::Product)).collect();
                (parts.join("*"), Binding::Product)
            }
            ("FloorDiv", [size, by]) => {
                (format!("{}//{}", bound(size, Binding::Whole), bound(by, Binding::Whole)), Binding::Sum)
            }
            ("Pow", [size, power]) => (
                format!("{}**{}", bound(size, Binding::Whole), bound(power, Binding::Whole)),
                Binding::Product,
            ),
            (name, parts) => {
                let parts: Vec<&str> = parts.iter().map(|(part, _)| part.as_str()).collect();
                (format!("{name}({})", parts.join(", ")), Binding::Whole)
            }
        })
    }
}

/// An expression that is a part of one that binds more tightly.
fn bound((text, binding): &(String, Binding), least: Binding) -> String {
    if *binding < least { format!("({text})") } else { text.clone() }
}

#[cfg(test)]
mod tests {
    use super::infix;

    const HEIGHT: &str = "Symbol('s53', positive=True, integer=True)";

    #[test]
    fn sizes_are_shown_as_python_computes_them() {
        let halved = format!("Add(FloorDiv(Add({HEIGHT}, Integer(-1)), Integer(2)), Integer(1))");
        assert_eq!(infix(&halved).as_deref(), Some("((s53 - 1)//2 + 1)"));
        let area = format!("Mul(Integer(4), {halved}, {HEIGHT})");
        assert_eq!(infix(&area).as_deref(), Some("(4*((s53 - 1)//2 + 1)*s53)"));
        assert_eq!(infix(&format!("Max({HEIGHT}, Integer(1))")).as_deref(), Some("Max(s53, 1)"));
        let quotients = format!("Mul(FloorDiv({HEIGHT}, Integer(2)), FloorDiv({HEIGHT}, Integer(2)))");
        assert_eq!(infix(&quotients).as_deref(), Some("((s53//2)*(s53//2))"));
    }

    #[test]
    fn other_texts_are_none() {
        let deep = "Add(".repeat(100_000);
        for text in ["2*s0", "", "Add(", "Add()", "Integer(x)", "Integer(1))", &deep] {
            assert_eq!(infix(text), None, "{}", text.get(..8).unwrap_or(text));
        }
    }
}
