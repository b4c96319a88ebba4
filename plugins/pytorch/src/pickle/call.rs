//! Calls as Python would write them, shortened: `os.system('touch /tmp/x')`.

use super::value::{Change, Creation, Effect, Global, Object, Pickle, Ref, Value};
use std::fmt::Write;

/// Characters of one call; what is longer ends with an ellipsis.
const MAX_CHARACTERS: usize = 240;
/// Characters of one text or of bytes in it.
const MAX_TEXT: usize = 64;
/// Elements of one list, tuple, set or dictionary, and arguments of one call.
const MAX_ELEMENTS: usize = 6;
/// Calls and containers within each other.
const MAX_DEPTH: usize = 12;

/// The call that makes an object.
pub(super) fn of_object(pickle: &Pickle, object: &Object) -> String {
    let mut writer = Writer::new(pickle);
    writer.object(object, 0);
    writer.finish()
}

/// What is done to a value that is there already.
pub(super) fn of_change(pickle: &Pickle, change: &Change) -> String {
    let mut writer = Writer::new(pickle);
    let target = change.target;
    match (&change.effect, pickle.get(target)) {
        (Effect::State(state), Value::Object(_)) => {
            writer.value(target, 1);
            writer.text(".__setstate__(");
            writer.value(*state, 1);
            writer.text(")");
        }
        (Effect::State(state), _) => {
            writer.text("vars(");
            writer.value(target, 1);
            writer.text(").update(");
            writer.value(*state, 1);
            writer.text(")");
        }
        (Effect::Elements(elements), _) => {
            writer.value(target, 1);
            writer.text(".extend([");
            writer.list(elements, 1);
            writer.text("])");
        }
        (Effect::Items(items), _) => {
            for (index, &(key, value)) in items.iter().take(MAX_ELEMENTS).enumerate() {
                writer.text(if index > 0 { "; " } else { "" });
                writer.value(target, 1);
                writer.text("[");
                writer.value(key, 1);
                writer.text("] = ");
                writer.value(value, 1);
            }
        }
    }
    writer.finish()
}

struct Writer<'a> {
    pickle: &'a Pickle,
    text: String,
    /// Characters that may still follow.
    left: usize,
}

impl<'a> Writer<'a> {
    fn new(pickle: &'a Pickle) -> Self {
        Self { pickle, text: String::new(), left: MAX_CHARACTERS }
    }

    fn finish(mut self) -> String {
        if self.left == 0 {
            self.text.push('…');
        }
        self.text
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            self.text.push(character);
        }
    }

    fn object(&mut self, object: &Object, depth: usize) {
        self.value(object.callable, depth + 1);
        if object.creation == Creation::New {
            self.text(".__new__");
        }
        self.text("(");
        let mut is_first = object.creation == Creation::Call;
        if !is_first {
            self.value(object.callable, depth + 1);
        }
        match self.pickle.get(object.arguments) {
            Value::Tuple(arguments) => {
                if !arguments.is_empty() {
                    self.text(if is_first { "" } else { ", " });
                    self.list(arguments, depth + 1);
                    is_first = false;
                }
            }
            _ => {
                self.text(if is_first { "*" } else { ", *" });
                self.value(object.arguments, depth + 1);
                is_first = false;
            }
        }
        match object.keywords.map(|keywords| (keywords, self.pickle.get(keywords))) {
            Some((_, Value::Dict(entries))) => {
                for &(key, value) in entries.iter().take(MAX_ELEMENTS) {
                    self.text(if is_first { "" } else { ", " });
                    is_first = false;
                    match self.pickle.text(key) {
                        Some(name) if name.len() <= MAX_TEXT && is_identifier(name) => self.text(name),
                        _ => self.value(key, depth + 1),
                    }
                    self.text("=");
                    self.value(value, depth + 1);
                }
                if entries.len() > MAX_ELEMENTS {
                    self.text(", …");
                }
            }
            Some((keywords, _)) => {
                self.text(if is_first { "**" } else { ", **" });
                self.value(keywords, depth + 1);
            }
            None => {}
        }
        self.text(")");
    }

    fn list(&mut self, elements: &[Ref], depth: usize) {
        for (index, &element) in elements.iter().take(MAX_ELEMENTS).enumerate() {
            self.text(if index > 0 { ", " } else { "" });
            self.value(element, depth);
        }
        if elements.len() > MAX_ELEMENTS {
            self.text(", …");
        }
    }

    fn value(&mut self, at: Ref, depth: usize) {
        // Containers may hold themselves, and double at each level: depth and length both end that.
        if self.left == 0 {
            return;
        }
        if depth > MAX_DEPTH {
            self.text("…");
            return;
        }
        match self.pickle.get(at) {
            Value::None => self.text("None"),
            Value::Bool(flag) => self.text(if *flag { "True" } else { "False" }),
            Value::Int(number) => self.text(&number.to_string()),
            Value::BigInt(bytes) => self.text(&big_number(bytes)),
            Value::Float(number) => self.text(&real_number(*number)),
            Value::Text(text) => self.text(&quoted_text(text)),
            Value::Bytes(bytes) => self.text(&quoted_bytes(bytes)),
            Value::List(elements) => {
                self.text("[");
                self.list(elements, depth + 1);
                self.text("]");
            }
            Value::Tuple(elements) => {
                self.text("(");
                self.list(elements, depth + 1);
                self.text(if elements.len() == 1 { ",)" } else { ")" });
            }
            Value::Set(elements) if elements.is_empty() => self.text("set()"),
            Value::Set(elements) => {
                self.text("{");
                self.list(elements, depth + 1);
                self.text("}");
            }
            Value::FrozenSet(elements) => {
                self.text("frozenset((");
                self.list(elements, depth + 1);
                self.text(if elements.len() == 1 { ",))" } else { "))" });
            }
            Value::Dict(entries) => {
                self.text("{");
                for (index, &(key, value)) in entries.iter().take(MAX_ELEMENTS).enumerate() {
                    self.text(if index > 0 { ", " } else { "" });
                    self.value(key, depth + 1);
                    self.text(": ");
                    self.value(value, depth + 1);
                }
                self.text(if entries.len() > MAX_ELEMENTS { ", …}" } else { "}" });
            }
            Value::Global(global) => self.text(&shortened(&global.to_string(), 2 * MAX_TEXT)),
            Value::Object(object) => self.object(object, depth),
            Value::Persistent(id) => {
                self.text("persistent_load(");
                self.value(*id, depth + 1);
                self.text(")");
            }
            Value::Extension(code) => self.text(&format!("copyreg.extension({code})")),
            Value::Buffer => self.text("next_buffer()"),
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|character| character == '_' || character.is_alphanumeric())
}

/// A global as findings name it.
pub(super) fn name(global: &Global) -> String {
    shortened(&global.to_string(), 200)
}

/// The beginning of a text, with an ellipsis when it is not all.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `repr` of a text.
fn quoted_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for (index, character) in text.chars().enumerate() {
        if index == MAX_TEXT {
            quoted.push('…');
            break;
        }
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            _ if character == quote => quoted.extend(['\\', quote]),
            // What would not be seen, or turns what is seen around.
            _ if is_hidden(character) => {
                let code = u32::from(character);
                let _ = match code {
                    0..=0xff => write!(quoted, "\\x{code:02x}"),
                    0x100..=0xffff => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
            }
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

fn is_hidden(character: char) -> bool {
    // As Rust escapes what has no glyph; of the rest, format characters such as those of writing direction.
    let is_escaped = character.escape_debug().count() > 1 && !matches!(character, '"' | '\'');
    is_escaped
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `repr` of bytes.
fn quoted_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut quoted = format!("b{quote}");
    for (index, &byte) in bytes.iter().enumerate() {
        if index == MAX_TEXT {
            quoted.push('…');
            break;
        }
        match byte {
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            b'\\' => quoted.push_str("\\\\"),
            _ if char::from(byte) == quote => quoted.extend(['\\', quote]),
            0x20..=0x7e => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted.push(quote);
    quoted
}

/// A long whole number, little-endian two's complement.
fn big_number(bytes: &[u8]) -> String {
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 16];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            i128::from_le_bytes(wide).to_string()
        }
        None => format!("<whole number of {} bytes>", bytes.len()),
    }
}

fn real_number(number: f64) -> String {
    if number.is_nan() {
        return "float('nan')".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "float('inf')" } else { "float('-inf')" }.to_owned();
    }
    format!("{number:?}")
}
