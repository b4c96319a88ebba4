//! JSON of strangers: its parser ends at 128 levels, and what it makes is bounded here.

use serde_json::Value;

/// What a text may take in memory when it is parsed: so much, and so much for each byte of the file. Programs take some
/// ten bytes for each; a text of nothing but empty objects takes a hundred, and a deflated one thousands.
const MEMORY: (u64, u64) = (256 << 20, 16);
/// About how much an object takes, and any other value.
const OBJECT: u64 = 320;
const OTHER: u64 = 48;

/// Parses a text that is in a file of `file_bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &[u8], file_bytes: u64) -> Result<Value, String> {
    let (base, factor) = MEMORY;
    let most = base.saturating_add(factor.saturating_mul(file_bytes));
    let about: u64 = text
        .iter()
        .map(|byte| match byte {
            b'{' => OBJECT,
            b'[' | b',' => OTHER,
            _ => 0,
        })
        .sum();
    if about > most {
        return Err("it has far more parts than a file of this size".to_owned());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_text_of_many_parts_or_levels_is_refused() {
        assert!(parse(br#"{"a": [1, 2, {}]}"#, 0).is_ok());
        assert!(parse("{},".repeat(1 << 20).as_bytes(), 1 << 20).unwrap_err().contains("far more parts"));
        for depth in [10, 100, 1000, 10_000_000] {
            let whole = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(parse(whole.as_bytes(), 1 << 30).is_ok(), depth <= 127, "{depth}");
        }
    }
}
