//! Receives tensors from a plugin, checks each piece, and hands it on.

use super::convert;
use super::error::{Breach, breach, from_plugin};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, QuantizationParameters, TensorChunk, element_count};
use qp_abi::abi_stable::RMut;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{ROption, RResult};
use qp_abi::sink::{TensorSink, TensorSink_TO, TensorSinkMut};
use qp_abi::tensor::MOST_DIMENSIONS;
use qp_abi::{BackendError, TensorView, guard};
use std::collections::HashSet;

/// Which tensors are expected.
#[derive(Debug)]
pub(super) enum Due<'a> {
    /// These, in this order.
    Exactly(Vec<&'a str>),
    /// These, in any order.
    Each(HashSet<&'a str>),
    /// Any, each once.
    Any,
}

/// The host's end of a [`TensorSink`].
pub(super) struct Receiver<'a> {
    plugin: &'a str,
    due: Due<'a>,
    deliver: &'a mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
    finished: HashSet<String>,
    current: Option<Current>,
    failure: Option<Error>,
}

/// The tensor that is still incomplete.
struct Current {
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    total: u64,
    next_element: u64,
    quantization: Option<QuantizationParameters>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(
        plugin: &'a str,
        due: Due<'a>,
        deliver: &'a mut dyn FnMut(TensorChunk<'_>) -> Result<()>,
    ) -> Self {
        Self { plugin, due, deliver, finished: HashSet::new(), current: None, failure: None }
    }

    /// The object to pass across the boundary.
    pub(super) fn as_object(&mut self) -> TensorSinkMut<'_> {
        TensorSink_TO::from_ptr(RMut::new(self), TD_Opaque)
    }

    /// The outcome of the call that this receiver was passed to, given the plugin's `answer`: an error on this side takes
    /// precedence over what the plugin made of it.
    pub(super) fn finish<T>(self, answer: RResult<T, BackendError>) -> Result<T> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let answer = answer.into_result().map_err(|error| from_plugin(self.plugin, error))?;
        if let Some(current) = &self.current {
            let left = current.total - current.next_element;
            return Err(breach(
                self.plugin,
                &format!("it stopped {left} elements before the end of the tensor `{}`", current.name),
            ));
        }
        let missing = match &self.due {
            Due::Exactly(names) => names.get(self.finished.len()),
            Due::Each(names) => names.iter().find(|name| !self.finished.contains(**name)),
            Due::Any => None,
        };
        if let Some(missing) = missing {
            return Err(breach(self.plugin, &format!("it did not deliver the tensor `{missing}`")));
        }
        Ok(answer)
    }

    fn accept(&mut self, view: &TensorView<'_>) -> Result<()> {
        let plugin = self.plugin;
        let mut current = match self.current.take() {
            Some(current) => {
                continues(&current, view).map_err(|fault| breach(plugin, &fault))?;
                current
            }
            None => {
                if view.dtype.bits() == 0 && view.dtype != qp_abi::DType::STRING {
                    return Err(Error::new(
                        ErrorKind::UnsupportedOp,
                        format!(
                            "tensor `{}` has the element type {}, which qp cannot read",
                            view.name, view.dtype
                        ),
                    ));
                }
                // The model's file determines what it computes, whichever plugin runs it.
                if view.shape.len() > MOST_DIMENSIONS {
                    return Err(Error::new(
                        ErrorKind::UnsupportedOp,
                        format!(
                            "`{}` has {} dimensions, but qp takes at most {MOST_DIMENSIONS}",
                            view.name,
                            view.shape.len()
                        ),
                    ));
                }
                self.begin(view).map_err(|fault| breach(plugin, &fault))?
            }
        };
        let elements = piece(&current, view).map_err(|fault| breach(plugin, &fault))?;
        let first_element = current.next_element;
        current.next_element += elements;
        let is_last = current.next_element == current.total;
        (self.deliver)(TensorChunk {
            name: &current.name,
            dtype: current.dtype,
            shape: &current.shape,
            first_element,
            elements,
            is_last,
            bytes: view.bytes.as_slice(),
            quantization: current.quantization.as_ref(),
        })?;
        if is_last {
            self.finished.insert(current.name);
        } else {
            self.current = Some(current);
        }
        Ok(())
    }

    /// The first piece of a tensor.
    fn begin(&self, view: &TensorView<'_>) -> Result<Current, Breach> {
        let name = view.name.as_str();
        if name.is_empty() {
            return Err("it delivered a tensor without a name".into());
        }
        if self.finished.contains(name) {
            return Err(format!("it delivered the tensor `{name}` twice"));
        }
        let unasked = || Err(format!("it delivered the tensor `{name}`, which was not requested"));
        match &self.due {
            Due::Exactly(names) => match names.get(self.finished.len()) {
                Some(due) if *due == name => {}
                Some(due) => return Err(format!("it delivered the tensor `{name}` instead of `{due}`")),
                None => return unasked(),
            },
            Due::Each(names) if !names.contains(&name) => return unasked(),
            Due::Each(_) | Due::Any => {}
        }
        let shape = convert::shape(&format!("tensor `{name}`"), view.shape.as_slice())?;
        let total = element_count(&shape)
            .filter(|total| {
                let dtype = DType::from_code(view.dtype.0);
                dtype == DType::STRING || dtype.packed_bytes(*total).is_some()
            })
            .ok_or_else(|| format!("the shape {shape:?} of its tensor `{name}` has too many elements"))?;
        let parameters = match view.quantization {
            ROption::RSome(parameters) => Some(parameters),
            ROption::RNone => None,
        };
        Ok(Current {
            name: name.to_owned(),
            dtype: DType::from_code(view.dtype.0),
            total,
            next_element: 0,
            quantization: convert::quantization(name, Some(shape.len()), parameters)?,
            shape,
        })
    }
}

/// Whether `view` belongs to the tensor that is not complete yet.
fn continues(current: &Current, view: &TensorView<'_>) -> Result<(), Breach> {
    if view.name.as_str() != current.name {
        let left = current.total - current.next_element;
        return Err(format!(
            "it began the tensor `{}` with {left} elements of `{}` still missing",
            view.name, current.name
        ));
    }
    let has_same_shape = view.shape.len() == current.shape.len()
        && view.shape.iter().zip(&current.shape).all(|(new, old)| u64::try_from(*new) == Ok(*old));
    if view.dtype.0 != current.dtype.code() || !has_same_shape {
        return Err(format!(
            "it changed the type or the shape of the tensor `{}` between two pieces",
            view.name
        ));
    }
    Ok(())
}

/// The number of elements in this piece, which must begin where the last one ended and stay within the shape.
fn piece(current: &Current, view: &TensorView<'_>) -> Result<u64, Breach> {
    let Current { name, dtype, next_element, .. } = current;
    if view.first_element != *next_element {
        return Err(format!(
            "it continued the tensor `{name}` at element {} instead of {next_element}",
            view.first_element
        ));
    }
    let left = current.total - next_element;
    let bytes = view.bytes.len() as u64;
    if *dtype == DType::STRING {
        let elements = count_strings(view.bytes.as_slice())
            .ok_or_else(|| format!("the texts of its tensor `{name}` are not well formed"))?;
        return if elements > left || (elements == 0 && left > 0) {
            Err(format!("it delivered {elements} texts of the tensor `{name}` instead of {left}"))
        } else {
            Ok(elements)
        };
    }
    let due = dtype.packed_bytes(left).unwrap_or(u64::MAX);
    if bytes == due {
        return Ok(left);
    }
    let bits = u64::from(dtype.bits());
    let elements = bytes.saturating_mul(8) / bits;
    let is_whole = elements.checked_mul(bits) == Some(bytes * 8);
    if bytes == 0 || bytes > due || !is_whole {
        return Err(format!("it delivered {bytes} bytes of the tensor `{name}` instead of {due}"));
    }
    Ok(elements)
}

/// The number of texts in `bytes`: each its length as `u32` and then UTF-8. `None` when they are malformed.
fn count_strings(mut bytes: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        std::str::from_utf8(text).ok()?;
        count += 1;
        bytes = rest;
    }
    Some(count)
}

impl TensorSink for Receiver<'_> {
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError> {
        // Once refused, always refused, whatever the plugin does.
        if self.failure.is_none() {
            let outcome = guard::catch_in("qp", || Ok(self.accept(&view)));
            self.failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(panic) => Some(from_plugin(self.plugin, panic)),
            };
        }
        match &self.failure {
            None => RResult::ROk(()),
            Some(_) => RResult::RErr(BackendError::cancelled()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `pieces` (first element, bytes) of a tensor `w`, and how many chunks arrive.
    fn receive(dtype: qp_abi::DType, shape: &[i64], pieces: &[(u64, &[u8])]) -> (Result<()>, usize) {
        let mut chunks = 0;
        let mut deliver = |_: TensorChunk<'_>| {
            chunks += 1;
            Ok(())
        };
        let mut receiver = Receiver::new("toy", Due::Exactly(vec!["w"]), &mut deliver);
        for (first_element, bytes) in pieces {
            let view =
                TensorView { first_element: *first_element, ..TensorView::whole("w", dtype, shape, bytes) };
            let _ = receiver.tensor(view);
        }
        let outcome = receiver.finish(RResult::ROk(()));
        (outcome, chunks)
    }

    fn fault(dtype: qp_abi::DType, shape: &[i64], pieces: &[(u64, &[u8])]) -> String {
        let error = receive(dtype, shape, pieces).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        error.message().replace("plugin `toy` broke the contract: ", "")
    }

    #[test]
    fn pieces_that_join_up_arrive() {
        let (outcome, chunks) = receive(qp_abi::DType::FLOAT32, &[3], &[(0, &[0; 8]), (2, &[0; 4])]);
        assert_eq!((outcome, chunks), (Ok(()), 2));
        assert_eq!(receive(qp_abi::DType::INT4, &[5], &[(0, &[0; 1]), (2, &[0; 2])]), (Ok(()), 2));
        assert_eq!(receive(qp_abi::DType::INT8, &[0, 4], &[(0, &[])]), (Ok(()), 1));
        assert_eq!(receive(qp_abi::DType::STRING, &[2], &[(0, b"\x01\0\0\0a\0\0\0\0")]), (Ok(()), 1));
    }

    #[test]
    fn what_comes_as_it_is_computed_comes_once_and_whole() {
        let received = |names: &[&str]| {
            let mut deliver = |_: TensorChunk<'_>| Ok(());
            let mut receiver = Receiver::new("toy", Due::Each(HashSet::from(["a", "b"])), &mut deliver);
            for name in names {
                let _ = receiver.tensor(TensorView::whole(name, qp_abi::DType::INT8, &[1], &[0]));
            }
            receiver.finish(RResult::ROk(())).map_err(|error| error.message().to_owned())
        };
        assert_eq!(received(&["b", "a"]), Ok(()));
        let fault = |fault: &str| Err(format!("plugin `toy` broke the contract: {fault}"));
        assert_eq!(received(&["b"]), fault("it did not deliver the tensor `a`"));
        assert_eq!(received(&["b", "b"]), fault("it delivered the tensor `b` twice"));
        assert_eq!(received(&["c"]), fault("it delivered the tensor `c`, which was not requested"));
    }

    #[test]
    fn bytes_that_do_not_fill_the_shape_are_refused() {
        let dtype = qp_abi::DType::FLOAT32;
        assert_eq!(
            fault(dtype, &[2], &[(0, &[0; 9])]),
            "it delivered 9 bytes of the tensor `w` instead of 8"
        );
        assert_eq!(
            fault(dtype, &[2], &[(0, &[0; 6])]),
            "it delivered 6 bytes of the tensor `w` instead of 8"
        );
        assert_eq!(fault(dtype, &[2], &[(0, &[])]), "it delivered 0 bytes of the tensor `w` instead of 8");
        assert_eq!(
            fault(dtype, &[2], &[(0, &[0; 4])]),
            "it stopped 1 elements before the end of the tensor `w`"
        );
        assert_eq!(fault(dtype, &[2], &[]), "it did not deliver the tensor `w`");
    }

    #[test]
    fn pieces_with_a_gap_or_an_overlap_are_refused() {
        let dtype = qp_abi::DType::INT8;
        assert_eq!(
            fault(dtype, &[4], &[(0, &[0; 2]), (3, &[0; 1])]),
            "it continued the tensor `w` at element 3 instead of 2"
        );
        assert_eq!(fault(dtype, &[4], &[(0, &[0; 4]), (0, &[0; 4])]), "it delivered the tensor `w` twice");
    }

    #[test]
    fn a_shape_without_a_size_and_malformed_texts_are_refused() {
        assert_eq!(
            fault(qp_abi::DType::INT8, &[-1], &[(0, &[])]),
            "its tensor `w` has a negative dimension: [-1]"
        );
        assert!(fault(qp_abi::DType::INT8, &[i64::MAX, 3], &[(0, &[])]).ends_with("has too many elements"));
        assert_eq!(
            fault(qp_abi::DType::STRING, &[1], &[(0, b"\x09\0\0\0a")]),
            "the texts of its tensor `w` are not well formed"
        );
    }

    #[test]
    fn an_element_type_without_a_size_is_unsupported_and_no_breach() {
        let (outcome, _) = receive(qp_abi::DType(99), &[1], &[(0, &[0])]);
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnsupportedOp);
    }

    #[test]
    fn the_hosts_own_refusal_is_the_outcome_even_if_the_plugin_says_all_went_well() {
        let mut deliver = |_: TensorChunk<'_>| Err(Error::invalid_input("enough"));
        let mut receiver = Receiver::new("toy", Due::Any, &mut deliver);
        let _ = receiver.tensor(TensorView::whole("w", qp_abi::DType::INT8, &[1], &[0]));
        assert_eq!(receiver.finish(RResult::ROk(())), Err(Error::invalid_input("enough")));
    }

    #[test]
    fn a_panic_of_the_hosts_receiver_does_not_cross() {
        let mut deliver = |_: TensorChunk<'_>| panic!("mine");
        let mut receiver = Receiver::new("toy", Due::Any, &mut deliver);
        let answer = receiver.tensor(TensorView::whole("w", qp_abi::DType::INT8, &[1], &[0]));
        assert!(answer.is_err());
        assert_eq!(receiver.finish(RResult::ROk(())).unwrap_err().kind(), ErrorKind::Internal);
    }
}
