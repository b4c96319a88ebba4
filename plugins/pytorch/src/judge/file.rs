//! The verdict on a file: on every pickle in it, wherever its format has one.

use crate::container::{Archive, Source, kind};
use crate::pickle::proof::Loader;
use crate::pickle::verdict::Verdict;
use crate::pickle::{Pickle, decode_part, legacy};
use std::path::Path;
use std::sync::Arc;

/// What is said of a file within that PyTorch may read where we cannot.
const UNREAD: &str = "a file within the file cannot be read here";
/// Files within files.
const MAX_DEPTH: usize = 4;
/// Pickles in a row, after the first one, that are judged.
const MAX_PICKLES: usize = 1024;
/// An entry of another name than that of a pickle is judged up to this size, if it turns out to be one.
const MAX_OTHER_BYTES: u64 = 1 << 20;
/// Names of entries that are pickles, or files of `torch.save`.
const NAMES: &[&str] = &[".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin"];
/// Folders in which an exported program keeps tensors, some of them as files of `torch.save`.
const FOLDERS: &[&str] = &["data/weights/", "data/constants/"];

/// The verdict on an archive.
pub fn of_archive(archive: &Archive) -> Verdict {
    let mut verdict = Verdict::default();
    add_archive(archive, &mut verdict, 0);
    verdict
}

/// The verdict on a file that is not an archive: pickles in a row.
pub fn of_pickles(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    add_pickles(bytes, Loader::Python, Origin::Loaded, &mut verdict, 0);
    verdict
}

fn add_archive(archive: &Archive, verdict: &mut Verdict, depth: usize) {
    archive.ambiguities().iter().for_each(|what| verdict.add_ambiguity(what));
    let is_script = archive.contains("constants.pkl") && archive.contains("data.pkl");
    for name in archive.names() {
        let lower = name.to_ascii_lowercase();
        let is_named = NAMES.iter().any(|end| lower.ends_with(end));
        let is_of_program = FOLDERS.iter().any(|folder| lower.contains(folder));
        let is_storage = lower.starts_with("data/");
        let is_small = archive.record(name).is_some_and(|record| record.size <= MAX_OTHER_BYTES);
        if !is_named && !is_of_program && (is_storage || !is_small) {
            continue;
        }
        // PyTorch reads entries whose checksum is wrong.
        let file = archive.file(name);
        let Ok((file, Ok(content))) = file.as_ref().map(|file| (file, file.bytes())) else {
            if is_named {
                verdict.add_ambiguity(format!("entry `{}` cannot be unpacked here", name.escape_debug()));
            }
            continue;
        };
        if is_file(content) {
            add_file(file, verdict, depth + 1);
        } else {
            let loader = if is_script && SCRIPT.contains(&lower.as_str()) {
                Loader::TorchScript
            } else {
                Loader::Python
            };
            let origin = if is_named { Origin::Named } else { Origin::Suspected };
            add_pickles(content, loader, origin, verdict, depth);
        }
    }
}

/// The pickles of a TorchScript archive that libtorch reads; Python reads the others, if anything does.
const SCRIPT: &[&str] = &["attributes.pkl", "bytecode.pkl", "constants.pkl", "data.pkl", "tensors.pkl"];

/// Whether these are the first bytes of a file that `torch.save` wrote.
fn is_file(bytes: &[u8]) -> bool {
    bytes.starts_with(kind::ZIP) || bytes.starts_with(kind::LEGACY)
}

fn add_file(file: &Arc<Source>, verdict: &mut Verdict, depth: usize) {
    if depth > MAX_DEPTH {
        verdict.add_danger("<files within files>");
        return;
    }
    // What we cannot read, PyTorch may.
    let Ok(bytes) = file.bytes() else { return verdict.add_doubt(UNREAD) };
    if !bytes.starts_with(kind::ZIP) {
        return add_pickles(bytes, Loader::Python, Origin::Loaded, verdict, depth);
    }
    match Archive::read(Arc::clone(file)) {
        Ok(archive) => add_archive(&archive, verdict, depth),
        Err(_) => verdict.add_doubt(UNREAD),
    }
}

/// Why bytes are taken for pickles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Something loads them.
    Loaded,
    /// They are called so.
    Named,
    /// They may be some: judged if they turn out to do more than hold data.
    Suspected,
}

/// Each load takes one pickle: a loop takes all that there are. A damaged one is judged up to the damage; what it would
/// do beyond our own limits is not known.
pub fn add_pickles(bytes: &[u8], loader: Loader, origin: Origin, verdict: &mut Verdict, depth: usize) {
    let mut nested = |bytes: &[u8]| {
        let mut verdict = Verdict::default();
        let file = Arc::new(Source::from_bytes(Path::new(""), bytes.to_vec()));
        add_file(&file, &mut verdict, depth + 1);
        verdict
    };
    let mut rest = bytes;
    let mut most = MAX_PICKLES;
    for index in 0.. {
        if rest.is_empty() || index >= most {
            break;
        }
        let (pickle, damage) = decode_part(rest);
        if index == 0 && legacy::is_magic(&pickle) {
            most = legacy::PICKLES;
        }
        // Bytes that only follow a pickle are no damaged one.
        let is_pickle = origin != Origin::Suspected && (index == 0 || damage.is_none());
        let does_more = is_more_than_data(&pickle);
        if is_pickle || does_more {
            verdict.add(&pickle, loader, &mut nested);
        }
        if damage.is_some() {
            let is_loaded = origin == Origin::Loaded && (index == 0 || most == legacy::PICKLES);
            let begins_one = index == 0 && matches!(rest, [0x80, 0..=5, ..]) && origin == Origin::Named;
            if is_loaded || begins_one || does_more {
                verdict.add_doubt("a pickle that cannot be decoded to its end");
            }
            break;
        }
        rest = rest.get(pickle.length()..).unwrap_or_default();
    }
}

fn is_more_than_data(pickle: &Pickle) -> bool {
    pickle.values().iter().any(|value| matches!(value, crate::pickle::Value::Object(_)))
}
