//! The boundary's only error type: a kind, a message, causes and a next step.

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec};
use std::fmt;

/// What went wrong, as a category that the host can act on.
///
/// An open set: the host shows an unknown kind as `Internal`; that is not a violation of the contract.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorKind(pub u16);

impl ErrorKind {
    /// A file, a tensor, a layer or an output that does not exist.
    pub const NOT_FOUND: Self = Self(1);
    /// No format that this backend reads, or no supported version of one.
    pub const UNSUPPORTED_FORMAT: Self = Self(2);
    /// The format is supported, but this operator, operation or request is not.
    pub const UNSUPPORTED_OP: Self = Self(3);
    /// The file contradicts itself or its format: truncated, overlapping, out of bounds.
    pub const CORRUPT_FILE: Self = Self(4);
    /// Reading the file the usual way would execute code that it contains, or leave its folder.
    pub const UNSAFE_FILE: Self = Self(5);
    /// The native runtime is missing on this machine.
    pub const RUNTIME_MISSING: Self = Self(6);
    /// The native runtime refused or failed.
    pub const RUNTIME_FAILED: Self = Self(7);
    /// The caller passed something that does not fit: a shape, a dtype, a name, an option.
    pub const INVALID_INPUT: Self = Self(8);
    /// The host asked to stop, through [`Progress`](crate::sink::Progress) or a sink.
    pub const CANCELLED: Self = Self(9);
    /// A bug in the plugin; includes caught panics.
    pub const INTERNAL: Self = Self(10);
    /// The operating system refused: permissions, a full disk, a failed read.
    pub const IO: Self = Self(11);

    /// The kind's name as the host prints it, for example `CorruptFile`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NOT_FOUND => "NotFound",
            Self::UNSUPPORTED_FORMAT => "UnsupportedFormat",
            Self::UNSUPPORTED_OP => "UnsupportedOp",
            Self::CORRUPT_FILE => "CorruptFile",
            Self::UNSAFE_FILE => "UnsafeFile",
            Self::RUNTIME_MISSING => "RuntimeMissing",
            Self::RUNTIME_FAILED => "RuntimeFailed",
            Self::INVALID_INPUT => "InvalidInput",
            Self::CANCELLED => "Cancelled",
            Self::IO => "Io",
            _ => "Internal",
        }
    }
}

impl fmt::Debug for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a backend could not do what was requested.
///
/// `message` is a lower-case fragment with names in backticks and no full stop; `help` is one imperative sentence or
/// empty; `causes` go from the nearest to the deepest; `detail` is the raw text of a runtime or a panic, which the
/// host shows only in verbose mode.
#[repr(C)]
#[derive(StableAbi, Clone, PartialEq, Eq)]
pub struct BackendError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// What failed, in one line.
    pub message: RString,
    /// The underlying errors, nearest first.
    pub causes: RVec<RString>,
    /// What the user can do next; empty if there is nothing to suggest.
    pub help: RString,
    /// Raw text for `--verbose`; may have many lines; empty if there is none.
    pub detail: RString,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl BackendError {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
        }
    };
}

constructors! {
    /// An [`ErrorKind::NOT_FOUND`].
    not_found => NOT_FOUND;
    /// An [`ErrorKind::UNSUPPORTED_FORMAT`].
    unsupported_format => UNSUPPORTED_FORMAT;
    /// An [`ErrorKind::UNSUPPORTED_OP`].
    unsupported_op => UNSUPPORTED_OP;
    /// An [`ErrorKind::CORRUPT_FILE`].
    corrupt_file => CORRUPT_FILE;
    /// An [`ErrorKind::UNSAFE_FILE`].
    unsafe_file => UNSAFE_FILE;
    /// An [`ErrorKind::RUNTIME_MISSING`].
    runtime_missing => RUNTIME_MISSING;
    /// An [`ErrorKind::RUNTIME_FAILED`].
    runtime_failed => RUNTIME_FAILED;
    /// An [`ErrorKind::INVALID_INPUT`].
    invalid_input => INVALID_INPUT;
    /// An [`ErrorKind::INTERNAL`].
    internal => INTERNAL;
}

impl BackendError {
    /// An error of `kind` with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: RString::from(message.into()),
            causes: RVec::new(),
            help: RString::new(),
            detail: RString::new(),
        }
    }

    /// The same error with its message on one line of a readable length, whatever names from a file it contains.
    #[must_use]
    pub fn one_line(self) -> Self {
        const MAX_CHARACTERS: usize = 500;
        let has_control = self.message.chars().any(char::is_control);
        if !has_control && self.message.len() <= MAX_CHARACTERS {
            return self;
        }
        let printable = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        let message: String = self.message.chars().take(MAX_CHARACTERS).map(printable).collect();
        Self { message: message.into(), ..self }
    }

    /// The error to return when the host asked to stop.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::CANCELLED, "cancelled")
    }

    /// An operating system error on `path`: its kind decides between `NotFound` and `Io`.
    pub fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NOT_FOUND,
            _ => ErrorKind::IO,
        };
        Self::new(kind, format!("cannot read `{}`", path.display())).with_cause(error.to_string())
    }

    /// The same error with one more cause, deeper than the existing ones.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(RString::from(cause.into()));
        self
    }

    /// The same error with a next step for the user.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = RString::from(help.into());
        self
    }

    /// The same error with raw text for `--verbose`.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = RString::from(detail.into());
        self
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, "; {cause}"))
    }
}

impl std::error::Error for BackendError {}

/// Why the system's loader refuses a library, or a symbol of it: the innermost source of the error, which says the reason where
/// the error itself says only that the loader failed; without the library's own name before it.
pub fn loader_reason(error: &dyn std::error::Error, library: &std::path::Path) -> String {
    let reason =
        std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string();
    let own_name = format!("{}: ", library.display());
    reason.strip_prefix(&own_name).unwrap_or(&reason).to_owned()
}
