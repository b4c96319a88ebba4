//! Tar archives, as PyTorch before 0.1.10 wrote them: `storages`, `tensors` and `pickle`, the first two rows of
//! pickles with raw bytes between them. `torch.load` still reads them, with Python's own unpickler.
//!
//! All pickles are judged before the tensors are listed.

mod tensors;

use crate::document::{Collector, Document};
use crate::judge::{Origin, add_pickles};
use crate::pickle::proof::Loader;
use crate::pickle::verdict::Verdict;
use crate::pickle::{Pickle, decode, decode_part};
use crate::quant::dtype;
use crate::rebuild::{Rebuild, Storages};
use crate::source::Source;
use crate::tensor::Data;
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, Result};
use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::sync::Arc;

const FORMAT: &str = "pickle-tar";
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

/// The order of the bytes of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn int(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }

    /// The number of axes that a tensor begins with; PyTorch reads four of its eight bytes.
    fn axes(self, bytes: &[u8]) -> Option<usize> {
        let bytes = *bytes.first_chunk::<8>()?;
        let axes = match self {
            Self::Little => i64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            Self::Big => self.int(bytes),
        };
        usize::try_from(axes).ok()
    }
}

/// The members of a model, and where they begin.
#[derive(Default)]
struct Members<'a>(HashMap<String, (&'a [u8], u64)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Result<(&'a [u8], u64)> {
        self.0.get(name).copied().ok_or_else(|| {
            BackendError::corrupt_file("the tar archive of PyTorch is damaged")
                .with_cause(format!("it has no whole member `{name}`"))
        })
    }

    /// What `sys_info` says; PyTorch of today ignores it and reads little-endian numbers.
    fn order(&self) -> Order {
        let pickle = self.0.get("sys_info").map(|(bytes, _)| decode_part(bytes).0);
        let little = pickle.and_then(|pickle| pickle.int(pickle.entry(pickle.root(), "little_endian")?));
        if little == Some(0) { Order::Big } else { Order::Little }
    }
}

/// The description of a tar archive, or why there is none, and the verdict on it.
///
/// # Errors
/// Those of reading the file.
pub fn read(source: Arc<Source>) -> Result<(Result<Document>, Verdict)> {
    let mut verdict = Verdict::default();
    let members = members(source.bytes()?, &mut verdict);
    judge(&members, &mut verdict);
    let is_dangerous = verdict.is_dangerous();
    let document = match document(&members, Arc::clone(&source), is_dangerous) {
        Err(error) if is_dangerous => {
            let mut unread = Document::new(FORMAT, Data::of_file(source));
            unread.info.metadata.push(pair("unreadable", error.message.to_string()));
            Ok(unread)
        }
        document => document,
    };
    Ok((document, verdict))
}

fn document(members: &Members<'_>, source: Arc<Source>, is_dangerous: bool) -> Result<Document> {
    let order = members.order();
    let storages = tensors::read(members.get("storages")?, members.get("tensors")?, order)?;
    let storages = Storages::Tensors(storages);
    let pickle = decode(members.get("pickle")?.0)?;
    let mut collector = Collector::new(FORMAT, Data::of_file(source));
    let byte_order = if order == Order::Big { "big" } else { "little" };
    collector.document.info.metadata.push(pair("byteorder", byte_order));
    let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian: order == Order::Big };
    super::open::eager(rebuild, &mut collector, is_dangerous)?;
    Ok(collector.document)
}

fn judge(members: &Members<'_>, verdict: &mut Verdict) {
    let mut orders = vec![Order::Little];
    // PyTorch finds the pickles where little-endian numbers say, other readers may believe the file.
    if members.order() == Order::Big {
        orders.push(Order::Big);
    }
    let mut names: Vec<_> = members.0.iter().collect();
    names.sort_unstable();
    for (name, (content, _)) in names {
        match name.as_str() {
            "storages" | "tensors" => orders.iter().for_each(|order| {
                add_row(content, name == "storages", *order, verdict);
            }),
            "pickle" => add_pickles(content, Loader::Python, Origin::Loaded, verdict, 0),
            _ => add_pickles(content, Loader::Python, Origin::Suspected, verdict, 0),
        }
    }
}

/// The members, and what two readers may see differently.
fn members<'a>(bytes: &'a [u8], verdict: &mut Verdict) -> Members<'a> {
    let mut members = Members::default();
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let Ok(entries) = archive.entries_with_seek() else {
        verdict.add_ambiguity("the tar archive cannot be read");
        return members;
    };
    let mut names = HashSet::new();
    for (index, entry) in entries.enumerate() {
        let Ok(entry) = entry else {
            verdict.add_ambiguity("the tar archive cannot be read to its end");
            break;
        };
        if index >= MAX_MEMBERS {
            verdict.add_ambiguity("the tar archive has more members than any file of PyTorch's");
            break;
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
        match (content, start) {
            (Some(content), Some(start)) if kind.is_file() => {
                // Of two the last counts; it is an ambiguity already.
                members.0.insert(name, (content, start as u64));
            }
            // PyTorch does not read it either.
            (None, _) if kind.is_file() => verdict.add_doubt("a member of the tar archive that is cut short"),
            _ => verdict.add_ambiguity(format!("member `{shown}` is no plain file")),
        }
    }
    members
}

/// Judges a count, so many pickles each with raw bytes behind it, and whatever pickles follow.
fn add_row(bytes: &[u8], are_storages: bool, order: Order, verdict: &mut Verdict) {
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
            let raw = if are_storages {
                Row::of_storage(&pickle, rest, order).map(|row| row.header.saturating_add(row.bytes))
            } else {
                Some(
                    order
                        .axes(rest)
                        .and_then(|axes| axes.checked_mul(16)?.checked_add(16))
                        .unwrap_or(usize::MAX),
                )
            };
            let Some(raw) = raw else {
                return verdict.add_ambiguity("the tar archive has tensors of no known form");
            };
            // Behind a storage that is cut there is nothing to load.
            let Some(after) = rest.get(raw..) else {
                return verdict.add_doubt("a tar archive that ends within its tensors");
            };
            rest = after;
        }
        if rest.is_empty() {
            return;
        }
    }
    verdict.add_ambiguity("the tar archive has more pickles than any file of PyTorch's");
}

/// A storage behind its pickle: the number of elements in eight bytes, and the elements.
struct Row {
    dtype: DType,
    header: usize,
    bytes: usize,
}

impl Row {
    /// The row behind the pickle `(key, place, type)`; none for an unknown type, and without end for an impossible count.
    fn of_storage(pickle: &Pickle, rest: &[u8], order: Order) -> Option<Self> {
        let [_, _, class] = pickle.sequence(pickle.root())? else { return None };
        let dtype = dtype::from_storage_name(&pickle.global(*class)?.name)?.dtype;
        let count = rest.first_chunk::<8>().and_then(|count| u64::try_from(order.int(*count)).ok());
        let bytes = count.and_then(|count| usize::try_from(dtype.packed_bytes(count)?).ok());
        Some(Self { dtype, header: 8, bytes: bytes.unwrap_or(usize::MAX) })
    }
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
