//! Numbers, texts and bytes.

use super::opcode as op;
use super::reader::Reader;
use super::value::Value;
use qp_abi::sdk::Result;

/// Decimal digits of one number: as many as CPython converts (`sys.int_info.default_max_str_digits`).
const MAX_DIGITS: usize = 4300;

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
            let line = reader.number_line()?;
            Value::Float(line.parse().map_err(|_| reader.error("a number is invalid"))?)
        }
        op::INT => {
            let line = reader.number_line()?;
            match line {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                _ => literal(line).ok_or_else(|| reader.error("a number is invalid"))?,
            }
        }
        _ => {
            let line = reader.number_line()?;
            let digits = line.strip_suffix('L').unwrap_or(line);
            literal(digits).ok_or_else(|| reader.error("a number is invalid"))?
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
            let plain = quoted.ok_or_else(|| reader.error("a string has no quotes"))?;
            let plain = bytes_literal(plain).ok_or_else(|| reader.error("an escape is incomplete"))?;
            return Ok(text_or_bytes(&plain));
        }
        op::UNICODE => {
            let line = reader.line()?;
            let text = raw_unicode(line).ok_or_else(|| reader.error("an escape is incomplete"))?;
            return Ok(Value::Text(text.into()));
        }
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
    let filler = if is_negative { 0xff } else { 0 };
    let mut wide = [filler; 8];
    let (low, high) = bytes.split_at(bytes.len().min(8));
    wide[..low.len()].copy_from_slice(low);
    let fits = high.iter().all(|&byte| byte == filler) && (wide[7] & 0x80 != 0) == is_negative;
    if fits { Value::Int(i64::from_le_bytes(wide)) } else { Value::BigInt(bytes.into()) }
}

/// A whole number as Python's `int(text, 0)` reads it, and C's `strtol`, which also takes `010` for eight.
fn literal(text: &str) -> Option<Value> {
    let text = text.trim();
    let (is_negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.starts_with('0') && digits.bytes().any(|digit| digit != b'0') => (8, digits),
        _ => (10, digits),
    };
    let digits: Vec<u32> = digits
        .chars()
        .filter(|&character| character != '_')
        .map(|character| character.to_digit(radix))
        .collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || text.ends_with('_') || text.contains("__") {
        return None;
    }
    let mut limbs: Vec<u32> = Vec::new();
    for digit in digits {
        let mut carry = u64::from(digit);
        for limb in &mut limbs {
            carry += u64::from(*limb) * u64::from(radix);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    // One more for the sign.
    limbs.push(0);
    if is_negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
        }
    }
    let magnitude: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
    Some(whole_number(&magnitude))
}

fn text_or_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.into()),
        Err(_) => Value::Bytes(bytes.into()),
    }
}

/// What Python's literal `b'…'` means, by which protocol 0 writes strings; an unknown escape stays as it is.
/// `None` for one that is incomplete.
fn bytes_literal(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            plain.push(*first);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'\\' | b'\'' | b'"' => plain.push(*escape),
            b'a' => plain.push(0x07),
            b'b' => plain.push(0x08),
            b'f' => plain.push(0x0c),
            b'n' => plain.push(b'\n'),
            b'r' => plain.push(b'\r'),
            b't' => plain.push(b'\t'),
            b'v' => plain.push(0x0b),
            b'0'..=b'7' => {
                let more = rest.iter().take(2).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
                let digits = rest.get(..more).unwrap_or_default();
                let value = digits.iter().fold(escape - b'0', |value, digit| (value << 3) | (digit - b'0'));
                plain.push(value);
                rest = rest.get(more..).unwrap_or_default();
            }
            b'x' => {
                plain.push(u8::try_from(hexadecimal(rest, 2)?).ok()?);
                rest = rest.get(2..).unwrap_or_default();
            }
            unknown => plain.extend([b'\\', *unknown]),
        }
    }
    Some(plain)
}

/// Python's codec `raw-unicode-escape`: Latin-1, in which `\u0041` and `\U00000041` alone are escapes.
/// Surrogates are replaced. `None` for an escape that is incomplete.
fn raw_unicode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        let digits = match (first, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            // Of two backslashes the second begins no escape.
            (b'\\', Some(other)) => {
                text.extend(['\\', char::from(*other)]);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        let code = hexadecimal(rest.get(1..)?, digits)?;
        if code > 0x10_ffff {
            return None;
        }
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = rest.get(1 + digits..).unwrap_or_default();
    }
    Some(text)
}

/// The number that the first `count` bytes write in hexadecimal digits.
fn hexadecimal(bytes: &[u8], count: usize) -> Option<u32> {
    let digits = bytes.get(..count)?;
    digits.iter().try_fold(0, |value, &digit| Some((value << 4) | char::from(digit).to_digit(16)?))
}
