//! The lines of earlier sessions, in a file that several sessions append to.

use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// At most this many lines are remembered.
const MAX_LINES: usize = 5_000;
/// Only the end of a longer file is read.
const MAX_BYTES: u64 = 4 << 20;

/// The file. Each entry is a line; newlines within an entry are written as `\n`, backslashes as `\\`.
#[derive(Debug)]
pub struct HistoryFile(Option<PathBuf>);

impl HistoryFile {
    /// The history in this file, or one that is not saved.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    /// The lines so far, oldest first; anything that is not text is left out.
    ///
    /// # Errors
    /// `Io` when the file exists but cannot be read.
    pub fn read(&self) -> Result<Vec<String>> {
        let Some(path) = &self.0 else { return Ok(Vec::new()) };
        let mut file = match regular_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))
            .and_then(|_| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|error| Error::io("read", path, &error))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(unescape).collect();
        Ok(lines[lines.len().saturating_sub(MAX_LINES)..].to_vec())
    }

    /// Adds a line in a single write, so that lines of several sessions do not mix.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn append(&self, line: &str) -> Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let failed = |error: std::io::Error| Error::io("write", path, &error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let entry = format!("{}\n", escape(line));
        regular_file::open_to_append(path)?.write_all(entry.as_bytes()).map_err(failed)
    }
}

fn escape(line: &str) -> String {
    line.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescape(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, false) => text.push(letter),
            (_, true) => match letters.next() {
                Some('n') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => text.push('\\'),
            },
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_typed() {
        let folder = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(Some(folder.path().join("deep/er/history.txt")));
        assert_eq!(file.read().unwrap(), Vec::<String>::new());
        for line in ["open a", "echo 'two\nlines'", r"load a\ b"] {
            file.append(line).unwrap();
        }
        assert_eq!(file.read().unwrap(), ["open a", "echo 'two\nlines'", r"load a\ b"]);
    }

    #[test]
    fn a_damaged_file_gives_what_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.txt");
        fs::write(&path, b"open a\n\n\xff\xfe\nload b").unwrap();
        let lines = HistoryFile::new(Some(path)).read().unwrap();
        assert_eq!((lines.len(), lines[0].as_str(), lines[2].as_str()), (3, "open a", "load b"));
    }
}
