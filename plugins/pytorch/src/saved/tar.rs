//! Tar archives, as PyTorch before 0.1.10 wrote them: `storages`, `tensors` and `pickle`, the first two rows of
//! pickles with raw bytes between them. `torch.load` still reads them, with Python's own unpickler.
//!
//! All pickles are judged before the tensors are listed.

mod row;
mod tensors;

use super::root;
use crate::container::Source;
use crate::document::{Collector, Document};
use crate::judge::{Origin, add_pickles};
use crate::pickle::proof::Loader;
use crate::pickle::verdict::Verdict;
use crate::pickle::{decode, decode_part};
use crate::rebuild::{Rebuild, Storages};
use crate::tensor::Data;
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, Result};
use row::{Order, Row};
use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::sync::Arc;

const FORMAT: &str = "pickle-tar";
/// Members of an archive that are looked at.
const MAX_MEMBERS: usize = 4096;
/// Pickles in a row.
const MAX_PICKLES: usize = 1 << 20;

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
    root::add(rebuild, &mut collector, is_dangerous)?;
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
            verdict.add_ambiguity(format!("member `{shown}` occurs twice"));
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
            (None, _) if kind.is_file() => verdict.add_doubt("a truncated member of the tar archive"),
            _ => verdict.add_ambiguity(format!("member `{shown}` is not a plain file")),
        }
    }
    members
}

/// Judges a count, so many pickles each with raw bytes after it, and whatever pickles follow.
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
                return verdict.add_ambiguity("the tar archive has tensors of an unknown form");
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
