//! The stack machine: opcodes in, inert values out.

use super::opcode as op;
use super::reader::Reader;
use super::scalar;
use super::value::{Change, Creation, Effect, Global, Object, Pickle, Ref, Value, Work};
use qp_abi::sdk::{BackendError, Result};
use std::collections::HashMap;

/// More values than the largest checkpoints have; a pickle that asks for more is refused before it costs
/// gigabytes.
const MAX_VALUES: usize = 1 << 24;
/// Marks are nested as deep as tuples within tuples.
const MAX_MARKS: usize = 1 << 16;
/// What stands for a part of a global's name that a call has made.
pub(super) const COMPUTED: &str = "<computed>";
/// Bytes of a module's name, and of a name in it.
const MAX_NAME: usize = 1024;
/// What the names of globals may take together: so many times the bytes of the pickle, and this much in any
/// case. Protocol 4 composes names of texts that are in the pickle once.
const NAMES_RATIO: usize = 4;
const FREE_NAME_BYTES: usize = 1 << 20;

/// Decodes the pickle at the start of `bytes`.
///
/// # Errors
/// `CorruptFile` with the place, for anything that Python's unpickler would refuse too, and for pickles
/// beyond the limits.
pub fn decode(bytes: &[u8]) -> Result<Pickle> {
    match decode_part(bytes) {
        (pickle, None) => Ok(pickle),
        (_, Some(damage)) => Err(damage),
    }
}

/// Decodes the pickle at the start of `bytes` as far as it can be, with what ended it too early. Python has
/// done whatever stands before such a place when it comes to it. The root of a damaged pickle is `None`.
pub fn decode_part(bytes: &[u8]) -> (Pickle, Option<BackendError>) {
    let mut machine = Machine::new(bytes);
    let root = loop {
        match machine.step() {
            Ok(false) => {}
            Ok(true) => break machine.pop(),
            Err(error) => break Err(error),
        }
    };
    let (root, damage) = match root {
        Ok(root) => (root, None),
        Err(error) => (NONE, Some(error)),
    };
    let pickle = Pickle {
        work: Work::new(machine.values.len()),
        values: machine.values,
        root,
        length: machine.reader.position(),
        protocol: machine.protocol,
        changes: machine.changes,
        has_replaced_elements: machine.has_replaced_elements,
    };
    (pickle, damage)
}

struct Machine<'a> {
    reader: Reader<'a>,
    values: Vec<Value>,
    stack: Vec<Ref>,
    /// Where on the stack each open mark is.
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    globals: HashMap<Global, Ref>,
    /// Bytes that the names of globals may still take.
    name_bytes: usize,
    changes: Vec<Change>,
    has_replaced_elements: bool,
    protocol: u8,
}

const NONE: Ref = Ref(0);
const FALSE: Ref = Ref(1);
const TRUE: Ref = Ref(2);

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            values: vec![Value::None, Value::Bool(false), Value::Bool(true)],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            globals: HashMap::new(),
            name_bytes: bytes.len().saturating_mul(NAMES_RATIO).saturating_add(FREE_NAME_BYTES),
            changes: Vec::new(),
            has_replaced_elements: false,
            protocol: 0,
        }
    }

    /// Executes one opcode; true after the last.
    fn step(&mut self) -> Result<bool> {
        let opcode = self.reader.u8()?;
        match opcode {
            op::STOP => return Ok(true),
            op::PROTO => {
                let protocol = self.reader.u8()?;
                if protocol > 5 {
                    return Err(self.reader.error(format_args!("protocol {protocol} is unknown")));
                }
                self.protocol = self.protocol.max(protocol);
            }
            // A frame only tells how much to read ahead.
            op::FRAME => {
                let length = self.reader.u64()?;
                self.reader.frame(length)?;
            }
            op::MARK => {
                if self.marks.len() >= MAX_MARKS {
                    return Err(self.reader.error("too many open marks"));
                }
                self.marks.push(self.stack.len());
            }
            op::POP => {
                // A mark on top of the stack is what is popped.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            op::POP_MARK => drop(self.pop_to_mark()?),
            op::DUP => {
                let top = self.top()?;
                self.push_ref(top)?;
            }
            op::NONE => self.push_ref(NONE)?,
            op::NEWTRUE => self.push_ref(TRUE)?,
            op::NEWFALSE => self.push_ref(FALSE)?,
            op::NEXT_BUFFER => self.push(Value::Buffer)?,
            op::READONLY_BUFFER => {
                let top = self.top()?;
                if !matches!(
                    self.values.get(top.0 as usize),
                    Some(Value::Buffer | Value::Bytes(_) | Value::Object(_))
                ) {
                    return Err(self.reader.error("a value to be made read-only is not a buffer"));
                }
            }
            op::INT
            | op::BININT
            | op::BININT1
            | op::BININT2
            | op::LONG
            | op::LONG1
            | op::LONG4
            | op::FLOAT
            | op::BINFLOAT => {
                let value = scalar::number(&mut self.reader, opcode)?;
                match value {
                    Value::Bool(flag) => self.push_ref(if flag { TRUE } else { FALSE })?,
                    value => self.push(value)?,
                }
            }
            op::STRING
            | op::BINSTRING
            | op::SHORT_BINSTRING
            | op::UNICODE
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINBYTES
            | op::SHORT_BINBYTES
            | op::BINBYTES8
            | op::BYTEARRAY8 => {
                let value = scalar::string(&mut self.reader, opcode)?;
                self.push(value)?;
            }
            op::GET | op::BINGET | op::LONG_BINGET => self.get(opcode)?,
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => self.put(opcode)?,
            op::EMPTY_LIST => self.push(Value::List(Vec::new()))?,
            op::EMPTY_TUPLE => self.push(Value::Tuple(Vec::new()))?,
            op::EMPTY_DICT => self.push(Value::Dict(Vec::new()))?,
            op::EMPTY_SET => self.push(Value::Set(Vec::new()))?,
            op::LIST => {
                let elements = self.pop_to_mark()?;
                self.push(Value::List(elements))?;
            }
            op::TUPLE => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Tuple(elements))?;
            }
            op::FROZENSET => {
                let elements = self.pop_to_mark()?;
                self.push(Value::FrozenSet(elements))?;
            }
            op::DICT => {
                let entries = self.pop_to_mark()?;
                let entries = self.pairs(&entries)?;
                self.push(Value::Dict(entries))?;
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let elements = self.pop_many(usize::from(opcode - op::TUPLE1) + 1)?;
                self.push(Value::Tuple(elements))?;
            }
            op::APPEND | op::APPENDS | op::ADDITEMS => {
                let elements = if opcode == op::APPEND { vec![self.pop()?] } else { self.pop_to_mark()? };
                self.extend(elements, opcode == op::ADDITEMS)?;
            }
            op::SETITEM | op::SETITEMS => {
                let flat = if opcode == op::SETITEM { self.pop_many(2)? } else { self.pop_to_mark()? };
                let entries = self.pairs(&flat)?;
                self.insert(entries)?;
            }
            _ => self.construct(opcode)?,
        }
        Ok(false)
    }

    /// The opcodes with which Python would look something up or call it.
    fn construct(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PERSID => {
                let id = Value::Text(self.reader.text_line()?.into());
                let id = self.store(id)?;
                self.push(Value::Persistent(id))
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
            op::EXT1 | op::EXT2 | op::EXT4 => {
                let code = match opcode {
                    op::EXT1 => i64::from(self.reader.u8()?),
                    op::EXT2 => i64::from(self.reader.u16()?),
                    _ => i64::from(self.reader.i32()?),
                };
                if code <= 0 {
                    return Err(self.reader.error(format_args!("{code} is not an extension code")));
                }
                self.push(Value::Extension(code))
            }
            op::GLOBAL => {
                let (module, name) = (self.reader.name_line()?, self.reader.name_line()?);
                let global = self.global(module, name)?;
                self.push_ref(global)
            }
            op::STACK_GLOBAL => {
                let names = self.pop_many(2)?;
                let names: Vec<String> = names.iter().filter_map(|&name| self.name(name)).collect();
                let [module, name] = names.as_slice() else {
                    return Err(self.reader.error("the name of a global is not text, or too long"));
                };
                let global = self.global(module, name)?;
                self.push_ref(global)
            }
            op::INST => {
                let (module, name) = (self.reader.name_line()?, self.reader.name_line()?);
                let callable = self.global(module, name)?;
                let arguments = self.pop_to_mark()?;
                let arguments = self.store(Value::Tuple(arguments))?;
                self.push_object(Creation::Call, callable, arguments, None)
            }
            op::OBJ => {
                let mut arguments = self.pop_to_mark()?;
                if arguments.is_empty() {
                    return Err(self.reader.error("an object has no class"));
                }
                let callable = arguments.remove(0);
                let arguments = self.store(Value::Tuple(arguments))?;
                self.push_object(Creation::Call, callable, arguments, None)
            }
            op::REDUCE | op::NEWOBJ => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                let creation = if opcode == op::REDUCE { Creation::Call } else { Creation::New };
                self.push_object(creation, callable, arguments, None)
            }
            op::NEWOBJ_EX => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.push_object(Creation::New, callable, arguments, Some(keywords))
            }
            op::BUILD => self.build(),
            _ => Err(self.reader.error(format_args!("opcode {opcode:#04x} is unknown"))),
        }
    }

    fn push_object(
        &mut self,
        creation: Creation,
        callable: Ref,
        arguments: Ref,
        keywords: Option<Ref>,
    ) -> Result<()> {
        // What a call gives may be a tuple or a dictionary of a class of its own.
        let may_be = |at: Ref, is_one: fn(&Value) -> bool| {
            self.values.get(at.0 as usize).is_some_and(|value| {
                is_one(value)
                    || matches!(value, Value::Object(_) | Value::Persistent(_) | Value::Extension(_))
            })
        };
        if !may_be(arguments, |value| matches!(value, Value::Tuple(_))) {
            return Err(self.reader.error("the arguments of a call are not a tuple"));
        }
        if !keywords.is_none_or(|keywords| may_be(keywords, |value| matches!(value, Value::Dict(_)))) {
            return Err(self.reader.error("the keyword arguments of a call are not a dictionary"));
        }
        let (items, elements) = (Vec::new(), Vec::new());
        let object = Object { creation, callable, arguments, keywords, state: None, items, elements };
        self.push(Value::Object(Box::new(object)))
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.value_mut(target) {
            Some(Value::Object(object)) => object.state = Some(state),
            Some(Value::Global(_) | Value::Extension(_) | Value::Persistent(_)) => {}
            // What has no `__setstate__` is left alone when there is nothing to set.
            _ if state == NONE => return Ok(()),
            _ => return Err(self.reader.error("a state is given to what is not an object")),
        }
        self.change(target, Effect::State(state));
        Ok(())
    }

    fn extend(&mut self, elements: Vec<Ref>, is_set: bool) -> Result<()> {
        let target = self.top()?;
        match self.value_mut(target) {
            Some(Value::List(list)) if !is_set => list.extend(elements),
            Some(Value::Set(set)) if is_set => set.extend(elements),
            Some(Value::Object(object)) => object.elements.extend(elements),
            Some(Value::Global(_) | Value::Extension(_)) => self.change(target, Effect::Elements(elements)),
            _ => return Err(self.reader.error("elements are added to what takes none")),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<(Ref, Ref)>) -> Result<()> {
        let target = self.top()?;
        match self.value_mut(target) {
            Some(Value::Dict(dict)) => dict.extend(entries),
            Some(Value::Object(object)) => object.items.extend(entries),
            Some(Value::Global(_) | Value::Extension(_)) => self.change(target, Effect::Items(entries)),
            Some(Value::List(_)) => return self.replace(target, &entries),
            _ => return Err(self.reader.error("entries are added to what is not a dictionary")),
        }
        Ok(())
    }

    /// `list[index] = value`.
    fn replace(&mut self, list: Ref, entries: &[(Ref, Ref)]) -> Result<()> {
        self.has_replaced_elements |= !entries.is_empty();
        for &(index, value) in entries {
            let index = match self.values.get(index.0 as usize) {
                Some(Value::Int(index)) => *index,
                _ => return Err(self.reader.error("an index is not a number")),
            };
            let Some(Value::List(elements)) = self.value_mut(list) else { continue };
            let from_end = index.checked_add_unsigned(elements.len() as u64);
            let place = usize::try_from(index).ok().or_else(|| usize::try_from(from_end?).ok());
            match place.and_then(|place| elements.get_mut(place)) {
                Some(element) => *element = value,
                None => return Err(self.reader.error("a list is too short for an index")),
            }
        }
        Ok(())
    }

    fn change(&mut self, target: Ref, effect: Effect) {
        self.changes.push(Change { after: self.values.len(), target, effect });
    }

    fn get(&mut self, opcode: u8) -> Result<()> {
        let index = self.memo_index(opcode)?;
        match self.memo.get(&index) {
            Some(&value) => self.push_ref(value),
            None => Err(self.reader.error(format_args!("memo {index} is empty"))),
        }
    }

    fn put(&mut self, opcode: u8) -> Result<()> {
        let index = if opcode == op::MEMOIZE { self.memo.len() as u64 } else { self.memo_index(opcode)? };
        let top = self.top()?;
        if self.memo.len() >= MAX_VALUES {
            return Err(self.reader.error("the memo is too large"));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn memo_index(&mut self, opcode: u8) -> Result<u64> {
        Ok(match opcode {
            op::BINGET | op::BINPUT => self.reader.u8()?.into(),
            op::LONG_BINGET | op::LONG_BINPUT => self.reader.u32()?.into(),
            _ => {
                let line = self.reader.number_line()?;
                line.trim().parse().map_err(|_| self.reader.error("a memo index is not a number"))?
            }
        })
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Ref> {
        if module.len() > MAX_NAME || name.len() > MAX_NAME {
            return Err(self.reader.error("the name of a global is too long"));
        }
        let global = Global::new(module, name);
        if let Some(&known) = self.globals.get(&global) {
            return Ok(known);
        }
        let left = self.name_bytes.checked_sub(module.len() + name.len());
        self.name_bytes = left.ok_or_else(|| self.reader.error("its names are too long"))?;
        let stored = self.store(Value::Global(Box::new(global.clone())))?;
        self.globals.insert(global, stored);
        Ok(stored)
    }

    fn name(&self, at: Ref) -> Option<String> {
        match self.values.get(at.0 as usize) {
            Some(Value::Text(text)) if text.len() <= MAX_NAME => Some(text.to_string()),
            Some(Value::Object(_) | Value::Persistent(_) | Value::Extension(_)) => Some(COMPUTED.to_owned()),
            _ => None,
        }
    }

    fn value_mut(&mut self, at: Ref) -> Option<&mut Value> {
        self.values.get_mut(at.0 as usize)
    }

    fn store(&mut self, value: Value) -> Result<Ref> {
        if self.values.len() >= MAX_VALUES {
            return Err(self.reader.error("it has too many values"));
        }
        self.values.push(value);
        Ok(Ref((self.values.len() - 1) as u32))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let stored = self.store(value)?;
        self.push_ref(stored)
    }

    fn push_ref(&mut self, value: Ref) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(self.reader.error("its stack is too large"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Where the part of the stack starts that the innermost open mark leaves to pop.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Ref> {
        let top = (self.stack.len() > self.floor()).then(|| self.stack.last().copied()).flatten();
        top.ok_or_else(|| self.reader.error("its stack is empty"))
    }

    fn pop(&mut self) -> Result<Ref> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Ref>> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => Err(self.reader.error("its stack is empty")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Ref>> {
        let mark = self.marks.pop().ok_or_else(|| self.reader.error("a mark is missing"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pairs(&self, flat: &[Ref]) -> Result<Vec<(Ref, Ref)>> {
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.reader.error("a key has no value"));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }
}
