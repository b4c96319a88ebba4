//! Tar archives, as PyTorch before 0.1.10 wrote them: `storages`, `tensors` and `pickle`, the first two rows of
//! pickles with raw bytes between them. `torch.load` still reads them, with Python's own unpickler.
//!
//! The pickles are judged; tensors are not listed.

use crate::document::Document;
use crate::judge::{Origin, add_pickles};
use crate::pickle::proof::Loader;
use crate::pickle::verdict::Verdict;
use crate::pickle::{Pickle, decode_part};
use crate::quant::dtype;
use crate::source::Source;
use crate::tensor::Data;
use qp_abi::sdk::{BackendError, Finding, RSome, RVec, Result, Severity};
use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;

const BLOCK: usize = 512;
/// Members of an archive that are looked at.
const MAX_MEMBERS: usize = 4096;
/// Pickles in a row.
const MAX_PICKLES: usize = 1 << 20;

/// Whether a file is a tar archive for Python, which goes by the checksum of the first header alone, and which
/// PyTorch asks before it takes a file for a pickle.
pub fn is_tar(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<BLOCK>() else { return false };
    let field = header.get(148..156).unwrap_or_default();
    let digits: String = field
        .iter()
        .map(|&byte| char::from(byte))
        .skip_while(|letter| matches!(letter, ' ' | '\0'))
        .take_while(|letter| letter.is_digit(8))
        .collect();
    let Ok(claimed) = i64::from_str_radix(&digits, 8) else { return false };
    let rest = || header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at)).map(|(_, &byte)| byte);
    let spaces = 8 * i64::from(b' ');
    let unsigned: i64 = rest().map(i64::from).sum();
    let signed: i64 = rest().map(|byte| i64::from(byte.cast_signed())).sum();
    claimed != 0 && (claimed == unsigned + spaces || claimed == signed + spaces)
}

/// Whether the first member of a tar archive is one of a model's.
pub fn is_model(head: &[u8]) -> bool {
    let name = head.get(..100).unwrap_or(head).split(|&byte| byte == 0).next().unwrap_or_default();
    matches!(name, b"storages" | b"tensors" | b"pickle")
}

/// The description of a tar archive, and the verdict on it.
///
/// # Errors
/// Those of reading the file.
pub fn read(source: Arc<Source>) -> Result<(Document, Verdict)> {
    let mut verdict = Verdict::default();
    add_members(source.bytes()?, &mut verdict);
    let mut document = Document::new("pickle-tar", Data::of_file(source));
    document.info.findings.push(Finding {
        severity: Severity::WARNING,
        code: "pickle.tar".into(),
        message: "the file is a tar archive of PyTorch before 0.1.10, whose tensors are not listed".into(),
        subjects: RVec::new(),
    });
    document.info.run_obstacle = RSome(
        BackendError::unsupported_format("the file is a tar archive of PyTorch before 0.1.10").with_help(
            "If its verdict is one that you trust, load it with PyTorch and save it again with `torch.save`.",
        ),
    );
    Ok((document, verdict))
}

fn add_members(bytes: &[u8], verdict: &mut Verdict) {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let Ok(entries) = archive.entries_with_seek() else {
        return verdict.add_ambiguity("the tar archive cannot be read");
    };
    let mut names = HashSet::new();
    for (index, entry) in entries.enumerate() {
        let Ok(entry) = entry else {
            return verdict.add_ambiguity("the tar archive cannot be read to its end");
        };
        if index >= MAX_MEMBERS {
            return verdict.add_ambiguity("the tar archive has more members than any file of PyTorch's");
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown = name.escape_debug();
        if !names.insert(name.clone()) {
            verdict.add_ambiguity(format!("member `{shown}` is there a second time"));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        let start = usize::try_from(entry.raw_file_position()).ok();
        let end =
            start.zip(usize::try_from(entry.size()).ok()).and_then(|(start, size)| start.checked_add(size));
        let content = start.zip(end).and_then(|(start, end)| bytes.get(start..end));
        match content {
            Some(content) if kind.is_file() => match name.as_str() {
                "storages" => add_row(content, storage_bytes, verdict),
                "tensors" => add_row(content, tensor_bytes, verdict),
                "pickle" => add_pickles(content, Loader::Python, Origin::Loaded, verdict, 0),
                _ => add_pickles(content, Loader::Python, Origin::Suspected, verdict, 0),
            },
            _ => verdict.add_ambiguity(format!("member `{shown}` is no plain file")),
        }
    }
}

/// Judges a count, so many pickles each with raw bytes behind it, and whatever pickles follow.
fn add_row(bytes: &[u8], raw_bytes: fn(&Pickle, &[u8]) -> Option<usize>, verdict: &mut Verdict) {
    let mut rest = bytes;
    let mut count = 0;
    for index in 0..MAX_PICKLES {
        let (pickle, damage) = decode_part(rest);
        add_pickles(rest.get(..pickle.length()).unwrap_or(rest), Loader::Python, Origin::Loaded, verdict, 0);
        if damage.is_some() {
            return;
        }
        rest = rest.get(pickle.length()..).unwrap_or_default();
        if index == 0 {
            count = pickle.int(pickle.root()).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        } else if index <= count {
            let Some(after) = raw_bytes(&pickle, rest).and_then(|raw| rest.get(raw..)) else {
                return verdict.add_ambiguity("the tar archive has tensors of no known form");
            };
            rest = after;
        }
        if rest.is_empty() {
            return;
        }
    }
    verdict.add_ambiguity("the tar archive has more pickles than any file of PyTorch's");
}

/// `(key, place, type)`, then the number of elements and the elements.
fn storage_bytes(pickle: &Pickle, rest: &[u8]) -> Option<usize> {
    let [_, _, class] = pickle.sequence(pickle.root())? else { return None };
    let dtype = dtype::from_storage_name(&pickle.global(*class)?.name)?.dtype;
    let count = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    usize::try_from(dtype.packed_bytes(count)?).ok()?.checked_add(8)
}

/// `(key, storage, type)`, then the number of axes in eight bytes, sizes, strides and the offset.
fn tensor_bytes(_: &Pickle, rest: &[u8]) -> Option<usize> {
    let axes = usize::try_from(i32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
    axes.checked_mul(16)?.checked_add(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_checksum() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(1);
        header.set_cksum();
        builder.append_data(&mut header, "pickle", &b"."[..]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        assert!(is_tar(&bytes) && is_model(&bytes) && !bytes.windows(5).any(|window| window == b"ustar"));
        bytes[0] ^= 1;
        assert!(!is_tar(&bytes) && !is_tar(&[0; 1024]) && !is_tar(b"\x80\x02}."));
    }
}
