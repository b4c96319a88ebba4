//! Whether files that are not models, or are damaged, are rejected without harm.

use super::Suite;
use super::tools::{Outcome, breach, expect_error, indifferent, location, skip, well_formed};
use crate::error::{BackendError, ErrorKind};
use crate::model::ModelInfo;
use crate::sink::{FnSink, TensorSink_TO};
use crate::tensor::TensorView;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSome};
use std::fs;
use std::path::{Path, PathBuf};

/// Larger samples are not copied and damaged.
const MOST_BYTES: u64 = 32 << 20;

/// How many damaged copies are tried.
const ROUNDS: u64 = 24;

/// How a file that is not a model of this backend is rejected.
const NO_MODEL: &[ErrorKind] = &[
    ErrorKind::CORRUPT_FILE,
    ErrorKind::UNSUPPORTED_FORMAT,
    ErrorKind::UNSUPPORTED_OP,
    ErrorKind::UNSAFE_FILE,
];

pub(super) fn any_head_can_be_probed(suite: &Suite<'_>) -> Outcome {
    let mut noise = Noise(1);
    let mut heads: Vec<Vec<u8>> = vec![Vec::new(), vec![0; 1], vec![0; 4096], noise.bytes(4096)];
    for magic in suite.manifest.formats.iter().flat_map(|format| format.magic.iter()) {
        heads.push(magic.to_vec());
        heads.push(magic[..magic.len() - 1].to_vec());
        heads.push(magic.iter().copied().chain(noise.bytes(100)).collect());
    }
    for head in heads {
        for name in ["", "x", "x.", ".x", "ß\u{301}.bin"] {
            let answer = suite.backend.probe(head.as_slice().into(), name.into()).into_result();
            match answer.map_err(|error| format!("{error:?}"))? {
                RSome(format) if !suite.manifest.formats.iter().any(|known| known.name == format) => {
                    return breach(format!("it names the format `{format}`, which is not in its manifest"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

pub(super) fn missing_file(suite: &Suite<'_>) -> Outcome {
    for path in suite.files("missing") {
        suite.both_refuse(&path, &[ErrorKind::NOT_FOUND])?;
    }
    Ok(())
}

pub(super) fn empty_file(suite: &Suite<'_>) -> Outcome {
    for path in suite.files("empty") {
        write(&path, &[])?;
        suite.both_refuse(&path, NO_MODEL)?;
    }
    Ok(())
}

pub(super) fn noise(suite: &Suite<'_>) -> Outcome {
    for path in suite.files("noise") {
        write(&path, &Noise(7).bytes(5000))?;
        suite.both_refuse(&path, NO_MODEL)?;
    }
    Ok(())
}

pub(super) fn folder(suite: &Suite<'_>) -> Outcome {
    let kinds = [ErrorKind::IO, ErrorKind::NOT_FOUND, ErrorKind::INVALID_INPUT];
    for path in suite.files("folder") {
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        suite.both_refuse(&path, &[&kinds[..], NO_MODEL].concat())?;
    }
    Ok(())
}

pub(super) fn cut_short(suite: &Suite<'_>, path: &Path) -> Outcome {
    let bytes = sample(path)?;
    let file = suite.damaged_name(path);
    for eighths in 0..8 {
        write(&file, &bytes[..bytes.len() * eighths / 8])?;
        suite.survives(&file).map_err(|reason| format!("cut at {eighths}/8: {reason}"))?;
    }
    write(&file, &bytes[..bytes.len().saturating_sub(1)])?;
    suite.survives(&file).map_err(|reason| format!("cut by one byte: {reason}"))?;
    Ok(())
}

pub(super) fn damaged(suite: &Suite<'_>, path: &Path) -> Outcome {
    let bytes = sample(path)?;
    let file = suite.damaged_name(path);
    for round in 0..ROUNDS {
        let mut noise = Noise(round + 1);
        let mut copy = bytes.clone();
        // Few and many places, the whole file or only its ends, where headers and directories are.
        let reach = if round % 2 == 0 { copy.len() } else { copy.len().min(512) };
        for _ in 0..1 + (round % 4) * 8 {
            let offset = noise.below(reach);
            let at = if round % 3 == 0 { copy.len() - 1 - offset } else { offset };
            copy[at] = noise.next() as u8;
        }
        write(&file, &copy)?;
        suite.survives(&file).map_err(|reason| format!("round {round}: {reason}"))?;
    }
    Ok(())
}

impl Suite<'_> {
    /// A path for each of the manifest's extensions.
    fn files(&self, stem: &str) -> Vec<PathBuf> {
        let extensions = self.manifest.formats.iter().flat_map(|format| format.extensions.iter());
        let mut files: Vec<PathBuf> =
            extensions.map(|extension| self.scratch.join(format!("{stem}.{extension}"))).collect();
        files.sort();
        files.dedup();
        files
    }

    fn damaged_name(&self, sample: &Path) -> PathBuf {
        let name = sample.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.scratch.join(format!("damaged-{name}"))
    }

    fn both_refuse(&self, path: &Path, kinds: &[ErrorKind]) -> Outcome {
        let (location, progress) = (location(path)?, indifferent());
        expect_error(self.backend.inspect(location.into(), [][..].into(), progress.as_ref()), kinds)?;
        expect_error(self.backend.open(location.into(), [][..].into(), progress.as_ref()), kinds)
    }

    /// Inspects and opens a damaged file and reads all its tensors: each may fail, none may panic.
    fn survives(&self, path: &Path) -> Result<(), String> {
        let location = path.to_str().unwrap_or_default();
        let progress = indifferent();
        let inspected = self.backend.inspect(location.into(), [][..].into(), progress.as_ref());
        let info: Option<ModelInfo> = no_defect("inspect", inspected)?;
        let opened = self.backend.open(location.into(), [][..].into(), progress.as_ref());
        let (Some(info), Some(model)) = (info, no_defect("open", opened)?) else { return Ok(()) };
        for tensor in &info.tensors {
            let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
            let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
            no_defect(
                "read_tensor",
                model.read_tensor(tensor.name.as_str().into(), sink, progress.as_ref()),
            )?;
        }
        Ok(())
    }
}

/// An error must blame the file, and be well-formed.
fn no_defect<T>(what: &str, answer: RResult<T, BackendError>) -> Result<Option<T>, String> {
    let error = match answer.into_result() {
        Ok(value) => return Ok(Some(value)),
        Err(error) => error,
    };
    let is_the_files_fault = NO_MODEL.contains(&error.kind)
        // External data that is named wrongly, or is missing next to the copy.
        || [ErrorKind::NOT_FOUND, ErrorKind::IO].contains(&error.kind);
    match well_formed(&error) {
        Ok(()) if is_the_files_fault => Ok(None),
        _ => Err(format!("{what}: {error:?}")),
    }
}

fn sample(path: &Path) -> Outcome<Vec<u8>> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MOST_BYTES {
        return skip(format!("its {size} bytes are too many to copy"));
    }
    if size == 0 {
        return skip("it is empty");
    }
    Ok(fs::read(path).map_err(|error| error.to_string())?)
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    // A new file, not a shorter one: a backend may have the old one mapped.
    let _ = fs::remove_file(path);
    Ok(fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Numbers that look random but are the same each time (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
