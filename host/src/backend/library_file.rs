//! Whether a file can be a plugin's library at all, judged without opening it as one.

use crate::error::{Error, ErrorKind, Result};
use crate::regular_file;
use std::io::Read;
use std::path::Path;

/// Whether a file name is a plugin's: `libqp_plugin_*.so` or as this system names libraries.
/// `libqp_plugin_*_engine` is a plugin's own helper.
pub(super) fn has_plugin_name(file_name: &str) -> bool {
    stem(file_name).is_some_and(|stem| !stem.is_empty() && !stem.ends_with("_engine"))
}

/// `toy` of `libqp_plugin_toy.so`.
pub(super) fn stem(file_name: &str) -> Option<&str> {
    file_name
        .strip_prefix(std::env::consts::DLL_PREFIX)?
        .strip_prefix("qp_plugin_")?
        .strip_suffix(std::env::consts::DLL_SUFFIX)
}

/// Refuses what the system's loader would refuse with a long message, or crash on: it maps a truncated library and
/// reads beyond its end.
pub(super) fn check(path: &Path) -> Result<()> {
    let io = |error: std::io::Error| unusable(&Error::io("read", path, &error));
    let mut head = Vec::new();
    let file = regular_file::open(path).map_err(|error| unusable(&error))?;
    let size = file.metadata().map_err(io)?.len();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    let here = std::env::consts::ARCH;
    let refuse = |message: String, hint: &str| Err(Error::new(ErrorKind::Plugin, message).with_hint(hint));
    let again = "Build the plugin again, or take the file out of the plugin folder.";
    match verdict(&head, size) {
        Verdict::Fits => Ok(()),
        Verdict::NoLibrary => refuse(format!("`{}` is not a shared library", path.display()), again),
        Verdict::CutShort(due) => {
            refuse(format!("plugin `{}` is truncated: {size} of {due} bytes", path.display()), again)
        }
        Verdict::OtherMachine(found) => refuse(
            format!("plugin `{}` is built for {found}, but this qp for {here}", path.display()),
            &format!("Build the plugin for {here}."),
        ),
    }
}

fn unusable(plain: &Error) -> Error {
    plain
        .causes()
        .iter()
        .fold(Error::new(ErrorKind::Plugin, plain.message()), |error, cause| error.with_cause(cause))
        .with_hint("Check that the file exists and that you may read it.")
}

/// Enough for the header and the program headers that follow it.
const HEAD_BYTES: u64 = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    NoLibrary,
    /// It should have at least this many bytes.
    CutShort(u64),
    OtherMachine(String),
}

/// ELF's `e_machine` codes, by the names Rust has for them.
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

/// Reads the ELF header of a file of `size` bytes; on systems with other libraries everything passes.
fn verdict(head: &[u8], size: u64) -> Verdict {
    if !cfg!(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")) {
        return Verdict::Fits;
    }
    let Some(header) = Header::parse(head) else { return Verdict::NoLibrary };
    match MACHINES.iter().find(|(code, _)| *code == header.machine) {
        Some((_, name)) if *name != std::env::consts::ARCH => {
            return Verdict::OtherMachine((*name).to_owned());
        }
        // A machine that is not in the list is left to the system's loader.
        _ => {}
    }
    match header.end_bytes(head) {
        Some(end) if end > size => Verdict::CutShort(end),
        _ => Verdict::Fits,
    }
}

/// What an ELF header says of a shared object.
struct Header {
    is_big_endian: bool,
    is_64_bit: bool,
    machine: u16,
}

impl Header {
    /// The header, if it is one of a shared object.
    fn parse(head: &[u8]) -> Option<Self> {
        // e_ident: magic, class (2: 64 bits), byte order (2: big-endian).
        let ident = head.first_chunk::<16>()?;
        if !ident.starts_with(b"\x7fELF") {
            return None;
        }
        let mut header = Self { is_64_bit: ident[4] == 2, is_big_endian: ident[5] == 2, machine: 0 };
        if head.len() < if header.is_64_bit { 64 } else { 52 } {
            return None;
        }
        // e_type 3: shared object.
        if header.number(head, 16, 2)? != 3 {
            return None;
        }
        header.machine = header.number(head, 18, 2)? as u16;
        Some(header)
    }

    /// The number of `width` bytes at `at`.
    fn number(&self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(width)?)?;
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
    }

    /// Where the section table or the last segment ends, as far as `head` tells; `None` where it does not.
    fn end_bytes(&self, head: &[u8]) -> Option<u64> {
        if !self.is_64_bit {
            return None;
        }
        let number = |at, width| self.number(head, at, width);
        // e_shoff, e_shentsize, e_shnum; then e_phoff, e_phentsize, e_phnum; p_offset and p_filesz of each.
        let sections_end = number(40, 8)?.checked_add(number(58, 2)?.checked_mul(number(60, 2)?)?)?;
        let (first, width, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let segment_end = |index: u64| {
            let at = usize::try_from(first.checked_add(index * width)?).ok()?;
            number(at.checked_add(8)?, 8)?.checked_add(number(at.checked_add(32)?, 8)?)
        };
        Some((0..count).map_while(segment_end).fold(sections_end, u64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::fs::File;

    #[test]
    fn only_plugin_names_are_considered_and_engines_are_not() {
        let name =
            |stem: &str| format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        assert!(has_plugin_name(&name("qp_plugin_toy")));
        assert!(!has_plugin_name(&name("qp_plugin_pytorch_engine")));
        assert!(!has_plugin_name(&name("torch")));
        assert!(!has_plugin_name("libqp_plugin_toy.so.bak"));
    }

    /// An ELF header of 64 bits and of this type and machine, its section table ending at `end`.
    #[cfg(target_os = "linux")]
    fn header(kind: u8, machine: u16, end: u64) -> [u8; 64] {
        let mut head = [0_u8; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[16] = kind;
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[40..48].copy_from_slice(&end.to_le_bytes());
        head
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_an_object_file_and_a_short_file_are_no_library() {
        for head in [b"#!/bin/sh\necho this is not it".as_slice(), b"\x7fELF", b"", &header(1, 62, 0)] {
            assert_eq!(verdict(head, 64), Verdict::NoLibrary);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_of_another_machine_is_named() {
        assert_eq!(verdict(&header(3, 22, 64), 64), Verdict::OtherMachine("s390x".into()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_ends_before_its_tables_do_is_cut_short() {
        // Machine 0 is in no list.
        assert_eq!(verdict(&header(3, 0, 4096), 4095), Verdict::CutShort(4096));
        assert_eq!(verdict(&header(3, 0, 4096), 4096), Verdict::Fits);
        assert_eq!(verdict(&header(3, 0, u64::MAX), 64), Verdict::CutShort(u64::MAX));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_real_library_fits_and_any_part_of_it_does_not() {
        // Test programs are position-independent, and so shared objects to ELF.
        let path = std::env::current_exe().unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        let mut head = Vec::new();
        File::open(&path).unwrap().take(HEAD_BYTES).read_to_end(&mut head).unwrap();
        assert_eq!(verdict(&head, size), Verdict::Fits);
        for length in 0..head.len() {
            assert_ne!(verdict(&head[..length], length as u64), Verdict::Fits, "{length} bytes");
        }
        assert_eq!(verdict(&head, size - 1), Verdict::CutShort(size));
    }
}
