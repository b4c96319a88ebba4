//! The contract's versioned extension point: requests about a model, by name.

use super::error::{Breach, breach};
use super::progress::{Progress, Ticker};
use super::receive::{Due, Receiver};
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Listing, TensorChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Size limit of an answer: more than the code of any model.
const MOST_BYTES: usize = 256 << 20;

/// What `code/1` asks.
#[derive(Serialize)]
struct CodeOf<'a> {
    /// The path of the layer; empty for the model itself.
    layer: &'a str,
}

/// What `read-real/1` asks.
#[derive(Serialize)]
struct RealOf<'a> {
    /// The name of the stored tensor.
    tensor: &'a str,
}

impl Session {
    /// The code of the layer with this path, or of the model itself (feature `code`).
    ///
    /// # Errors
    /// `UnsupportedOp` when the backend, or the format of the file, has no code to show.
    pub fn listing(&self, layer: Option<&str>, progress: &dyn Progress) -> Result<Listing> {
        if !self.manifest.has_feature("code") {
            let message = format!("the backend `{}` cannot show a model's code", self.manifest.id);
            return Err(Error::new(ErrorKind::UnsupportedOp, message)
                .with_hint("See `layer PATH` for what a layer reads and computes."));
        }
        self.request("code/1", &CodeOf { layer: layer.unwrap_or_default() }, progress)
    }

    /// Hands the real values of the stored tensor `name` to `receive`, as float32 and in its own shape, where its type is
    /// one that scales and zero points cannot express (feature `read-real`).
    ///
    /// # Errors
    /// `UnsupportedOp` for a type whose values the backend does not know; as [`Self::read_tensor`].
    pub fn read_real(
        &self,
        name: &str,
        receive: &mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        const REQUEST: &str = "read-real/1";
        let plugin = self.manifest.id.as_str();
        let stored = self.stored(name)?;
        let mut as_due = |chunk: TensorChunk<'_>| {
            if chunk.dtype != DType::FLOAT32 || chunk.shape != stored.shape {
                let fault = format!(
                    "it delivers the real values of the tensor `{name}`, which is {:?}, as {} {:?}",
                    stored.shape, chunk.dtype, chunk.shape
                );
                return Err(breach(plugin, &fault));
            }
            receive(chunk)
        };
        let payload = serde_json::to_string(&RealOf { tensor: name }).map_err(|error| {
            Error::internal(format!("the request `{REQUEST}` cannot be written"))
                .with_cause(error.to_string())
        })?;
        let mut receiver = Receiver::new(plugin, Due::Exactly(vec![name]), &mut as_due);
        let answer = self.model.request(
            REQUEST.into(),
            payload.as_str().into(),
            receiver.as_object(),
            Ticker(progress).as_object(),
        );
        let answer = receiver.finish(answer)?;
        let answer: Result<serde_json::Map<String, serde_json::Value>, Breach> =
            parsed(REQUEST, answer.as_str());
        answer.map(drop).map_err(|fault| breach(plugin, &fault))
    }

    /// Asks the plugin for what the contract has no method for; checks that the answer has the expected form.
    ///
    /// # Errors
    /// `UnsupportedOp` for a request that the plugin does not know, its own errors, and `Plugin` for an answer in the
    /// wrong form.
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
        let mut unasked =
            |_: TensorChunk<'_>| Err(breach(plugin, &format!("it answers `{name}` with a tensor")));
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
    serde_json::from_str(answer)
        .map_err(|error| format!("its answer to `{name}` has the wrong form: {error}"))
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
            assert!(fault.starts_with("its answer to `code/1` has the wrong form: "), "{fault}");
        }
    }
}
