//! Numbers, texts and bytes.

use super::opcode as op;
use super::reader::Reader;
use super::value::Value;
use qp_abi::sdk::Result;

/// The number that an opcode pushes.
pub(super) fn number(reader: &mut Reader<'_>, opcode: u8) -> Result<Value> {
    Ok(match opcode {
        op::BININT => Value::Int(reader.i32()?.into()),
        op::BININT1 => Value::Int(reader.u8()?.into()),
        op::BININT2 => Value::Int(reader.u16()?.into()),
        op::BINFLOAT => Value::Float(reader.f64()?),
        op::LONG1 | op::LONG4 => {
            let length = if opcode == op::LONG1 { reader.u8()?.into() } else { reader.signed_length()? };
            whole_number(reader.take(length)?)
        }
        op::FLOAT => {
            let line = reader.text_line()?;
            Value::Float(line.parse().map_err(|_| reader.error("a number is none"))?)
        }
        _ => {
            let line = reader.text_line()?;
            match (opcode, line) {
                (op::INT, "00") => Value::Bool(false),
                (op::INT, "01") => Value::Bool(true),
                _ => {
                    let digits = line.trim().trim_end_matches('L');
                    // A longer number is kept as its digits: nothing in a model file is computed from it.
                    let is_number = digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
                    match digits.parse() {
                        Ok(number) => Value::Int(number),
                        Err(_) if is_number && !digits.is_empty() => Value::BigInt(digits.as_bytes().into()),
                        Err(_) => return Err(reader.error("a number is none")),
                    }
                }
            }
        }
    })
}

/// The text or the bytes that an opcode pushes.
pub(super) fn string(reader: &mut Reader<'_>, opcode: u8) -> Result<Value> {
    let length = match opcode {
        op::STRING => {
            let line = reader.line()?;
            let quoted = match line {
                [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => Some(inner),
                _ => None,
            };
            let quoted = quoted.ok_or_else(|| reader.error("a string has no quotes"))?;
            return Ok(text_or_bytes(&unescape(quoted)));
        }
        op::UNICODE => return Ok(text_or_bytes(&unescape(reader.line()?))),
        op::SHORT_BINSTRING | op::SHORT_BINUNICODE | op::SHORT_BINBYTES => reader.u8()?.into(),
        op::BINSTRING => reader.signed_length()?,
        op::BINUNICODE | op::BINBYTES => reader.u32()?.into(),
        _ => reader.u64()?,
    };
    Ok(match opcode {
        op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => Value::Text(reader.text(length)?),
        op::BINSTRING | op::SHORT_BINSTRING => text_or_bytes(reader.take(length)?),
        _ => Value::Bytes(reader.take(length)?.into()),
    })
}

/// A little-endian two's complement number of any length.
fn whole_number(bytes: &[u8]) -> Value {
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = if is_negative { [0xff_u8; 8] } else { [0_u8; 8] };
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        }
        None => Value::BigInt(bytes.into()),
    }
}

fn text_or_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.into()),
        Err(_) => Value::Bytes(bytes.into()),
    }
}

/// The escapes of Python's string literals that pickles of protocol 0 use; an unknown one stays as it is.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            plain.push(*first);
            continue;
        }
        let (length, is_unicode) = match rest.first() {
            Some(b'x') => (2, false),
            Some(b'u') => (4, true),
            Some(b'U') => (8, true),
            Some(other) => {
                let byte = match other {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    same => *same,
                };
                plain.push(byte);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            None => (0, false),
        };
        let digits = rest.get(1..=length).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) if length > 0 => {
                rest = rest.get(1 + length..).unwrap_or_default();
                match (is_unicode, u8::try_from(code)) {
                    (false, Ok(byte)) => plain.push(byte),
                    _ => {
                        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                        plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
            _ => plain.push(b'\\'),
        }
    }
    plain
}
