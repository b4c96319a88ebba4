//! What a file that no plugin reads really is, by its first bytes: for error messages.

use crate::error::Error;

/// What a file is, in words, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nature {
    what: String,
    hint: Option<&'static str>,
}

const UNPACK: Option<&str> = Some("Unpack it, and open its contents.");

/// First bytes, and where they are.
const MARKS: [(usize, &[u8], &str, Option<&str>); 18] = [
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file",
        Some("Fetch the file: `git lfs pull`."),
    ),
    (0, b"PK\x03\x04", "a zip archive", None),
    (0, b"\x1f\x8b", "compressed with gzip", UNPACK),
    (0, b"BZh", "compressed with bzip2", UNPACK),
    (0, b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x89PNG", "a PNG picture", None),
    (0, b"\xff\xd8\xff", "a JPEG picture", None),
    (0, b"%PDF-", "a PDF document", None),
    (0, b"\x93NUMPY", "a NumPy array", None),
    (0, b"\x89HDF\r\n", "an HDF5 file, as Keras writes them", None),
    (0, b"\x7fELF", "a program or a shared library", None),
    (0, b"GGUF", "a GGUF file, as llama.cpp reads them", None),
    (4, b"TFL3", "a TensorFlow Lite model", None),
    (4, b"ORTM", "a model in ONNX Runtime's own format", None),
    (4, b"PTMF", "a mobile PyTorch model in FlatBuffers form", None),
];

/// The characters of a text that are shown.
const SHOWN: usize = 40;

impl Nature {
    /// What the first bytes of a file show; `None` if nothing.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mark = MARKS.iter().find(|(at, mark, ..)| head.get(*at..).is_some_and(|b| b.starts_with(mark)));
        if let Some((_, _, what, hint)) = mark {
            return Some(Self { what: (*what).to_owned(), hint: *hint });
        }
        let text = text(head)?;
        let start: String = text.trim_start().chars().take(14).collect();
        let start = start.to_ascii_lowercase();
        if start.starts_with("<!doctype html") || start.starts_with("<html") {
            let hint = Some("Download the file itself: a web page was saved instead.");
            return Some(Self { what: "an HTML page".to_owned(), hint });
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let shown: String = line.chars().take(SHOWN).collect();
        let more = if line.chars().count() > SHOWN { "…" } else { "" };
        let what = format!("text that begins with `{shown}{more}`");
        Some(Self { what, hint: None })
    }

    /// Adds to an error what the file is.
    pub(super) fn explain(self, error: Error) -> Error {
        let error = error.with_cause(format!("the file is {}", self.what));
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// The bytes as text, if they are text; the last character may be cut.
fn text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_plain = |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r');
    (!text.is_empty() && text.chars().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::Nature;

    fn what(head: &[u8]) -> Option<String> {
        Nature::of(head).map(|nature| nature.what)
    }

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        assert_eq!(what(b"\x1f\x8b\x08\0").as_deref(), Some("compressed with gzip"));
        assert_eq!(what(b"\x20\0\0\0TFL3").as_deref(), Some("a TensorFlow Lite model"));
        assert_eq!(what(b"\n<!DOCTYPE html>\n<html>").as_deref(), Some("an HTML page"));
        assert_eq!(
            what(b"version https://git-lfs.github.com/spec/v1\n").unwrap(),
            "a Git LFS pointer instead of the file"
        );
        assert_eq!(what(b"<HTML>").as_deref(), Some("an HTML page"));
        assert_eq!(what(b"\x08\x07\x12"), None);
        assert_eq!(what(b""), None);
    }

    #[test]
    fn a_text_is_shown_with_its_first_line_and_may_be_cut_within_a_character() {
        assert_eq!(what(b"\n hello world\nmore").as_deref(), Some("text that begins with `hello world`"));
        assert_eq!(what("été".as_bytes().get(..4).unwrap()).as_deref(), Some("text that begins with `ét`"));
        let long = "a".repeat(100);
        assert_eq!(what(long.as_bytes()).unwrap(), format!("text that begins with `{}…`", "a".repeat(40)));
        assert_eq!(what(b"text\0with zeros"), None);
    }
}
