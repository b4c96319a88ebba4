//! Whether a valid file is read as the contract says.

use super::Suite;
use super::tools::{
    Delivered, Outcome, PATIENCE, breach, cancelled as cancelled_progress, collect, expect_error,
    indifferent, inspect, location, open, skip,
};
use crate::backend::ModelBox;
use crate::dtype::DType;
use crate::error::{BackendError, ErrorKind};
use crate::model::ModelInfo;
use crate::sdk::READ_REAL;
use crate::sink::{FnSink, TensorSink_TO};
use crate::tensor::{TensorView, element_count};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSome};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// Tensors of one model are read up to this many bytes in all, the smallest first.
const MOST_BYTES: u64 = 64 << 20;

pub(super) fn formats_agree(suite: &Suite<'_>, path: &Path) -> Outcome {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4096).read_to_end(&mut head))
        .map_err(|error| format!("the sample cannot be read: {error}"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let probed = suite.backend.probe(head.as_slice().into(), name.into()).into_result();
    let probed = match probed.map_err(|error| format!("probe: {error:?}"))? {
        RSome(format) => format,
        ROption::RNone => return breach("probe does not recognize the file"),
    };
    let inspected = inspect(suite.backend, path)?.format;
    let opened = info(&open(suite.backend, path)?)?.format;
    if probed == inspected && inspected == opened {
        Ok(())
    } else {
        breach(format!("probe says `{probed}`, inspect `{inspected}`, open `{opened}`"))
    }
}

pub(super) fn descriptions_agree(suite: &Suite<'_>, path: &Path) -> Outcome {
    let first = inspect(suite.backend, path)?;
    same(&first, &inspect(suite.backend, path)?, "the second inspection")?;
    same(&first, &info(&open(suite.backend, path)?)?, "the open model")
}

/// Compares the printed forms, in which NaN equals NaN.
fn same(first: &ModelInfo, second: &ModelInfo, who: &str) -> Outcome {
    if first == second || format!("{first:?}") == format!("{second:?}") {
        Ok(())
    } else {
        breach(format!("{who} differs from the first inspection"))
    }
}

fn info(model: &ModelBox) -> Outcome<ModelInfo> {
    Ok(model.info().into_result().map_err(|error| format!("info: {error:?}"))?)
}

/// One stored tensor, whole.
fn read(model: &ModelBox, name: &str) -> Outcome<Delivered> {
    let ((), mut delivered) = collect(|sink| model.read_tensor(name.into(), sink, indifferent().as_ref()))?;
    match (delivered.pop(), delivered.len()) {
        (Some(tensor), 0) if tensor.name == name => Ok(tensor),
        (last, others) => {
            let last = last.map(|tensor| tensor.name).unwrap_or_default();
            breach(format!("`{name}` was requested, but `{last}` and {others} others arrived"))
        }
    }
}

pub(super) fn tensors_come_whole(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    let info = info(&model)?;
    let mut tensors: Vec<_> = info.tensors.iter().filter(|tensor| tensor.dtype.bits() > 0).collect();
    tensors.sort_by_key(|tensor| tensor.bytes);
    let mut left = MOST_BYTES;
    for tensor in tensors {
        if tensor.bytes > left {
            break;
        }
        left -= tensor.bytes;
        let first = read(&model, &tensor.name)?;
        if first.dtype != tensor.dtype || first.shape != tensor.shape.as_slice() {
            return breach(format!(
                "`{}` is described as {} {:?} but arrives as {} {:?}",
                tensor.name, tensor.dtype, tensor.shape, first.dtype, first.shape
            ));
        }
        if first != read(&model, &tensor.name)? {
            return breach(format!("`{}` has different bytes the second time", tensor.name));
        }
    }
    Ok(())
}

/// The real values of a stored tensor, whole; `None` if the backend does not know its type.
fn read_real(model: &ModelBox, name: &str) -> Outcome<Option<Delivered>> {
    let payload = format!(r#"{{"tensor": {}}}"#, quoted(name));
    let (answer, mut delivered) = collect(|sink| {
        let answer = model.request(READ_REAL.into(), payload.as_str().into(), sink, indifferent().as_ref());
        match answer.into_result() {
            Err(error) if error.kind == ErrorKind::UNSUPPORTED_OP => RResult::ROk(None),
            answer => answer.map(Some).into(),
        }
    })?;
    match (answer, delivered.pop(), delivered.len()) {
        (None, None, 0) => Ok(None),
        (Some(_), Some(tensor), 0) if tensor.name == name => Ok(Some(tensor)),
        _ => breach(format!("the real values of `{name}` were requested, but something else arrived")),
    }
}

/// A text as in JSON.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        _ if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

pub(super) fn real_values_come(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    let ask = |name: &str| {
        let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
        let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
        let payload = format!(r#"{{"tensor": {}}}"#, quoted(name));
        model.request(READ_REAL.into(), payload.as_str().into(), sink, indifferent().as_ref())
    };
    if !suite.manifest.features.iter().any(|feature| feature == "read-real") {
        return expect_error(ask("no such tensor"), &[ErrorKind::UNSUPPORTED_OP]);
    }
    expect_error(ask("no such tensor"), &[ErrorKind::NOT_FOUND])?;
    let mut left = MOST_BYTES;
    for tensor in info(&model)?.tensors.iter().filter(|tensor| !tensor.type_name.is_empty()) {
        let bytes = element_count(&tensor.shape).and_then(|count| DType::FLOAT32.packed_bytes(count));
        let Some(rest) = bytes.and_then(|bytes| left.checked_sub(bytes)) else { continue };
        left = rest;
        let Some(first) = read_real(&model, &tensor.name)? else { continue };
        if first.dtype != DType::FLOAT32 || first.shape != tensor.shape.as_slice() {
            return breach(format!(
                "the real values of `{}`, which is {:?}, arrive as {} {:?}",
                tensor.name, tensor.shape, first.dtype, first.shape
            ));
        }
        if read_real(&model, &tensor.name)? != Some(first) {
            return breach(format!("`{}` has different real values the second time", tensor.name));
        }
    }
    Ok(())
}

pub(super) fn unknown_tensor(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    for name in ["no such tensor", ""] {
        let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
        let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
        expect_error(model.read_tensor(name.into(), sink, indifferent().as_ref()), &[ErrorKind::NOT_FOUND])?;
    }
    Ok(())
}

/// The name of a tensor to try things on.
fn some_tensor(info: &ModelInfo) -> Outcome<&str> {
    let tensor = info.tensors.iter().find(|tensor| tensor.dtype.bits() > 0 && tensor.bytes > 0);
    tensor.map_or_else(|| skip("it stores no tensors"), |tensor| Ok(tensor.name.as_str()))
}

pub(super) fn refusal_comes_back(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    let info = info(&model)?;
    let refusal = BackendError::new(ErrorKind::CANCELLED, "the host has seen enough");
    let mut calls = 0;
    let mut sink = FnSink(|_: TensorView<'_>| {
        calls += 1;
        Err(refusal.clone())
    });
    let sink_object = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
    let answer = model.read_tensor(some_tensor(&info)?.into(), sink_object, indifferent().as_ref());
    if calls != 1 {
        return breach(format!("the sink was called {calls} times"));
    }
    match answer {
        RResult::RErr(error) if error == refusal => Ok(()),
        RResult::RErr(error) => breach(format!("{error:?} was returned")),
        RResult::ROk(()) => breach("the read succeeded anyway"),
    }
}

pub(super) fn threads_read(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    let first_info = info(&model)?;
    let name = some_tensor(&first_info)?;
    let first = read(&model, name)?;
    let attempt = || -> Outcome {
        for _ in 0..8 {
            if read(&model, name)? != first {
                return breach(format!("a thread got different bytes of `{name}`"));
            }
            same(&first_info, &info(&model)?, "another thread")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| breach("a thread panicked in the check")))
    })
}

pub(super) fn cancelled(suite: &Suite<'_>, path: &Path) -> Outcome {
    let stop = cancelled_progress();
    let none = || [][..].into();
    let location = location(path)?;
    let start = Instant::now();
    ended("inspect", start, suite.backend.inspect(location.into(), none(), stop.as_ref()))?;
    let start = Instant::now();
    ended("open", start, suite.backend.open(location.into(), none(), stop.as_ref()))?;
    let model = open(suite.backend, path)?;
    let info = info(&model)?;
    let Ok(name) = some_tensor(&info) else { return Ok(()) };
    let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
    let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
    let start = Instant::now();
    ended("read_tensor", start, model.read_tensor(name.into(), sink, stop.as_ref()))
}

/// Cancelled work must report that, or finish at once.
fn ended<T>(what: &str, start: Instant, answer: RResult<T, BackendError>) -> Outcome {
    match answer.into_result() {
        Err(error) if error.kind == ErrorKind::CANCELLED => Ok(()),
        Err(error) => breach(format!("{what}: {error:?}")),
        Ok(_) if start.elapsed() <= PATIENCE => Ok(()),
        Ok(_) => breach(format!("{what} went on for {} ms", start.elapsed().as_millis())),
    }
}

pub(super) fn unknown_request(suite: &Suite<'_>, path: &Path) -> Outcome {
    let model = open(suite.backend, path)?;
    let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
    let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
    let answer = model.request("no-such-feature/1".into(), "{}".into(), sink, indifferent().as_ref());
    expect_error(answer, &[ErrorKind::UNSUPPORTED_OP])
}
