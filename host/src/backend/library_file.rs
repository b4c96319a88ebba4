//! Whether a file can be a plugin's library at all, judged without opening it as one.

use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Whether a file of that name is taken for a plugin: `libqp_plugin_*.so` or as this system names libraries.
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

/// Refuses what the system's loader would refuse in many words, or not at all.
pub(super) fn check(path: &Path) -> Result<()> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(64).read_to_end(&mut head).map_err(|error| unreadable(path, &error))?;
    match verdict(&head) {
        Verdict::Fits => Ok(()),
        Verdict::NoLibrary => {
            Err(Error::new(ErrorKind::Plugin, format!("`{}` is no shared library", path.display()))
                .with_hint("Build the plugin again, or take the file out of the plugin folder."))
        }
        Verdict::OtherMachine(found) => Err(Error::new(
            ErrorKind::Plugin,
            format!(
                "plugin `{}` is built for {found}, this qp for {}",
                path.display(),
                std::env::consts::ARCH
            ),
        )
        .with_hint(format!("Build the plugin for {}.", std::env::consts::ARCH))),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let plain = Error::io("read", path, error);
    plain
        .causes()
        .iter()
        .fold(Error::new(ErrorKind::Plugin, plain.message()), |error, cause| error.with_cause(cause))
        .with_hint("Check that the file exists and that you may read it.")
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    NoLibrary,
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

/// Reads an ELF header; on systems with other libraries everything fits.
fn verdict(head: &[u8]) -> Verdict {
    if !cfg!(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")) {
        return Verdict::Fits;
    }
    // e_ident: magic, class, byte order; then e_type at 16 (3: shared object) and e_machine at 18.
    if head.len() < 20 || !head.starts_with(b"\x7fELF") {
        return Verdict::NoLibrary;
    }
    let number = |at: usize| {
        let bytes = [head[at], head[at + 1]];
        if head[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    };
    if number(16) != 3 {
        return Verdict::NoLibrary;
    }
    let machine = number(18);
    match MACHINES.iter().find(|(code, _)| *code == machine) {
        Some((_, name)) if *name == std::env::consts::ARCH => Verdict::Fits,
        Some((_, name)) => Verdict::OtherMachine((*name).to_owned()),
        // A machine that is not in the list is left to the system's loader.
        None => Verdict::Fits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plugin_names_are_considered_and_engines_are_not() {
        let name =
            |stem: &str| format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        assert!(has_plugin_name(&name("qp_plugin_toy")));
        assert!(!has_plugin_name(&name("qp_plugin_pytorch_engine")));
        assert!(!has_plugin_name(&name("torch")));
        assert!(!has_plugin_name("libqp_plugin_toy.so.bak"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_an_object_file_and_a_short_file_are_no_library() {
        assert_eq!(verdict(b"#!/bin/sh\necho this is not it"), Verdict::NoLibrary);
        assert_eq!(verdict(b"\x7fELF"), Verdict::NoLibrary);
        let mut object = [0_u8; 64];
        object[..6].copy_from_slice(b"\x7fELF\x02\x01");
        object[16] = 1;
        assert_eq!(verdict(&object), Verdict::NoLibrary);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_of_another_machine_is_named() {
        let mut library = [0_u8; 64];
        library[..6].copy_from_slice(b"\x7fELF\x02\x01");
        library[16] = 3;
        library[18..20].copy_from_slice(&22_u16.to_le_bytes());
        assert_eq!(verdict(&library), Verdict::OtherMachine("s390x".into()));
    }
}
