//! The code of a layer: its statement in the file. The answer to the request `code/1`.

use crate::misbehaviour::Misbehaviour;
use crate::network::{Layer, Network};
use qp_abi::sdk::*;

/// Answers the payload `{"layer": "PATH"}`; without a path, all layers.
pub(crate) fn answer(network: &Network, payload: &str, asked: Option<Misbehaviour>) -> Result<String> {
    if let Some(wrong) = Misbehaviour::answer(asked) {
        return Ok(wrong);
    }
    // The payload's only text, after its only name: a backend that reads more has a JSON reader.
    let text = payload.split_once(':').map(|(_, value)| value.trim().trim_end_matches('}').trim());
    let path = text.map(|text| text.trim_matches('"')).unwrap_or_default();
    let layers: Vec<&Layer> =
        network.layers.iter().filter(|layer| path.is_empty() || layer.path == path).collect();
    if layers.is_empty() {
        return Err(BackendError::not_found(format!("no layer is named `{path}`")));
    }
    let step = |layer: &&Layer| {
        let text = format!("{} {} -> {}", layer.operator.name(), layer.inputs.join(" "), layer.output);
        format!(r#"{{"layer": {}, "text": {}}}"#, json(&layer.path), json(&text))
    };
    let steps: Vec<String> = layers.iter().map(step).collect();
    Ok(format!(r#"{{"language": "toy", "layer": {}, "inlined": [{}]}}"#, json(path), steps.join(", ")))
}

/// A text as in JSON.
fn json(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        _ if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn what_json_reserves_is_escaped() {
        assert_eq!(json("a\"b\\c\u{1}d"), r#""a\"b\\c\u0001d""#);
    }
}
