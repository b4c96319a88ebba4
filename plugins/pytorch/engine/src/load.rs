//! Loads a TorchScript archive as a module.

use crate::error::{failed, not_loaded};
use crate::shim::{self, Module, Parsed, Stop};
use qp_abi::sdk::{BackendError, Progress, Result};
use qp_pytorch_contract::nesting::{self, Sources};
use std::ops::ControlFlow;

/// The stack of libtorch's parser and compiler. They take some 3 KiB per level, and the limits of `nesting` allow
/// 60,000: an expression in blocks in each of a chain of functions. Only what is used takes up memory.
const STACK_BYTES: usize = 512 << 20;

/// Loads the archive at `path`.
///
/// # Errors
/// `UnsafeFile` for a malicious file, `Cancelled`, and those of libtorch.
pub(crate) fn load(path: &str, progress: &Progress<'_>) -> Result<Module> {
    let lost = |error: std::io::Error| {
        BackendError::internal("cannot create a thread for loading").with_cause(error.to_string())
    };
    std::thread::scope(|scope| {
        let loading = std::thread::Builder::new()
            .name("qp-load".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                shim::silence();
                // Set for each thread: functions are inlined as written, not as libtorch would rewrite them.
                tch::jit::f_set_graph_executor_optimize(false)
                    .map_err(|error| failed("libtorch could not be set up", error))?;
                tch::no_grad(|| load_here(path, progress))
            });
        let done = loading.map_err(lost)?.join();
        done.unwrap_or_else(|_| Err(BackendError::internal("loading panicked")))
    })
}

fn load_here(path: &str, progress: &Progress<'_>) -> Result<Module> {
    let mut sources = Sources::default();
    let mut fault = None;
    let mut look = |parsed: Parsed<'_>| {
        let found = match parsed {
            Parsed::Source(name, bytes) => sources.read(name, bytes),
            Parsed::Pickle(name, bytes) => nesting::check_pickle(name, bytes),
            Parsed::End => sources.finish(),
        };
        let cancelled = || progress.update("loading into libtorch", 0, 0).err();
        let found =
            found.err().map(|message| BackendError::unsafe_file(message).with_help("Do not run this file."));
        fault = found.or_else(cancelled);
        if fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut cancelled = None;
    let mut is_alive = || match progress.update("loading into libtorch", 0, 0) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            cancelled = Some(error);
            ControlFlow::Break(())
        }
    };
    let loaded = Module::load(path, &mut look, &mut is_alive);
    loaded.map_err(|stop| match stop {
        Stop::Failed(text) => not_loaded(path, text),
        Stop::Panicked(error) => error,
        Stop::Stopped => {
            fault.or(cancelled).unwrap_or_else(|| BackendError::internal("loading stopped without a reason"))
        }
    })
}
