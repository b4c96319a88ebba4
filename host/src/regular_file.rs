//! Reads files that others may have put there: only regular ones, and only up to a sensible size. A pipe waits for
//! its other end, and a link to `/dev/zero` never ends.

use crate::error::{Error, Result};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;

/// A file of more bytes is not a script.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

/// Opens a file for reading.
///
/// # Errors
/// `NotFound` and `Io`; `InvalidInput` for anything but a regular file.
pub fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    open_as("read", path, &mut options)
}

/// Opens a file for appending; creates it, readable by its owner alone, if it does not exist.
///
/// # Errors
/// `Io`; `InvalidInput` for anything but a regular file.
pub fn open_to_append(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    if path.exists() {
        return open_as("write", path, &mut options);
    }
    options.open(path).map_err(|error| Error::io("write", path, &error))
}

/// The text of a script.
///
/// # Errors
/// As [`read_text`].
pub fn read_script(path: &Path) -> Result<String> {
    read_text(path, MAX_SCRIPT_BYTES)
}

/// The whole content of a file.
///
/// # Errors
/// As [`open()`]; `InvalidInput` for more than `most_bytes`.
pub fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Whatever size the system reports: files in `/proc` report none and have content.
    let limit = most_bytes.saturating_add(1);
    open(path)?.take(limit).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() as u64 > most_bytes {
        return Err(Error::invalid_input(format!("`{}` has more than {most_bytes} bytes", path.display())));
    }
    Ok(bytes)
}

/// The whole content of a text file.
///
/// # Errors
/// As [`read()`]; `InvalidInput` for anything but UTF-8.
pub fn read_text(path: &Path, most_bytes: u64) -> Result<String> {
    String::from_utf8(read(path, most_bytes)?).map_err(|error| {
        Error::invalid_input(format!("`{}` is not text", path.display()))
            .with_cause(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    })
}

/// Refuses anything but a regular file, links followed.
///
/// # Errors
/// `InvalidInput` that says what it is instead.
pub fn require_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(Error::invalid_input(format!("`{}` is not a regular file", path.display()))
        .with_cause(format!("it is {}", kind_name(metadata))))
}

fn open_as(action: &str, path: &Path, options: &mut OpenOptions) -> Result<File> {
    let failed = |error: std::io::Error| Error::io(action, path, &error);
    // Before opening, because opening alone can have effects: a pipe waits, a device starts.
    require_regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // It may have been replaced in between: then nothing waits, and the second check finds it.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path).map_err(failed)?;
    require_regular(path, &file.metadata().map_err(failed)?)?;
    Ok(file)
}

fn kind_name(metadata: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if metadata.is_dir() { "a folder" } else { "something else" }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::os::unix::fs::symlink;

    fn refusal(result: Result<impl std::fmt::Debug>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.one_line()
    }

    #[test]
    fn a_pipe_a_device_a_socket_and_a_folder_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let device = folder.path().join("device");
        symlink("/dev/zero", &device).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (&pipe, "a named pipe"),
            (&device, "a device"),
            (&socket, "a socket"),
            (&folder.path().to_owned(), "a folder"),
        ] {
            let expected = format!("`{}` is not a regular file: it is {what}", path.display());
            assert_eq!(refusal(read(path, 10)), expected);
            assert_eq!(refusal(open_to_append(path)), expected);
        }
    }

    #[test]
    fn a_file_of_more_bytes_is_refused_and_a_link_to_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        std::fs::write(&path, "12345").unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(read_text(&link, 5).unwrap(), "12345");
        assert_eq!(refusal(read(&path, 4)), format!("`{}` has more than 4 bytes", path.display()));
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(
            refusal(read_text(&path, 5)),
            format!("`{}` is not text: byte 2 is not UTF-8", path.display())
        );
        assert_eq!(read(&folder.path().join("none"), 5).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
