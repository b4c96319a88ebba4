//! The host's only error type: a kind, a message, causes, hints, and where in the line it happened.

use crate::spelling::nearest;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A result with the host's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An invalid line: unknown command, missing argument, bad quoting.
    Usage,
    /// A file, folder, model, layer or tensor that does not exist.
    NotFound,
    /// A name that matches several things.
    Ambiguous,
    /// No backend reads this format.
    UnsupportedFormat,
    /// The format is supported, but this part of it is not.
    UnsupportedOp,
    /// A file that contradicts itself or its format.
    CorruptFile,
    /// A file that would leave its folder, or execute code that it contains.
    UnsafeFile,
    /// A native library that is missing on this machine.
    RuntimeMissing,
    /// A native library that refused or failed.
    RuntimeFailed,
    /// An unsuitable value: shape, dtype, number.
    InvalidInput,
    /// A library that is not a usable plugin.
    Plugin,
    /// The operating system refused.
    Io,
    /// The session is not ready for this: nothing opened, no model chosen, no input.
    State,
    /// An `assert` that failed.
    Assertion,
    /// Stopped by the user.
    Cancelled,
    /// A bug in qp or in a plugin.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Usage,
        Self::NotFound,
        Self::Ambiguous,
        Self::UnsupportedFormat,
        Self::UnsupportedOp,
        Self::CorruptFile,
        Self::UnsafeFile,
        Self::RuntimeMissing,
        Self::RuntimeFailed,
        Self::InvalidInput,
        Self::Plugin,
        Self::Io,
        Self::State,
        Self::Assertion,
        Self::Cancelled,
        Self::Internal,
    ];

    /// Its name, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::NotFound => "NotFound",
            Self::Ambiguous => "Ambiguous",
            Self::UnsupportedFormat => "UnsupportedFormat",
            Self::UnsupportedOp => "UnsupportedOp",
            Self::CorruptFile => "CorruptFile",
            Self::UnsafeFile => "UnsafeFile",
            Self::RuntimeMissing => "RuntimeMissing",
            Self::RuntimeFailed => "RuntimeFailed",
            Self::InvalidInput => "InvalidInput",
            Self::Plugin => "Plugin",
            Self::Io => "Io",
            Self::State => "State",
            Self::Assertion => "Assertion",
            Self::Cancelled => "Cancelled",
            Self::Internal => "Internal",
        }
    }

    /// The kind with this name.
    ///
    /// # Errors
    /// `Usage`, with the names.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Error::usage(format!("unknown kind of error `{name}`")).with_nearest(
                name,
                names.iter().copied(),
                || format!("Kinds are {}.", names.join(", ")),
            )
        })
    }

    /// The exit code of a process that ends with this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => exit_code::USAGE,
            Self::Assertion => exit_code::ASSERTION,
            Self::Cancelled => exit_code::INTERRUPTED,
            _ => exit_code::FAILED,
        }
    }
}

/// As its name.
impl serde::Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The exit codes of `qp run` and `qp -c`.
pub mod exit_code {
    /// Everything succeeded.
    pub const DONE: u8 = 0;
    /// A command failed.
    pub const FAILED: u8 = 1;
    /// The arguments or a line were invalid.
    pub const USAGE: u8 = 2;
    /// An assertion failed.
    pub const ASSERTION: u8 = 3;
    /// Stopped by Ctrl-C.
    pub const INTERRUPTED: u8 = 130;

    /// The exit code of a script with two failed commands: that of the first that is not an assertion.
    pub fn worse(one: u8, other: u8) -> u8 {
        if one == ASSERTION { other } else { one }
    }
}

/// Why a command failed. Messages are lower-case fragments with names in backticks; hints are imperative sentences.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    span: Option<Range<usize>>,
    detail: Option<String>,
}

impl Error {
    /// An error of `kind` with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            span: None,
            detail: None,
        }))
    }

    /// A [`ErrorKind::Usage`] error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A [`ErrorKind::NotFound`] error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A [`ErrorKind::InvalidInput`] error.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// A [`ErrorKind::State`] error.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// A [`ErrorKind::Internal`] error: a bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The error for Ctrl-C.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// `action` (as in `read`) failed on `path`.
    pub fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {action} `{}`", path.display())).with_cause(plain_io_text(error))
    }

    /// The same error with one more cause, deeper than the others.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.0.causes.push(cause.into());
        self
    }

    /// The same error as the cause of a failure described by `message`.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, cause);
        self
    }

    /// The same error with another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Hints at the known name that is most like `name`, or at something else if none is.
    #[must_use]
    pub fn with_nearest<'n>(
        self,
        name: &str,
        known: impl Iterator<Item = &'n str>,
        otherwise: impl FnOnce() -> String,
    ) -> Self {
        let hint = nearest(name, known).map(|near| format!("Did you mean `{near}`?"));
        self.with_hint(hint.unwrap_or_else(otherwise))
    }

    /// The same error with one more next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// The same error at a byte range of the line, unless it has one.
    #[must_use]
    pub fn with_span(mut self, span: Range<usize>) -> Self {
        self.0.span.get_or_insert(span);
        self
    }

    /// The same error without a position: of a line that the user does not see.
    #[must_use]
    pub fn without_span(mut self) -> Self {
        self.0.span = None;
        self
    }

    /// The same error with raw text for `--verbose`.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The errors beneath, nearest first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// What to do next.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// Where in the line, in bytes.
    pub fn span(&self) -> Option<Range<usize>> {
        self.0.span.clone()
    }

    /// Raw text for `--verbose`.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The message and its causes in one line, for a table cell or a log.
    pub fn one_line(&self) -> String {
        std::iter::once(self.message())
            .chain(self.causes().iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(": ")
    }
}

/// The operating system's message without the ` (os error 2)` that Rust appends.
fn plain_io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = match text.find(" (os error") {
        Some(end) => &text[..end],
        None => &text,
    };
    let mut letters = plain.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind(), self.one_line())?;
        self.hints().iter().try_for_each(|hint| write!(f, " [{hint}]"))
    }
}

impl std::error::Error for Error {}

impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut parts = serializer.serialize_struct("Error", 4)?;
        parts.serialize_field("kind", &self.kind())?;
        parts.serialize_field("message", self.message())?;
        parts.serialize_field("causes", self.causes())?;
        parts.serialize_field("hints", self.hints())?;
        parts.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_not_found_and_says_why_without_numbers() {
        let error = Error::io("read", Path::new("x.onnx"), &std::io::Error::from_raw_os_error(2));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.one_line(), "cannot read `x.onnx`: no such file or directory");
    }

    #[test]
    fn kinds_decide_the_exit_code() {
        assert_eq!(Error::usage("x").kind().exit_code(), 2);
        assert_eq!(Error::new(ErrorKind::Assertion, "x").kind().exit_code(), 3);
        assert_eq!(Error::cancelled().kind().exit_code(), 130);
        assert_eq!(Error::not_found("x").kind().exit_code(), 1);
    }
}
