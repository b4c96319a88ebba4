//! The ways in which this plugin breaks the contract on request, for tests of the host. A backend copied from this
//! one leaves this file out.
//!
//! A file requests one with the statement `misbehave WAY`, the user's settings with `misbehave = "WAY"`.

use qp_abi::sdk::*;
use std::time::Duration;

macro_rules! ways {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// One way to break the contract, or to try the host's patience.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Misbehaviour {
            $($(#[$doc])* $variant,)*
        }

        impl Misbehaviour {
            /// Every way.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, as a file writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

ways! {
    /// Panics when the backend is created; a setting only.
    PanicInCreate = "panic-in-create";
    /// Panics in `inspect`.
    PanicInInspect = "panic-in-inspect";
    /// Panics in `open`.
    PanicInOpen = "panic-in-open";
    /// Panics in `read_tensor`.
    PanicInRead = "panic-in-read";
    /// Panics in `run`.
    PanicInRun = "panic-in-run";
    /// Panics in `run` with a payload that is not a text.
    PanicWithNoText = "panic-with-no-text";
    /// Panics when the model is dropped.
    PanicInDrop = "panic-in-drop";
    /// Answers `inspect` with an error of an unknown kind.
    ErrorKindUnknown = "error-kind-unknown";
    /// Answers `inspect` with an error without content.
    ErrorWithoutMessage = "error-without-message";
    /// Lists a layer twice.
    DuplicateNames = "duplicate-names";
    /// Lists a layer without a name.
    EmptyName = "empty-name";
    /// Describes tensors with one byte more than their shape.
    WrongSize = "wrong-size";
    /// Lists a tensor with a negative size.
    NegativeDimension = "negative-dimension";
    /// Describes a model in a format that is not in the manifest.
    WrongFormat = "wrong-format";
    /// Delivers tensors with their last byte missing.
    ShortBytes = "short-bytes";
    /// Delivers tensors with one byte too many.
    LongBytes = "long-bytes";
    /// Delivers tensors in two pieces with a gap between them.
    Gap = "gap";
    /// Delivers every tensor twice.
    Twice = "twice";
    /// Delivers tensors under another name.
    OtherName = "other-name";
    /// Delivers tensors with another shape than described.
    OtherShape = "other-shape";
    /// Delivers nothing and reports success.
    Silent = "silent";
    /// Continues when the host rejects a tensor, and reports success.
    IgnoreRefusal = "ignore-refusal";
    /// Answers a request with something other than JSON.
    AnswerNoJson = "answer-no-json";
    /// Answers a request with JSON of another form.
    AnswerOther = "answer-other";
    /// Delivers real values as whole numbers.
    RealsAsIntegers = "reals-as-integers";
    /// Takes ten seconds for `read_tensor` and `run`, unless it is cancelled.
    Slow = "slow";
    /// The same, and does not notice when it is cancelled.
    Deaf = "deaf";
}

impl Misbehaviour {
    /// The way with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|way| way.name() == name)
    }

    /// Panics if this way was requested.
    #[expect(clippy::panic, reason = "a test of the host asked for it")]
    pub(crate) fn strikes(self, asked: Option<Self>) {
        if asked != Some(self) {
            return;
        }
        if self == Self::PanicWithNoText {
            std::panic::panic_any(7_u8);
        }
        panic!("asked to {}", self.name());
    }

    /// The errors of `inspect`.
    pub(crate) fn refuse(asked: Option<Self>) -> Result<()> {
        match asked {
            Some(Self::ErrorKindUnknown) => {
                Err(BackendError::new(ErrorKind(999), "the moon is in the wrong phase").with_help("Wait."))
            }
            Some(Self::ErrorWithoutMessage) => Err(BackendError::internal("")),
            _ => Ok(()),
        }
    }

    /// The type that real values are delivered as.
    pub(crate) fn dtype_of_reals(asked: Option<Self>) -> DType {
        if asked == Some(Self::RealsAsIntegers) { DType::INT32 } else { DType::FLOAT32 }
    }

    /// An inconsistent description.
    pub(crate) fn distort(asked: Option<Self>, mut info: ModelInfo) -> ModelInfo {
        match asked {
            Some(Self::DuplicateNames) => {
                let first = info.layers.first().cloned();
                info.layers.extend(first);
            }
            Some(Self::EmptyName) => info.layers.iter_mut().for_each(|layer| layer.path = RString::new()),
            Some(Self::WrongSize) => info.tensors.iter_mut().for_each(|tensor| tensor.bytes += 1),
            Some(Self::NegativeDimension) => {
                info.tensors.iter_mut().for_each(|tensor| tensor.shape = vec![-1].into());
            }
            Some(Self::WrongFormat) => info.format = "game".into(),
            _ => {}
        }
        info
    }

    /// The wrong answer to a request.
    pub(crate) fn answer(asked: Option<Self>) -> Option<String> {
        match asked {
            Some(Self::AnswerNoJson) => Some("no JSON".to_owned()),
            Some(Self::AnswerOther) => Some("[1, 2]".to_owned()),
            _ => None,
        }
    }

    /// Takes its time, if requested.
    pub(crate) fn dawdle(asked: Option<Self>, progress: &Progress<'_>) -> Result<()> {
        const STEPS: u64 = 2000;
        if asked == Some(Self::Deaf) {
            std::thread::sleep(Duration::from_secs(10));
        }
        if asked == Some(Self::Slow) {
            for step in 0..STEPS {
                progress.update("dawdling", step, STEPS)?;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Delivers a tensor, correctly or as requested.
    pub(crate) fn deliver(asked: Option<Self>, sink: &mut Sink<'_>, view: TensorView<'_>) -> Result<()> {
        let bytes = view.bytes.as_slice();
        match asked {
            Some(Self::ShortBytes) => {
                sink.tensor(TensorView { bytes: bytes[..bytes.len().saturating_sub(1)].into(), ..view })
            }
            Some(Self::LongBytes) => {
                let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
                sink.tensor(TensorView { bytes: longer.as_slice().into(), ..view })
            }
            Some(Self::Gap) => {
                let size = view.dtype.bits() as usize / 8;
                sink.tensor(TensorView { bytes: bytes[..size].into(), ..view })?;
                sink.tensor(TensorView { first_element: 2, bytes: bytes[2 * size..].into(), ..view })
            }
            Some(Self::Twice) => {
                sink.tensor(view)?;
                sink.tensor(view)
            }
            Some(Self::OtherName) => sink.tensor(TensorView { name: "other".into(), ..view }),
            Some(Self::OtherShape) => {
                let count = view.element_count().unwrap_or_default() as i64;
                sink.tensor(TensorView { shape: [1, 1, count].as_slice().into(), ..view })
            }
            Some(Self::Silent) => Ok(()),
            Some(Self::IgnoreRefusal) => {
                let _ = sink.tensor(view);
                Ok(())
            }
            _ => sink.tensor(view),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for way in Misbehaviour::ALL {
            assert_eq!(Misbehaviour::from_name(way.name()), Some(*way));
        }
    }
}
