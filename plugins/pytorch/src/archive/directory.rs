//! Where two readers of a zip archive see different files. PyTorch's own reader goes by the last end record, finds
//! names whatever their case, and looks in the folder of the first entry; Python's `zipfile` and tools that unpack
//! do other things in each of these cases.

use crate::source::SourceReader;
use std::collections::HashSet;
use zip::{CompressionMethod, ZipArchive};

/// The record at the end of an archive, and its bytes without the comment.
const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
/// As many sentences as are of use.
const MAX_SENTENCES: usize = 8;

/// What the end of the file gives cause for.
pub(super) fn ambiguities(bytes: &[u8], zip: &ZipArchive<SourceReader>) -> Vec<String> {
    let Some(end) = bytes.windows(END.len()).rposition(|window| window == END) else {
        return vec!["the zip archive has no end record where PyTorch looks for it".to_owned()];
    };
    let record = bytes.get(end..).unwrap_or_default();
    let short =
        |at: usize| record.get(at..at + 2).map_or(0, |two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let long = |at: usize| {
        record
            .get(at..at + 4)
            .map_or(0, |four| u64::from(u32::from_le_bytes([four[0], four[1], four[2], four[3]])))
    };
    let mut found = Vec::new();
    if record.len() != END_BYTES + short(20) {
        found.push("bytes follow the end of the zip archive".to_owned());
    }
    let (count, size, start) = (short(10), long(12), long(16));
    let is_long =
        count == usize::from(u16::MAX) || size == u64::from(u32::MAX) || start == u64::from(u32::MAX);
    if !is_long {
        if count != zip.len() {
            found.push(
                "the zip archive has two entries of the same name, or claims another number of them"
                    .to_owned(),
            );
        }
        if start.saturating_add(size) != end as u64 {
            // Between the two, and before the end record, an archive of more than 4 GiB has further records.
            let is_followed = usize::try_from(start.saturating_add(size))
                .ok()
                .and_then(|next| bytes.get(next..))
                .is_some_and(|next| next.starts_with(b"PK\x06\x06"));
            if !is_followed {
                found.push("the table of contents is not where the end of the zip archive says".to_owned());
            }
        }
        if start != zip.central_directory_start() {
            found.push("the zip archive has two tables of contents".to_owned());
        }
    }
    if zip.has_duplicate_names() {
        found.push("the zip archive has two entries of the same name".to_owned());
    }
    found
}

/// What the names give cause for, in the order of the table of contents.
pub(super) fn name_ambiguities<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut first: Option<&str> = None;
    let mut has_others = false;
    for name in names {
        if !seen.insert(name.to_ascii_lowercase()) && found.len() < MAX_SENTENCES {
            found.push(format!("entry `{}` is there a second time, in another case", shown(name)));
        }
        let root = name.split_once('/').map_or("", |(root, _)| root);
        match first {
            None => first = Some(root),
            Some(first) if !first.is_empty() && root != first && !has_others => {
                has_others = true;
                found.push(format!(
                    "entry `{}` is outside of the folder `{}`, where PyTorch looks",
                    shown(name),
                    shown(first)
                ));
            }
            Some(_) => {}
        }
    }
    found
}

/// What the table of contents says of an entry.
pub(super) struct Listed<'a> {
    /// Its name, as it is.
    pub(super) name: &'a [u8],
    /// Bytes of its content.
    pub(super) size: u64,
    /// Bytes in the archive.
    pub(super) packed: u64,
    /// How it is compressed.
    pub(super) method: CompressionMethod,
}

/// Compares an entry's own header with the table of contents: readers that go by the one see another file than
/// those that go by the other.
pub(super) fn header_ambiguity(bytes: &[u8], start: u64, listed: &Listed<'_>) -> Option<String> {
    const FIXED: usize = 30;
    /// The sizes follow the content.
    const SIZES_FOLLOW: u16 = 1 << 3;
    /// The size is in a field of its own.
    const IS_LONG: u32 = u32::MAX;
    let name = String::from_utf8_lossy(listed.name);
    let name = shown(&name);
    let header = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
    let fixed = header.and_then(|header| header.first_chunk::<FIXED>());
    let (Some(header), Some(fixed)) = (header, fixed) else {
        return Some(format!("entry `{name}` has no header"));
    };
    let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let own_name = header.get(FIXED..FIXED + usize::from(short(26)));
    let is_same = |own: u32, listed: u64| own == IS_LONG || u64::from(own) == listed;
    let sizes_agree =
        short(6) & SIZES_FOLLOW != 0 || (is_same(long(18), listed.packed) && is_same(long(22), listed.size));
    let method = match listed.method {
        CompressionMethod::Stored => Some(0),
        CompressionMethod::Deflated => Some(8),
        _ => None,
    };
    let is_agreed = header.starts_with(super::MAGIC)
        && own_name == Some(listed.name)
        && sizes_agree
        && method.is_none_or(|method| method == short(8));
    (!is_agreed).then(|| {
        format!(
            "entry `{name}` has another name, size or compression in its header than in the table of contents"
        )
    })
}

fn shown(name: &str) -> String {
    let shown: String = name.escape_debug().take(100).collect();
    if name.len() > shown.len() { format!("{shown}…") } else { shown }
}
