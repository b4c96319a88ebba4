//! Keeps a panic on its own side of the boundary.
//!
//! A panic that leaves an `extern "C"` function ends the process, whatever the caller does. Every entry into a
//! plugin, and every call of the host's sink from a plugin, therefore runs under [`catch`].

use crate::error::BackendError;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a plugin's `work`; a panic becomes an `Internal` error that says where it happened. Nothing is printed.
pub fn catch<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_in("the plugin", work)
}

/// Like [`catch`], for a panic in `whose` code.
pub fn catch_in<T>(whose: &str, work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    install_hook();
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    // State that `work` leaves half changed is behind its own locks, which a panic poisons.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    let outcome = outcome.map(|result| result.map_err(BackendError::one_line));
    outcome.unwrap_or_else(|payload| {
        let place = LAST_PANIC.with(|last| last.borrow_mut().take());
        let text = payload_text(payload.as_ref());
        // Dropping a hostile payload may panic again.
        std::mem::forget(payload);
        let error = BackendError::internal(format!("{whose} panicked: {text}")).with_help(format!(
            "Report this to the author of {whose}; the session goes on without this result."
        ));
        Err(match place {
            Some(place) => error.with_detail(place),
            None => error,
        })
    })
}

/// Runs `work` for its side effect, as in a destructor; a panic is swallowed.
pub fn quietly(work: impl FnOnce()) {
    let _ = catch(|| {
        work();
        Ok(())
    });
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    text.lines().next().unwrap_or_default().to_owned()
}

/// Each library has its own copy of the standard library and therefore its own panic hook: this one keeps the report
/// of a guarded panic for the error, and passes all others to the previous hook.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.with(Cell::get) == 0 {
                return previous(info);
            }
            let backtrace = std::backtrace::Backtrace::capture();
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(format!("{info}\n{backtrace}")));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_becomes_an_internal_error_that_names_it() {
        let error = catch::<()>(|| panic!("scale of `conv1` is {}", 0)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::INTERNAL);
        assert_eq!(error.message, "the plugin panicked: scale of `conv1` is 0");
        assert!(error.detail.contains("guard.rs"), "{}", error.detail);
    }

    #[test]
    fn a_payload_that_is_no_text_is_caught_too() {
        let error = catch::<()>(|| std::panic::panic_any(7_u8)).unwrap_err();
        assert_eq!(error.message, "the plugin panicked: no message");
    }

    #[test]
    fn guards_nest() {
        let outer = catch(|| {
            let inner = catch::<()>(|| panic!("inner"));
            assert!(inner.is_err());
            Ok(5)
        });
        assert_eq!(outer.ok(), Some(5));
    }
}
