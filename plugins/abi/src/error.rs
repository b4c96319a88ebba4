//! The one error type of the boundary: a kind, a message, causes and a next step.

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec};
use std::fmt;

/// What went wrong, as a class that the host can act on.
///
/// An open set: a kind that the host does not know is shown as `Internal`, and is no fault of its own.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorKind(pub u16);

impl ErrorKind {
    /// A file, a tensor, a layer or an output that does not exist.
    pub const NOT_FOUND: Self = Self(1);
    /// The file is of no format, or of no version of one, that this backend reads.
    pub const UNSUPPORTED_FORMAT: Self = Self(2);
    /// The format is known, but this operator, operation or request is not.
    pub const UNSUPPORTED_OP: Self = Self(3);
    /// The file contradicts itself or its format: truncated, overlapping, out of bounds.
    pub const CORRUPT_FILE: Self = Self(4);
    /// Reading the file the usual way would execute something it brings along, or leave its folder.
    pub const UNSAFE_FILE: Self = Self(5);
    /// The native runtime is not on this machine.
    pub const RUNTIME_MISSING: Self = Self(6);
    /// The native runtime refused or failed.
    pub const RUNTIME_FAILED: Self = Self(7);
    /// What the caller passed does not fit: a shape, a dtype, a name, an option.
    pub const INVALID_INPUT: Self = Self(8);
    /// The host asked to stop, through [`Progress`](crate::sink::Progress) or a sink.
    pub const CANCELLED: Self = Self(9);
    /// A defect of the plugin; a caught panic is one.
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

/// Why a backend could not do what it was asked.
///
/// `message` is a lower-case fragment with names in backticks and no full stop; `help` is one imperative
/// sentence or empty; `causes` go from the nearest to the deepest; `detail` is the raw text of a runtime or
/// a panic, which the host shows only when asked to be verbose.
#[repr(C)]
#[derive(StableAbi, Clone, PartialEq, Eq)]
pub struct BackendError {
    /// The class of the error.
    pub kind: ErrorKind,
    /// What failed, in one line.
    pub message: RString,
    /// The errors beneath, nearest first.
    pub causes: RVec<RString>,
    /// What the user can do next; empty when there is nothing to say.
    pub help: RString,
    /// Raw text for `--verbose`; may have many lines; empty when there is none.
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
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: RString::from(message.into()),
            causes: RVec::new(),
            help: RString::new(),
            detail: RString::new(),
        }
    }

    /// The same error with a message that is one line of a bearable length, whatever names of a file are in it.
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

    /// The answer to a host that asked to stop.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::CANCELLED, "cancelled")
    }

    /// An error of the operating system on `path`: its kind decides between `NotFound` and `Io`.
    pub fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NOT_FOUND,
            _ => ErrorKind::IO,
        };
        Self::new(kind, format!("cannot read `{}`", path.display())).with_cause(error.to_string())
    }

    /// The same error with one more cause, deeper than those it has.
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
