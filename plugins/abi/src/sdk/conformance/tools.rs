//! What the checks share: calling a backend as a host does, and judging its answers.

use crate::backend::{BackendBox, ModelBox};
use crate::dtype::DType;
use crate::error::{BackendError, ErrorKind};
use crate::model::ModelInfo;
use crate::sink::{FnProgress, FnSink, Progress_TO, ProgressBox, TensorSink_TO};
use crate::tensor::{TensorView, element_count};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RStr};
use std::path::Path;
use std::time::Duration;

/// The outcome of trying a claim.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Why a claim is not known to hold.
#[derive(Debug)]
pub(super) enum Failure {
    /// It does not hold.
    Breach(String),
    /// It cannot be tried here.
    CannotTry(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Breach(reason)
    }
}

/// A violation of the contract.
pub(super) fn breach<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Failure::Breach(reason.into()))
}

/// The end of a claim that cannot be tried.
pub(super) fn skip<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Failure::CannotTry(reason.into()))
}

/// A progress that ignores its updates.
pub(super) struct Held(ProgressBox);

impl Held {
    /// The object to pass to a backend.
    pub(super) fn as_ref(&self) -> crate::sink::ProgressRef<'_> {
        self.0.sabi_reborrow()
    }
}

/// Never cancels.
pub(super) fn indifferent() -> Held {
    Held(Progress_TO::from_value(FnProgress(|_: &str, _, _| false), TD_Opaque))
}

/// Is cancelled from the beginning.
pub(super) fn cancelled() -> Held {
    Held(Progress_TO::from_value(FnProgress(|_: &str, _, _| true), TD_Opaque))
}

/// How long cancelled work may take if it does not report that: the contract's limit, plus some for a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// A path as backends take it.
pub(super) fn location(path: &Path) -> Outcome<&str> {
    path.to_str().map_or_else(|| skip(format!("the path {} is not UTF-8", path.display())), Ok)
}

/// The inspection of a valid file.
pub(super) fn inspect(backend: &BackendBox, path: &Path) -> Outcome<ModelInfo> {
    let answer = backend.inspect(RStr::from_str(location(path)?), [][..].into(), indifferent().as_ref());
    answer.into_result().map_err(|error| Failure::Breach(format!("inspect: {error:?}")))
}

/// A valid file, open.
pub(super) fn open(backend: &BackendBox, path: &Path) -> Outcome<ModelBox> {
    let answer = backend.open(RStr::from_str(location(path)?), [][..].into(), indifferent().as_ref());
    answer.into_result().map_err(|error| Failure::Breach(format!("open: {error:?}")))
}

/// The answer must be an error of one of these kinds, and a well-formed one.
pub(super) fn expect_error<T>(answer: RResult<T, BackendError>, kinds: &[ErrorKind]) -> Outcome {
    match answer.into_result() {
        Ok(_) => breach(format!("it succeeded instead of failing with {kinds:?}")),
        Err(error) => {
            well_formed(&error)?;
            if kinds.contains(&error.kind) {
                Ok(())
            } else {
                breach(format!("{error:?} instead of {kinds:?}"))
            }
        }
    }
}

/// A message is one non-empty line, and not a full sentence.
pub(super) fn well_formed(error: &BackendError) -> Outcome {
    let message = error.message.as_str();
    if message.trim().is_empty() || message.contains('\n') || message.ends_with('.') {
        return breach(format!("the message `{message}` is empty, has a line break or a full stop"));
    }
    Ok(())
}

/// What was delivered of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivered {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<i64>,
    pub(super) bytes: Vec<u8>,
    next_element: u64,
}

impl Delivered {
    /// Whether all of it has arrived.
    fn is_whole(&self) -> bool {
        element_count(&self.shape) == Some(self.next_element)
    }
}

/// Collects the tensors that `call` delivers, checking each piece; returns them with the answer of `call`.
pub(super) fn collect<T>(
    call: impl FnOnce(crate::sink::TensorSinkMut<'_>) -> RResult<T, BackendError>,
) -> Outcome<(T, Vec<Delivered>)> {
    let mut delivered: Vec<Delivered> = Vec::new();
    let mut fault: Option<String> = None;
    let mut sink = FnSink(|view: TensorView<'_>| match add(&mut delivered, &view) {
        Ok(()) => Ok(()),
        Err(why) => {
            fault.get_or_insert(why);
            Err(BackendError::cancelled())
        }
    });
    let answer = call(TensorSink_TO::from_ptr(&mut sink, TD_Opaque)).into_result();
    if let Some(fault) = fault {
        return breach(fault);
    }
    let answer = answer.map_err(|error| Failure::Breach(format!("{error:?}")))?;
    match delivered.iter().find(|tensor| !tensor.is_whole()) {
        Some(part) => breach(format!("the tensor `{}` ends early", part.name)),
        None => Ok((answer, delivered)),
    }
}

fn add(delivered: &mut Vec<Delivered>, view: &TensorView<'_>) -> Result<(), String> {
    let name = view.name.as_str();
    if name.is_empty() {
        return Err("a tensor without a name was delivered".into());
    }
    let Some(total) = view.element_count() else {
        return Err(format!("the tensor `{name}` has the shape {:?}", view.shape.as_slice()));
    };
    let is_next = delivered.last().is_some_and(|last| last.name == name && !last.is_whole());
    if !is_next {
        if delivered.iter().any(|tensor| tensor.name == name) {
            return Err(format!("the tensor `{name}` was delivered twice"));
        }
        delivered.push(Delivered {
            name: name.to_owned(),
            dtype: view.dtype,
            shape: view.shape.to_vec(),
            bytes: Vec::new(),
            next_element: 0,
        });
    }
    let Some(tensor) = delivered.last_mut() else { return Ok(()) };
    if tensor.dtype != view.dtype || tensor.shape != view.shape.as_slice() {
        return Err(format!("the tensor `{name}` changes its type or shape between two pieces"));
    }
    if tensor.next_element != view.first_element {
        return Err(format!(
            "the tensor `{name}` continues at element {} instead of {}",
            view.first_element, tensor.next_element
        ));
    }
    let left = total - tensor.next_element;
    let bytes = view.bytes.len() as u64;
    let elements = match (view.dtype.packed_bytes(left), u64::from(view.dtype.bits())) {
        // Texts and unknown types have no fixed size: they arrive in one piece.
        (None, _) | (_, 0) => left,
        (Some(due), _) if bytes == due => left,
        (Some(due), bits) if bytes > 0 && bytes < due && (bytes * 8).is_multiple_of(bits) => bytes * 8 / bits,
        (Some(due), _) => return Err(format!("{bytes} bytes of the tensor `{name}` instead of {due}")),
    };
    tensor.next_element += elements;
    tensor.bytes.extend_from_slice(view.bytes.as_slice());
    Ok(())
}
