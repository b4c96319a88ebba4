//! The kind of a file, by its first bytes.

/// The first bytes of a zip archive that is not empty.
pub const ZIP: &[u8] = b"PK\x03\x04";
/// The first bytes of what PyTorch before 1.6 wrote: a pickle of the number 0x1950a86a20f9469cfc6c.
pub const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The mark of a mobile model in FlatBuffers form, and where it is.
const MOBILE: (usize, &[u8]) = (4, b"PTMF");
/// Larger headers of safetensors are refused; a model of a thousand layers needs a tenth of a megabyte.
pub const MAX_SAFETENSORS_HEADER: u64 = 32 << 20;
/// Larger indices are refused; a model with a hundred thousand tensors needs about ten megabytes.
const MAX_INDEX_BYTES: usize = 32 << 20;
/// Bytes of a header in a tar archive.
const TAR_BLOCK: usize = 512;

/// The kind of a file, as far as its bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A zip archive: TorchScript, an exported program, or what `torch.save` writes.
    Zip,
    /// A tar archive, as PyTorch before 0.1.10 wrote them.
    Tar,
    /// A mobile model in FlatBuffers form.
    Mobile,
    /// A file of the safetensors library.
    Safetensors,
    /// What `torch.save` wrote before PyTorch 1.6.
    Legacy,
    /// The index of a checkpoint in several files.
    Index,
    /// Something else; it may be a pickle.
    Other,
}

impl Kind {
    /// The kind of a file by its first bytes. An index is recognized only if they reach as far as the key `weight_map`.
    pub fn of(bytes: &[u8]) -> Self {
        // PyTorch asks in this order whether a file is an archive before it takes it for a pickle.
        if bytes.starts_with(ZIP) {
            Self::Zip
        } else if is_tar(bytes) {
            Self::Tar
        } else if is_mobile(bytes) {
            Self::Mobile
        } else if is_safetensors(bytes) {
            Self::Safetensors
        } else if bytes.starts_with(LEGACY) {
            Self::Legacy
        } else if is_index(bytes) {
            Self::Index
        } else {
            Self::Other
        }
    }
}

/// Whether a tar archive begins with a member that models have.
pub fn is_tar_of_model(head: &[u8]) -> bool {
    let name = head.get(..100).unwrap_or(head).split(|&byte| byte == 0).next().unwrap_or_default();
    matches!(name, b"storages" | b"tensors" | b"pickle")
}

/// Whether a file is a tar archive for Python, which goes by the checksum of the first header alone, and which
/// PyTorch asks before it takes a file for a pickle.
fn is_tar(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<TAR_BLOCK>() else { return false };
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

/// Whether a file is a mobile model in FlatBuffers form. It begins with a small offset, as no pickle does.
fn is_mobile(bytes: &[u8]) -> bool {
    let has_magic = bytes.get(MOBILE.0..).is_some_and(|rest| rest.starts_with(MOBILE.1));
    has_magic && bytes.get(1..4) == Some(&[0; 3])
}

/// Whether a file may be one of safetensors: the size of the header, and the brace that begins it.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((size, rest)) = head.split_first_chunk::<8>() else { return false };
    let size = u64::from_le_bytes(*size);
    rest.first() == Some(&b'{') && (2..=MAX_SAFETENSORS_HEADER).contains(&size)
}

/// Whether the content of a file may be the JSON index of a checkpoint in several files.
fn is_index(content: &[u8]) -> bool {
    const MAP: &[u8] = b"\"weight_map\"";
    let begins_an_object = content.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    begins_an_object
        && content.len() <= MAX_INDEX_BYTES
        && content.windows(MAP.len()).any(|window| window == MAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_archive_is_known_by_its_checksum() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(1);
        header.set_cksum();
        builder.append_data(&mut header, "pickle", &b"."[..]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        assert!(Kind::of(&bytes) == Kind::Tar && is_tar_of_model(&bytes));
        assert!(!bytes.windows(5).any(|window| window == b"ustar"));
        bytes[0] ^= 1;
        for other in [&bytes[..], &[0; 1024], b"\x80\x02}."] {
            assert_eq!(Kind::of(other), Kind::Other);
        }
    }

    #[test]
    fn other_files_are_known_by_their_first_bytes() {
        assert_eq!(Kind::of(b"PK\x03\x04\0\0"), Kind::Zip);
        assert_eq!(Kind::of(b"\x40\0\0\0\0\0\0\0{\"a"), Kind::Safetensors);
        assert_eq!(Kind::of(b"\x40\0\0\0\0\0\0\0[\"a"), Kind::Other);
        assert_eq!(Kind::of(b"\xff\xff\xff\xff\xff\xff\xff\xff{"), Kind::Other);
        assert_eq!(Kind::of(b"\x18\0\0\0PTMF\0\0"), Kind::Mobile);
        assert_eq!(Kind::of(b"\x18\x01\0\0PTMF\0\0"), Kind::Other);
        assert_eq!(Kind::of(&[LEGACY, b"rest"].concat()), Kind::Legacy);
        assert_eq!(Kind::of(b" {\"weight_map\": {}}"), Kind::Index);
        assert_eq!(Kind::of(b"[{\"weight_map\": {}}]"), Kind::Other);
        assert_eq!(Kind::of(b""), Kind::Other);
    }
}
