//! JSON payloads and answers of the requests that the SDK answers for authors.

use super::{BackendError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The text under `name` in a JSON object; `None` if there is none, or the payload is not an object.
pub(super) fn text(payload: &str, name: &str) -> Option<String> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    Some(payload.get(name)?.as_str()?.to_owned())
}

/// The payload of `request`.
///
/// # Errors
/// `InvalidInput` if it has another form.
pub(super) fn read<T: DeserializeOwned>(request: &str, payload: &str) -> Result<T> {
    serde_json::from_str(payload).map_err(|error| {
        BackendError::invalid_input(format!("the payload of `{request}` has the wrong form"))
            .with_cause(error.to_string())
    })
}

/// The answer to `request`.
///
/// # Errors
/// `Internal` if it cannot be written.
pub(super) fn written(request: &str, answer: &impl Serialize) -> Result<String> {
    serde_json::to_string(answer).map_err(|error| {
        BackendError::internal(format!("the answer to `{request}` cannot be written"))
            .with_cause(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::{read, text, written};
    use crate::sdk::{ErrorKind, Kernels, KernelsOf};

    #[test]
    fn a_text_is_found_by_its_name_among_other_values() {
        let payload =
            r#" { "a" : [1, {"tensor": "no"}], "tensor" : "x\"\\\/\n\u00e9\ud83d\ude00" , "b": null } "#;
        assert_eq!(text(payload, "tensor").as_deref(), Some("x\"\\/\n\u{e9}\u{1f600}"));
        assert_eq!(text(r#"{"tensor": ""}"#, "tensor").as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_object_or_lacks_the_text_has_none() {
        for payload in [
            "",
            "{",
            "{}",
            "[]",
            "\"tensor\"",
            r#"{"tensor": 1}"#,
            r#"{"other": "x"}"#,
            r#"{"tensor": "x"#,
            r#"{"tensor": "\ud83d"}"#,
            r#"{"tensor": "\q"}"#,
            r#"{"a": ]}"#,
        ] {
            assert_eq!(text(payload, "tensor"), None, "{payload}");
        }
    }

    #[test]
    fn a_payload_may_have_more_than_is_known_and_not_less() {
        let of: KernelsOf = read("kernels/1", r#"{"folder": "/x", "new": 1}"#).unwrap();
        assert_eq!((of.folder.to_str(), of.timed), (Some("/x"), false));
        let error = read::<KernelsOf>("kernels/1", "{}").unwrap_err();
        assert_eq!(error.kind, ErrorKind::INVALID_INPUT);
        assert_eq!(error.message, "the payload of `kernels/1` has the wrong form");
        let answer = written("kernels/1", &Kernels::default()).unwrap();
        assert_eq!(answer, r#"{"kernels":[],"quantized":[],"runs_ns":[]}"#);
    }
}
