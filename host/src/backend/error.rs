//! Converts a plugin's error to the host's, and words the errors for a plugin that breaks the contract.

use crate::error::{Error, ErrorKind};
use qp_abi::BackendError;
use qp_abi::error::ErrorKind as PluginErrorKind;
use std::path::Path;

/// A plugin's error as the host's: the same kind, causes, help and detail. A defect names the plugin.
pub(super) fn from_plugin(plugin: &str, error: BackendError) -> Error {
    let kind = kind(error.kind);
    let text = error.message.as_str();
    let (first_line, has_more) = match text.split_once('\n') {
        Some((first, _)) => (first.trim_end(), true),
        None => (text, false),
    };
    let message = match (kind, first_line.strip_prefix("the plugin ")) {
        (_, _) if first_line.is_empty() => format!("plugin `{plugin}` failed and did not say why"),
        (ErrorKind::Cancelled, _) => return Error::cancelled(),
        (ErrorKind::Internal, Some(rest)) => format!("plugin `{plugin}` {rest}"),
        (ErrorKind::Internal, None) => format!("plugin `{plugin}` failed: {first_line}"),
        _ => first_line.to_owned(),
    };
    let mut result = Error::new(kind, message);
    for cause in error.causes {
        result = result.with_cause(cause);
    }
    if !error.help.is_empty() {
        result = result.with_hint(error.help);
    }
    let detail = match (has_more, error.detail.is_empty()) {
        (false, true) => return result,
        (false, false) => error.detail.into_string(),
        (true, true) => error.message.into_string(),
        (true, false) => format!("{}\n\n{}", error.message, error.detail),
    };
    result.with_detail(detail)
}

/// Like [`from_plugin`], for a failure on a model file, which the message names.
pub(super) fn from_plugin_on(plugin: &str, file: &Path, error: BackendError) -> Error {
    let error = from_plugin(plugin, error);
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let says_which = std::iter::once(error.message())
        .chain(error.causes().iter().map(String::as_str))
        .any(|text| text.contains(name.as_ref()));
    // A defect is about the plugin, not about the file.
    if says_which || matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Internal) {
        return error;
    }
    error.within(format!("cannot read `{}`", file.display()))
}

/// Like [`from_plugin`], for a plugin that fails before it can be used: a defect makes it a broken plugin.
pub(super) fn from_start(plugin: &str, error: BackendError) -> Error {
    let error = from_plugin(plugin, error);
    if error.kind() != ErrorKind::Internal {
        return error;
    }
    error.of_kind(ErrorKind::Plugin)
}

fn kind(kind: PluginErrorKind) -> ErrorKind {
    match kind {
        PluginErrorKind::NOT_FOUND => ErrorKind::NotFound,
        PluginErrorKind::UNSUPPORTED_FORMAT => ErrorKind::UnsupportedFormat,
        PluginErrorKind::UNSUPPORTED_OP => ErrorKind::UnsupportedOp,
        PluginErrorKind::CORRUPT_FILE => ErrorKind::CorruptFile,
        PluginErrorKind::UNSAFE_FILE => ErrorKind::UnsafeFile,
        PluginErrorKind::RUNTIME_MISSING => ErrorKind::RuntimeMissing,
        PluginErrorKind::RUNTIME_FAILED => ErrorKind::RuntimeFailed,
        PluginErrorKind::INVALID_INPUT => ErrorKind::InvalidInput,
        PluginErrorKind::CANCELLED => ErrorKind::Cancelled,
        PluginErrorKind::IO => ErrorKind::Io,
        // `INTERNAL`, and what a later contract may add.
        _ => ErrorKind::Internal,
    }
}

/// What a plugin did that the contract forbids, as a lower-case clause: `it lists the layer `a` twice`.
pub(super) type Breach = String;

/// The error for a plugin that broke the contract.
pub(super) fn breach(plugin: &str, breach: &Breach) -> Error {
    Error::new(ErrorKind::Plugin, format!("plugin `{plugin}` broke the contract: {breach}"))
        .with_hint("Report this to the author of the plugin, with the output of `backends check`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_causes_help_and_detail_survive() {
        let error = from_plugin(
            "toy",
            BackendError::corrupt_file("`x.toy` ends early")
                .with_cause("line 3 has no name")
                .with_help("Write it again.")
                .with_detail("raw"),
        );
        assert_eq!(error.kind(), ErrorKind::CorruptFile);
        assert_eq!(error.one_line(), "`x.toy` ends early: line 3 has no name");
        assert_eq!(error.hints(), ["Write it again."]);
        assert_eq!(error.detail(), Some("raw"));
    }

    #[test]
    fn a_panic_names_the_plugin() {
        let error = from_plugin("toy", BackendError::internal("the plugin panicked: no scale"));
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "plugin `toy` panicked: no scale");
    }

    #[test]
    fn an_unknown_kind_is_internal_and_an_empty_message_is_said_so() {
        let error = from_plugin("toy", BackendError::new(PluginErrorKind(999), ""));
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "plugin `toy` failed and did not say why");
    }

    #[test]
    fn a_message_of_many_lines_keeps_the_first_and_moves_all_to_the_detail() {
        let error = from_plugin("toy", BackendError::runtime_failed("no kernel\nat node 7"));
        assert_eq!(error.message(), "no kernel");
        assert_eq!(error.detail(), Some("no kernel\nat node 7"));
    }

    #[test]
    fn a_cancelled_plugin_is_the_users_interrupt() {
        assert_eq!(from_plugin("toy", BackendError::cancelled()), Error::cancelled());
    }
}
