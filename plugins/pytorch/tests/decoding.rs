//! The decoder against CPython: `data/pickles.py` writes what `pickle.Unpickler` makes of many pickles.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use qp_plugin_pytorch::pickle::{Creation, Effect, Object, Pickle, Ref, Value, decode};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().as_chunks::<2>().0;
    digits.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The text of `described` in `data/pickles.py`.
struct Describer<'a> {
    pickle: &'a Pickle,
    seen: HashMap<Ref, usize>,
}

impl Describer<'_> {
    fn value(&mut self, at: Ref) -> String {
        match self.pickle.get(at) {
            Value::None => "None".to_owned(),
            Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
            Value::Int(number) => number.to_string(),
            Value::BigInt(bytes) => {
                // As few bytes as hold the number and its sign.
                let filler = if bytes.last().unwrap() & 0x80 == 0 { 0 } else { 0xff };
                let mut least = bytes.as_ref();
                while let [rest @ .., last] = least
                    && *last == filler
                    && rest.last().is_some_and(|byte| byte & 0x80 == filler & 0x80)
                {
                    least = rest;
                }
                format!("big:{}", hexadecimal(least))
            }
            Value::Float(number) => format!("f:{}", hexadecimal(&number.to_be_bytes())),
            Value::Text(text) => format!("s:{}", hexadecimal(text.as_bytes())),
            Value::Bytes(bytes) => format!("b:{}", hexadecimal(bytes)),
            Value::Global(global) => format!("g:{}.{}", global.module, global.name),
            Value::Extension(code) => format!("e:{code}"),
            Value::Persistent(id) => format!("p({})", self.value(*id)),
            Value::Tuple(elements) => format!("({})", self.all(elements).join(",")),
            Value::FrozenSet(elements) => format!("frozen{{{}}}", self.unique(elements)),
            Value::Buffer => "buffer".to_owned(),
            Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Object(_) => self.numbered(at),
        }
    }

    fn numbered(&mut self, at: Ref) -> String {
        let next = self.seen.len();
        if let Some(number) = self.seen.get(&at) {
            return format!("#{number}");
        }
        self.seen.insert(at, next);
        let text = match self.pickle.get(at) {
            Value::List(elements) => format!("[{}]", self.all(elements).join(",")),
            Value::Set(elements) => format!("set{{{}}}", self.unique(elements)),
            Value::Dict(entries) => {
                let mut rows: Vec<(String, Ref)> = Vec::new();
                for &(key, value) in entries {
                    let key = self.value(key);
                    match rows.iter_mut().find(|row| row.0 == key) {
                        Some(row) => row.1 = value,
                        None => rows.push((key, value)),
                    }
                }
                let rows: Vec<String> =
                    rows.into_iter().map(|(key, value)| format!("{key}:{}", self.value(value))).collect();
                format!("{{{}}}", rows.join(","))
            }
            Value::Object(object) => self.object(&object.clone(), at),
            _ => panic!("it has no number"),
        };
        format!("#{next}{text}")
    }

    fn object(&mut self, object: &Object, at: Ref) -> String {
        let kind = if object.creation == Creation::Call { "call" } else { "new" };
        let mut parts = vec![self.value(object.callable), self.value(object.arguments)];
        if let Some(Value::Dict(entries)) = object.keywords.map(|keywords| self.pickle.get(keywords)) {
            for &(key, value) in entries {
                parts.extend([self.value(key), self.value(value)]);
            }
        }
        if let Some(state) = object.state {
            let is_recorded = self
                .pickle
                .changes()
                .iter()
                .any(|change| change.target == at && change.effect == Effect::State(state));
            assert!(is_recorded);
            parts.extend(["state".to_owned(), self.value(state)]);
        }
        parts.push("items".to_owned());
        for &(key, value) in &object.items {
            parts.extend([self.value(key), self.value(value)]);
        }
        parts.push("elements".to_owned());
        parts.extend(self.all(&object.elements));
        format!("{kind}({})", parts.join(";"))
    }

    fn all(&mut self, elements: &[Ref]) -> Vec<String> {
        elements.iter().map(|&element| self.value(element)).collect()
    }

    fn unique(&mut self, elements: &[Ref]) -> String {
        let mut texts = self.all(elements);
        texts.sort();
        texts.dedup();
        texts.join(",")
    }
}

#[test]
fn values_are_those_of_cpython() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pickles.json");
    let rows: Vec<(String, Option<String>)> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for (pickle, expected) in &rows {
        let found = decode(&bytes_of(pickle)).ok().map(|decoded| {
            let mut describer = Describer { pickle: &decoded, seen: HashMap::new() };
            describer.value(decoded.root())
        });
        if found != *expected {
            wrong.push(format!("{pickle}\n  CPython {expected:?}\n  qp      {found:?}"));
        }
    }
    assert!(rows.len() > 500);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong[..wrong.len().min(30)].join("\n")
    );
}
