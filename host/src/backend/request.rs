//! The versioned door of the contract: requests about a model, by name.

use super::error::{Breach, breach};
use super::progress::{Progress, Ticker};
use super::receive::{Due, Receiver};
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Listing;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes of an answer: more than the code of any model.
const MOST_BYTES: usize = 256 << 20;

/// What `code/1` asks.
#[derive(Serialize)]
struct CodeOf<'a> {
    /// The path of the layer; empty for the model itself.
    layer: &'a str,
}

impl Session {
    /// The code of the layer of that path, or of the model itself (feature `code`).
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend, or the format of the file, has no code to show.
    pub fn listing(&self, layer: Option<&str>, progress: &dyn Progress) -> Result<Listing> {
        if !self.manifest.has_feature("code") {
            let message = format!("the backend `{}` has no code of a model to show", self.manifest.id);
            return Err(Error::new(ErrorKind::UnsupportedOp, message)
                .with_hint("See `layer PATH` for what a layer reads and computes."));
        }
        self.request("code/1", &CodeOf { layer: layer.unwrap_or_default() }, progress)
    }

    /// Asks the plugin for what has no method in the contract; the answer is checked to be what is due.
    ///
    /// # Errors
    /// `UnsupportedOp` for a request that the plugin does not know, what else it says, and `Plugin` for an answer of
    /// another form.
    fn request<Answer: DeserializeOwned>(
        &self,
        name: &str,
        payload: &impl Serialize,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let payload = serde_json::to_string(payload).map_err(|error| {
            Error::internal(format!("the request `{name}` cannot be written")).with_cause(error.to_string())
        })?;
        let plugin = self.manifest.id.as_str();
        let mut unasked = |_: crate::model::TensorChunk<'_>| {
            Err(breach(plugin, &format!("it answers `{name}` with a tensor")))
        };
        let mut receiver = Receiver::new(plugin, Due::Any, &mut unasked);
        let answer = self.model.request(
            name.into(),
            payload.as_str().into(),
            receiver.as_object(),
            Ticker(progress).as_object(),
        );
        let answer = receiver.finish(answer)?;
        parsed(name, answer.as_str()).map_err(|fault| breach(plugin, &fault))
    }
}

fn parsed<Answer: DeserializeOwned>(name: &str, answer: &str) -> Result<Answer, Breach> {
    if answer.len() > MOST_BYTES {
        return Err(format!("it answers `{name}` with {} bytes", answer.len()));
    }
    serde_json::from_str(answer).map_err(|error| format!("it answers `{name}` with something else: {error}"))
}

#[cfg(test)]
mod tests {
    use super::parsed;
    use crate::model::Listing;

    #[test]
    fn an_answer_may_have_more_than_is_asked_for_and_not_less() {
        let listing: Listing =
            parsed("code/1", r#"{"language": "toy", "inlined": [{"text": "x"}], "new": 1}"#).unwrap();
        assert_eq!((listing.language.as_str(), listing.inlined[0].text.as_str()), ("toy", "x"));
        assert!(listing.methods.is_empty());
        for answer in ["", "[]", "{}", r#"{"language": 1}"#, r#"{"language": "toy"} x"#] {
            let fault = parsed::<Listing>("code/1", answer).unwrap_err();
            assert!(fault.starts_with("it answers `code/1` with something else: "), "{fault}");
        }
    }
}
