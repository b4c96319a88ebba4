//! Where two readers of a zip archive see different files. PyTorch's own reader goes by the last end record, finds
//! names whatever their case, and looks in the folder of the first entry; Python's `zipfile` and tools that unpack
//! do other things in each of these cases.

use super::kind::ZIP;
use super::source::SourceReader;
use std::collections::HashSet;
use zip::{CompressionMethod, ZipArchive};

/// The record at the end of an archive, and its bytes without the comment.
const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
/// Entries that decide what an archive is: some of PyTorch's readers find them in any case, others do not.
const RECORDS: &[&str] = &["archive_format", "byteorder", "constants.pkl", "data.pkl", "version"];
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
    let plain = Table { count: short(10) as u64, size: long(12), start: long(16) };
    let table = match long_table(bytes, end) {
        // Readers go by the longer record if it is there, or if the plain one refers to it.
        Some(longer) => {
            let agrees = |plain: u64, longer: u64, mark: u64| plain == longer || plain == mark;
            let is_agreed = agrees(plain.count, longer.count, u64::from(u16::MAX))
                && agrees(plain.size, longer.size, u64::from(u32::MAX))
                && agrees(plain.start, longer.start, u64::from(u32::MAX));
            if !is_agreed || longer.start.checked_add(longer.size) != Some(longer.at) {
                found.push("the zip archive has two end records that disagree".to_owned());
            }
            longer
        }
        None => {
            if plain.start.saturating_add(plain.size) != end as u64 {
                found.push("the table of contents is not where the end of the zip archive says".to_owned());
            }
            LongTable { count: plain.count, size: plain.size, start: plain.start, at: end as u64 }
        }
    };
    if table.count != zip.len() as u64 {
        found.push(
            "the zip archive has two entries of the same name, or claims another number of them".to_owned(),
        );
    }
    if table.start != zip.central_directory_start() {
        found.push("the zip archive has two tables of contents".to_owned());
    }
    if zip.has_duplicate_names() {
        found.push("the zip archive has two entries of the same name".to_owned());
    }
    found
}

/// What an end record says of the table of contents.
struct Table {
    count: u64,
    size: u64,
    start: u64,
}

/// The same of the end record of archives beyond 4 GiB, with the place of that record.
struct LongTable {
    count: u64,
    size: u64,
    start: u64,
    at: u64,
}

/// The longer end record, if what refers to it stands before the plain one at `end`.
fn long_table(bytes: &[u8], end: usize) -> Option<LongTable> {
    const LOCATOR: &[u8] = b"PK\x06\x07";
    const LOCATOR_BYTES: usize = 20;
    const RECORD: &[u8] = b"PK\x06\x06";
    let locator = bytes.get(end.checked_sub(LOCATOR_BYTES)?..end)?;
    if !locator.starts_with(LOCATOR) {
        return None;
    }
    let number = |from: &[u8], at: usize| {
        from.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|eight| u64::from_le_bytes(*eight))
    };
    let at = number(locator, 8)?;
    let record = bytes.get(usize::try_from(at).ok()?..)?;
    // What is not a record is a table that nothing agrees with.
    let is_one = record.starts_with(RECORD);
    let field = |at: usize| if is_one { number(record, at).unwrap_or(0) } else { 0 };
    Some(LongTable { count: field(32), size: field(40), start: field(48), at })
}

/// What the names give cause for, in the order of the table of contents.
pub(super) fn name_ambiguities<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut first: Option<&str> = None;
    let mut has_others = false;
    for name in names {
        if !seen.insert(name.to_ascii_lowercase()) && found.len() < MAX_SENTENCES {
            found.push(format!("entry `{}` occurs twice, in different case", shown(name)));
        }
        let inner = name.split_once('/').map_or(name, |(_, inner)| inner);
        if RECORDS.iter().any(|record| inner.eq_ignore_ascii_case(record) && inner != *record) {
            found.push(format!("entry `{}` is not in the case that PyTorch writes", shown(name)));
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
    let is_agreed = header.starts_with(ZIP)
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
