//! What a model computes on samples, value by value.

use crate::backend::{Fetch, Progress, Session, Spare};
use crate::capture::ahead::fitted_ahead;
use crate::capture::side::{BUDGET_OPTION, OnlyCancel};
use crate::capture::{Feed, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::model::Tensor;
use qp_analysis::ElementType;
use std::collections::HashSet;

/// Memory for captured values.
const BUDGET: u64 = 128 << 20;

/// What passes by.
pub(super) enum Seen<'t> {
    /// A value of the batch.
    Value(&'t Tensor),
    /// All of the batch has passed.
    EndOfBatch,
}

/// What passed by in all.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) samples: u64,
    /// The runtime, with its version.
    pub(super) runtime: Option<(String, String)>,
}

/// Passes on the values with these names, batch by batch; inputs of the model may be among them. `session` is the model of
/// `side` or an edited form of it.
///
/// # Errors
/// Those of running the model and of `receive`; `Cancelled`.
pub(super) fn each_value(
    session: &Session,
    (side, feed): (&Side<'_>, Feed<'_>),
    (names, stage): (&[String], &str),
    receive: &mut dyn FnMut(Seen<'_>) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Passed> {
    let info = session.info();
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let inputs: HashSet<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
    let computed = names.iter().filter(|name| !inputs.contains(name.as_str())).cloned().collect();
    let mut settings = side.options.clone();
    if session.plugin().has_feature(BUDGET_OPTION) {
        settings.insert(BUDGET_OPTION.to_owned(), BUDGET.to_string());
    }
    let (fetch, spare) = (Fetch::Named(computed), Spare::default());
    let batches = feed.batches(&[side])?;
    let total = batches.samples();
    let mut passed = Passed::default();
    let fit = |batch: &Input| Ok(batch.fit(info, side.sibling.as_ref())?.tensors);
    fitted_ahead(batches, &fit, &mut |count, fitted: Vec<Tensor>| {
        progress.update(stage, passed.samples, total);
        let given = fitted.iter().filter(|tensor| wanted.contains(tensor.name.as_str()));
        given.map(Seen::Value).try_for_each(&mut *receive)?;
        let mut take = |tensor: Tensor| {
            receive(Seen::Value(&tensor))?;
            spare.give(tensor.bytes);
            Ok(())
        };
        let only_cancel = OnlyCancel(progress);
        let outcome = session.run_each(&fitted, &fetch, &settings, (&spare, &mut take), &only_cancel);
        if progress.is_cancelled() {
            return Err(Error::cancelled());
        }
        let report = outcome?;
        passed.runtime = Some((report.runtime, report.runtime_version));
        passed.samples += count;
        receive(Seen::EndOfBatch)
    })?;
    Ok(passed)
}

/// The numbers of a tensor of real numbers.
pub(super) fn reals<'a>(tensor: &Tensor, numbers: &'a mut Vec<f32>) -> Result<&'a [f32]> {
    numbers.clear();
    match tensor.dtype.element_type() {
        Some(ElementType::Float32) => {
            numbers.extend(tensor.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Some(half @ (ElementType::Float16 | ElementType::BFloat16)) => {
            let count = half.elements_in(tensor.bytes.len());
            half.for_each_block(&tensor.bytes, count, |block| {
                numbers.extend(block.iter().map(|number| *number as f32));
            });
        }
        _ => {
            return Err(Error::new(
                ErrorKind::UnsupportedOp,
                format!("`{}` holds {}, which is not quantized", tensor.name, tensor.dtype),
            ));
        }
    }
    Ok(numbers)
}
