//! Checkpoints in several files, with an index: `{"metadata": {…}, "weight_map": {tensor: file}}`, as Hugging Face
//! writes them (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).
//!
//! The index is the model file and the shards are its external files. A shard lies in the folder of the index, with
//! all links followed; where the index is a link itself, as in Hugging Face's cache, also in the folder of the file
//! that it leads to. What is missing, cut short or not as the index says is a finding that names the tensors; the
//! rest is described.

use crate::container::{Archive, Kind, Source, json};
use crate::document::obstacle::{self, Loader};
use crate::document::{Collector, Document};
use crate::eager::StateDict;
use crate::pickle::decode;
use crate::pickle::verdict::Verdict;
use crate::rebuild::{Rebuild, Storages};
use crate::saved::legacy;
use crate::tensor::{Data, Place, Shard, StoredTensor};
use crate::{judge, safetensors};
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, ErrorKind, Finding, RSome, RString, Result, Severity};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The largest models have some hundreds.
const MAX_SHARDS: usize = 4096;
/// Subjects that a finding lists at most.
const MAX_SUBJECTS: usize = 64;
/// The key that makes a JSON file an index.
const MAP: &str = "weight_map";

/// Reads the index and the table of contents of each shard; no tensor is touched but those that describe others.
///
/// # Errors
/// `CorruptFile` when the index makes no sense, or no shard can be read.
pub fn read(source: Arc<Source>) -> Result<(Document, Verdict)> {
    let content = source.bytes()?;
    let index = json::parse(content, content.len() as u64)
        .map_err(|error| corrupt("it is not JSON").with_cause(error))?;
    let map = index.get(MAP).and_then(Value::as_object).ok_or_else(|| corrupt("it maps no tensors"))?;
    let shards = Shards::of(map)?;
    let path = source.path().to_owned();
    let place = Folder::of(&path)?;
    let mut reader = Reader {
        collector: Collector::new("sharded", Data::of_file(source)),
        state: StateDict::default(),
        absent: BTreeMap::new(),
        verdict: Verdict::default(),
        is_pickled: false,
    };
    let metadata = index.get("metadata").and_then(Value::as_object).into_iter().flatten();
    for (key, value) in metadata {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        reader.collector.document.info.metadata.push(pair(key.as_str(), text));
    }
    let mut first_error = None;
    let mut is_any_read = false;
    for (file, names) in &shards.files {
        match reader.shard(&place, file, names) {
            Ok(()) => is_any_read = true,
            Err(error) => {
                let number = reader.add_shard(file, None);
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                reader.add_absent(number, file, &error, names);
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if !is_any_read => Err(error),
        _ => reader.finish(shards.files.len(), &path),
    }
}

fn corrupt(cause: impl Into<String>) -> BackendError {
    BackendError::corrupt_file("the index of the shards is damaged").with_cause(cause.into())
}

/// The shards in the order in which the index names them first, each with its tensors.
struct Shards<'a> {
    files: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Shards<'a> {
    fn of(map: &'a Map<String, Value>) -> Result<Self> {
        let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, file) in map {
            let file = file
                .as_str()
                .ok_or_else(|| corrupt(format!("it names no file for `{}`", name.escape_debug())))?;
            let place = *places.entry(file).or_insert_with(|| {
                files.push((file, Vec::new()));
                files.len() - 1
            });
            if let Some((_, names)) = files.get_mut(place) {
                names.push(name);
            }
        }
        match files.len() {
            0 => Err(corrupt("it maps no tensors")),
            count if count > MAX_SHARDS => Err(corrupt(format!("it names {count} files"))),
            _ => Ok(Self { files }),
        }
    }
}

struct Reader {
    collector: Collector,
    state: StateDict,
    /// What is not there, by file and reason.
    absent: BTreeMap<(String, String), (BackendError, Vec<String>)>,
    /// That on the pickles of all shards.
    verdict: Verdict,
    is_pickled: bool,
}

impl Reader {
    /// Takes what the index expects of one file.
    fn shard(&mut self, folder: &Folder, file: &str, names: &[&str]) -> Result<()> {
        let path = folder.resolve(file)?;
        let source = Arc::new(Source::open(&path)?);
        match Kind::of(source.bytes()?) {
            Kind::Safetensors => self.safetensors(file, source, names),
            Kind::Zip | Kind::Legacy => self.pickled(file, source, names),
            _ => Err(BackendError::unsupported_format(format!(
                "`{}` is neither a safetensors file nor one of `torch.save`",
                file.escape_debug()
            ))),
        }
    }

    fn safetensors(&mut self, file: &str, source: Arc<Source>, names: &[&str]) -> Result<()> {
        let contents = safetensors::contents(&source)?;
        let shown = format!("`{}`", file.escape_debug());
        let refused = safetensors::layout::finding(&shown, &contents.faults);
        self.collector.document.info.findings.extend(refused);
        let mut wanted: HashSet<&str> = names.iter().copied().collect();
        let number = self.add_shard(file, Some(Data::of_file(source)));
        let mut tensors = Vec::with_capacity(names.len());
        let mut unlisted = Vec::new();
        let mut cut = Vec::new();
        for (name, tensor) in &contents.tensors {
            if !wanted.remove(name.as_str()) {
                unlisted.push(name.clone());
                continue;
            }
            let (mut tensor, error) = match tensor {
                Ok(tensor) => {
                    let error = contents.check(name, tensor).err().map(|_| cut_short());
                    (tensor.clone(), error)
                }
                Err(error) => (unknown(), Some(error.clone())),
            };
            let place = if error.is_some() { Place::Nowhere } else { tensor.place };
            tensor.place = Place::Shard { number, place: Box::new(place) };
            cut.extend(error.map(|error| (error, name.clone())));
            tensors.push((name.clone(), tensor));
        }
        for (error, name) in cut {
            self.note_absent(file, &error, vec![name]);
        }
        self.mismatches(file, number, wanted, unlisted);
        // What each shard says of itself is the same in all, but for the descriptions of its own tensors.
        let known: HashSet<(String, String)> = self
            .collector
            .document
            .info
            .metadata
            .iter()
            .map(|known| (known.0.to_string(), known.1.to_string()))
            .collect();
        let metadata: Vec<(String, String)> =
            contents.metadata.into_iter().filter(|entry| !known.contains(entry)).collect();
        safetensors::subclasses::add(tensors, &metadata, &mut self.state, &mut self.collector)
    }

    fn pickled(&mut self, file: &str, source: Arc<Source>, names: &[&str]) -> Result<()> {
        self.is_pickled = true;
        let is_archive = Kind::of(source.bytes()?) == Kind::Zip;
        let (pickle, storages, data, is_big_endian) = if is_archive {
            let archive = Arc::new(Archive::read(source)?);
            self.verdict.absorb(judge::of_archive(&archive));
            let pickle = decode(&archive.content("data.pkl")?)?;
            let is_big_endian = archive.is_big_endian()?;
            (pickle, Storages::Folder("data/".to_owned()), Data::of_archive(archive), is_big_endian)
        } else {
            self.verdict.absorb(judge::of_pickles(source.bytes()?));
            let parts = legacy::parts(&source)?;
            (parts.pickle, parts.storages, Data::of_file(source), parts.is_big_endian)
        };
        let number = self.add_shard(file, Some(data));
        let storages = Storages::Shard(number, Box::new(storages));
        let rebuild = Rebuild { pickle: &pickle, storages: &storages, is_big_endian };
        let held: HashSet<&str> =
            pickle.named_entries(pickle.root()).into_iter().map(|(name, _)| name).collect();
        let listed: HashSet<&str> = names.iter().copied().collect();
        self.state.add_pickled(rebuild, pickle.root(), &|name| listed.contains(name), &mut self.collector)?;
        let missing = listed.difference(&held).copied().collect();
        let unlisted = held.difference(&listed).map(|name| (*name).to_owned()).collect();
        self.mismatches(file, number, missing, unlisted);
        Ok(())
    }

    fn add_shard(&mut self, file: &str, data: Option<Data>) -> usize {
        self.collector.document.data.add_shard(Shard { name: file.to_owned(), is_entry: false, data })
    }

    /// Lists tensors of which nothing but their names is known, and says why.
    fn add_absent(&mut self, number: usize, file: &str, error: &BackendError, names: Vec<String>) {
        let held = self.state.names();
        for name in names.iter().filter(|name| !held.contains(*name)) {
            let mut tensor = unknown();
            tensor.place = Place::Shard { number, place: Box::new(Place::Nowhere) };
            self.state.add(name.clone(), tensor);
        }
        self.note_absent(file, error, names);
    }

    fn note_absent(&mut self, file: &str, error: &BackendError, names: Vec<String>) {
        let reason = match error.causes.first() {
            Some(cause) => format!("{}: {cause}", error.message),
            None => error.message.to_string(),
        };
        let entry =
            self.absent.entry((file.to_owned(), reason)).or_insert_with(|| (error.clone(), Vec::new()));
        entry.1.extend(names);
    }

    fn mismatches(&mut self, file: &str, number: usize, missing: HashSet<&str>, mut unlisted: Vec<String>) {
        if !missing.is_empty() {
            let mut missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
            missing.sort();
            let error =
                BackendError::corrupt_file("the file does not hold the tensors that the index lists for it");
            self.add_absent(number, file, &error, missing);
        }
        if !unlisted.is_empty() {
            unlisted.sort();
            let message = format!(
                "`{}` holds {} tensors that the index does not name; they are left out",
                file.escape_debug(),
                unlisted.len()
            );
            self.collector.document.info.findings.push(finding(
                Severity::WARNING,
                "shards.unlisted-tensors",
                message,
                unlisted,
            ));
        }
    }

    fn finish(self, count: usize, path: &Path) -> Result<(Document, Verdict)> {
        let Self { mut collector, state, absent, verdict, is_pickled } = self;
        state.finish(&mut collector)?;
        let info = &mut collector.document.info;
        info.versions.push(pair("shards", count.to_string()));
        info.producer = if is_pickled { "PyTorch" } else { "safetensors" }.into();
        let loader = Loader::Shards { are_pickled: is_pickled };
        info.run_obstacle = RSome(obstacle::weights_alone(loader, path, info));
        for ((file, reason), (error, names)) in absent {
            let (severity, code) = match error.kind {
                ErrorKind::UNSAFE_FILE => (Severity::DANGER, "shards.unsafe"),
                ErrorKind::NOT_FOUND => (Severity::WARNING, "shards.missing"),
                _ => (Severity::WARNING, "shards.unreadable"),
            };
            let are = if names.len() == 1 {
                "1 tensor is".to_owned()
            } else {
                format!("{} tensors are", names.len())
            };
            let message = match error.kind {
                ErrorKind::UNSAFE_FILE => reason,
                _ => format!("{are} missing with `{}`: {reason}", file.escape_debug()),
            };
            info.findings.push(finding(severity, code, message, names));
        }
        Ok((collector.document, verdict))
    }
}

fn finding(severity: Severity, code: &str, message: String, subjects: Vec<String>) -> Finding {
    let subjects = subjects.into_iter().take(MAX_SUBJECTS).map(RString::from).collect();
    Finding { severity, code: code.into(), message: message.into(), subjects }
}

fn cut_short() -> BackendError {
    BackendError::corrupt_file("the file ends before its tensors do")
}

/// A tensor of which nothing is known: no elements of no type.
fn unknown() -> StoredTensor {
    StoredTensor::dense_at(Place::Nowhere, DType::UNDEFINED, vec![0])
}

/// Where shards may be.
struct Folder {
    /// The folder of the index.
    path: PathBuf,
    /// The same with all links followed.
    real: PathBuf,
    /// The folder of the file that the index is a link to.
    linked: Option<PathBuf>,
}

impl Folder {
    fn of(index: &Path) -> Result<Self> {
        let path = match index.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let real = path.canonicalize().map_err(|error| BackendError::io(&path, &error))?;
        let linked = index.canonicalize().ok().and_then(|index| index.parent().map(Path::to_owned));
        Ok(Self { path, real, linked })
    }

    /// The file that the index names.
    fn resolve(&self, file: &str) -> Result<PathBuf> {
        let outside = |reason: &str| {
            BackendError::unsafe_file(format!("the index reads `{}`, which is {reason}", file.escape_debug()))
                .with_help("Put the shards into the folder of the index.")
        };
        let relative = Path::new(file);
        for component in relative.components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err(outside("outside of its folder")),
                Component::RootDir | Component::Prefix(_) => return Err(outside("an absolute path")),
            }
        }
        let path = self.path.join(relative);
        let real = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                BackendError::not_found("the file does not exist").with_help("Put it beside the index.")
            }
            _ => BackendError::io(&path, &error),
        })?;
        let is_beside = real.starts_with(&self.real) || real.parent() == self.linked.as_deref();
        if is_beside { Ok(real) } else { Err(outside("a link out of its folder")) }
    }
}
