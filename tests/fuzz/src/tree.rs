//! Mutations of JSON that keep it JSON.

use crate::random::Random;
use serde_json::{Value, json};

/// A document is not made longer than this.
const MOST_BYTES: usize = 200_000;

/// `seed` with values removed, repeated, swapped, nested, made extreme, or replaced by those of `other`; empty if it is no JSON.
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let Ok(mut tree) = serde_json::from_slice::<Value>(seed) else { return Vec::new() };
    let other = serde_json::from_slice::<Value>(other).unwrap_or_default();
    for _ in 0..=random.below(4) {
        let (places, others) = (count(&tree), count(&other));
        let from = nth(if random.below(3) == 0 { &other } else { &tree }, random.below(others.min(places)));
        let donor = from.cloned().unwrap_or_default();
        let Some(place) = nth_mut(&mut tree, random.below(places)) else { continue };
        match random.below(8) {
            0 | 1 => *place = donor,
            2 => *place = extreme(random),
            3 => {
                let depth = [1, 3, 60, 100, 120][random.below(5)];
                *place = (0..depth).fold(place.take(), |inner, _| json!([inner]));
            }
            _ => within(random, place, donor),
        }
    }
    let text = tree.to_string();
    if text.len() > MOST_BYTES { seed.to_vec() } else { text.into_bytes() }
}

/// Changes the members of a list or an object; another value becomes one that looks like it.
fn within(random: &mut Random, place: &mut Value, donor: Value) {
    match place {
        Value::Array(members) => {
            let at = random.below(members.len());
            match random.below(4) {
                0 if !members.is_empty() => drop(members.remove(at)),
                1 if !members.is_empty() => {
                    let (member, times) = (members[at].clone(), [1, 2, 50][random.below(3)]);
                    members.splice(at..at, std::iter::repeat_n(member, times)).for_each(drop);
                }
                2 if !members.is_empty() => members.swap(at, 0),
                _ => members.insert(at, donor),
            }
        }
        Value::Object(members) => {
            let keys: Vec<String> = members.keys().cloned().collect();
            let key = random.pick(&keys).cloned().unwrap_or_default();
            let member = members.remove(&key).unwrap_or_default();
            match random.below(3) {
                0 => {}
                1 => drop(members.insert(random.pick(&keys).cloned().unwrap_or_default(), member)),
                _ => drop(members.insert(key, donor)),
            }
        }
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or(1);
            let step = [-1, 1, -2, 64][random.below(4)];
            *place = json!(number.wrapping_add(step));
        }
        Value::String(text) => {
            let end = text.char_indices().nth(random.below(text.len())).map_or(0, |(at, _)| at);
            text.truncate(end);
        }
        _ => *place = donor,
    }
}

fn extreme(random: &mut Random) -> Value {
    match random.below(10) {
        0 => json!(i64::MAX),
        1 => json!(i64::MIN),
        2 => json!(u64::MAX),
        3 => json!(1e308),
        4 => json!(-1),
        5 => json!(""),
        6 => json!([]),
        7 => json!({}),
        8 => json!("x".repeat(5_000)),
        _ => Value::Null,
    }
}

/// How many values there are, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(members) => members.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The value at this place, in the order of the text.
fn nth(value: &Value, place: usize) -> Option<&Value> {
    let mut waiting = vec![value];
    for _ in 0..place {
        push(&mut waiting)?;
    }
    waiting.pop()
}

fn push(waiting: &mut Vec<&Value>) -> Option<()> {
    match waiting.pop()? {
        Value::Array(members) => waiting.extend(members.iter().rev()),
        Value::Object(members) => waiting.extend(members.values().rev()),
        _ => {}
    }
    Some(())
}

fn nth_mut(value: &mut Value, place: usize) -> Option<&mut Value> {
    let mut waiting = vec![value];
    for _ in 0..place {
        match waiting.pop()? {
            Value::Array(members) => waiting.extend(members.iter_mut().rev()),
            Value::Object(members) => waiting.extend(members.values_mut().rev()),
            _ => {}
        }
    }
    waiting.pop()
}
