//! What qp and a worker say to each other: the contract's types in a form that can be sent.

use super::files::Files;
use super::shared::{ALIGNMENT, Shared};
use crate::backend::{CheckLine, PythonPlaces};
use qp_abi::abi_stable::std_types::{ROption, RString, Tuple2};
use qp_abi::backend::{Edit, Fetch, RunReport};
use qp_abi::error::ErrorKind;
use qp_abi::manifest::{Pair, pair};
use qp_abi::{BackendError, DType, QuantizationParameters, Setup, TensorView};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// From this many bytes on, the elements of a change go through shared memory, if all such have at least `LEAST_ROOM` together: each
/// memory takes a descriptor.
const LARGE_BYTES: usize = 64 << 10;
const LEAST_ROOM: usize = 1 << 20;

/// To the worker itself.
#[derive(Serialize, Deserialize)]
pub(super) enum Control {
    /// The first message: what the backend is made with. Answered.
    Start(Beginning),
    /// One more folder of runtimes.
    Folder(String),
    /// No run follows for now.
    Idle,
    /// A model will be opened: the socket for it and its memory come with this.
    Model,
    /// The first message of another kind: try the claims of the contract.
    Check(Checking),
}

/// What a check needs.
#[derive(Serialize, Deserialize)]
pub(super) struct Checking {
    /// The program that runs models for the check.
    pub(super) program: PathBuf,
    /// Claims to leave out, from the first on.
    pub(super) skipped: usize,
    pub(super) library: PathBuf,
    pub(super) samples: Vec<PathBuf>,
    pub(super) runtime_folders: Vec<PathBuf>,
    pub(super) settings: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) python: PythonPlaces,
}

/// What a worker begins with.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Beginning {
    pub(super) library: String,
    pub(super) runtime_folders: Vec<String>,
    pub(super) settings: Vec<(String, String)>,
    /// Folders that were found later.
    pub(super) more_folders: Vec<String>,
    /// The most bytes of memory that the process may map.
    pub(super) memory_limit: Option<u64>,
}

impl Beginning {
    pub(super) fn setup(&self) -> Setup {
        Setup {
            library_path: self.library.as_str().into(),
            runtime_folders: self.runtime_folders.iter().map(|folder| folder.as_str().into()).collect(),
            settings: to_pairs(&self.settings).into(),
        }
    }
}

/// To the worker, about one model.
#[derive(Serialize, Deserialize)]
pub(super) enum Order<'a> {
    /// Which of these models, a model and those that it was made from, is open? Answered with a [`Answer::Known`].
    Which(Vec<u64>),
    /// Opens a file as the model with this number.
    Open { id: u64, location: String, files: Files },
    /// Makes a model with changes of an open one. With `has_memory`, memory with the elements of large tensors comes with this.
    Edit { id: u64, of: u64, edits: Cow<'a, [Change]>, has_memory: bool },
    /// Memory for inputs comes with this.
    Memory,
    /// Computes.
    Run { inputs: Vec<Placed>, fetch: u8, names: Vec<String>, options: Vec<(String, String)> },
    /// A named request.
    Request { name: String, payload: String },
    /// A part of the memory for results is free again; false if nothing more is wanted.
    Free(bool),
}

/// From the worker.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(Fault),
    /// The place of the model in the list that is open.
    Known(Option<usize>),
    /// A tensor or the next piece of one.
    Piece(Placed),
    /// A part of the memory for results is full.
    Full,
    /// The end of a run.
    Ran(Ran),
    /// The answer to a request.
    Text(String),
    /// The id of the plugin that is checked.
    Plugin(String),
    /// A claim is about to be tried, on this file.
    Begins(String, Option<String>),
    /// It was tried.
    Tried(CheckLine),
}

/// A tensor, or a piece of one, and where its elements are.
#[derive(Serialize, Deserialize)]
pub(super) struct Placed {
    name: String,
    dtype: u8,
    shape: Vec<i64>,
    first_element: u64,
    quantization: Option<Codes>,
    pub(super) place: Place,
}

/// Where elements are.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Place {
    /// In shared memory.
    Shared { offset: usize, bytes: usize },
    /// Here: texts, and what is in no shared memory.
    Here(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Place {
    /// How much of a memory these bytes take.
    pub(super) fn room(bytes: &[u8]) -> usize {
        bytes.len().next_multiple_of(ALIGNMENT)
    }

    /// Copies bytes to `memory` behind the `used` ones.
    pub(super) fn behind(used: &mut usize, memory: &Shared, bytes: &[u8]) -> io::Result<Self> {
        memory.write(*used, bytes)?;
        let place = Self::Shared { offset: *used, bytes: bytes.len() };
        *used += Self::room(bytes);
        Ok(place)
    }

    /// The elements; `memory` is where shared ones are.
    pub(super) fn bytes<'a>(&'a self, memory: Option<&'a Shared>) -> io::Result<&'a [u8]> {
        match (self, memory) {
            (Self::Here(bytes), _) => Ok(bytes),
            (Self::Shared { offset, bytes }, Some(memory)) => memory.read(*offset, *bytes),
            (Self::Shared { .. }, None) => Err(io::Error::other("there is no memory for these elements")),
        }
    }
}

impl Placed {
    pub(super) fn of(view: &TensorView<'_>, first_element: u64, place: Place) -> Self {
        let quantization = match view.quantization {
            ROption::RSome(parameters) => Some(Codes::of(parameters)),
            ROption::RNone => None,
        };
        Self {
            name: view.name.as_str().to_owned(),
            dtype: view.dtype.0,
            shape: view.shape.to_vec(),
            first_element,
            quantization,
            place,
        }
    }

    /// Its quantization parameters in the contract's form.
    pub(super) fn parameters(&self) -> Option<QuantizationParameters> {
        self.quantization.as_ref().map(Codes::parameters)
    }

    /// The view that it was made of, with these elements.
    pub(super) fn view<'a>(
        &'a self,
        bytes: &'a [u8],
        parameters: Option<&'a QuantizationParameters>,
    ) -> TensorView<'a> {
        TensorView {
            name: self.name.as_str().into(),
            dtype: DType(self.dtype),
            shape: self.shape.as_slice().into(),
            first_element: self.first_element,
            bytes: bytes.into(),
            quantization: parameters.map_or(ROption::RNone, ROption::RSome),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Codes {
    dtype: u8,
    scales: Vec<f64>,
    zero_points: Vec<f64>,
    scale_count: u64,
    axis: Option<i64>,
    block_size: Option<i64>,
    names: (String, String),
    is_dynamic: bool,
    code_range: Option<(i64, i64)>,
}

impl Codes {
    fn of(parameters: &QuantizationParameters) -> Self {
        let text = |text: &RString| text.as_str().to_owned();
        Self {
            dtype: parameters.dtype.0,
            scales: parameters.scales.to_vec(),
            zero_points: parameters.zero_points.to_vec(),
            scale_count: parameters.scale_count,
            axis: parameters.axis.into_option(),
            block_size: parameters.block_size.into_option(),
            names: (text(&parameters.scale_name), text(&parameters.zero_point_name)),
            is_dynamic: parameters.is_dynamic,
            code_range: parameters.code_range.into_option().map(|Tuple2(low, high)| (low, high)),
        }
    }

    fn parameters(&self) -> QuantizationParameters {
        QuantizationParameters {
            dtype: DType(self.dtype),
            scales: self.scales.clone().into(),
            zero_points: self.zero_points.clone().into(),
            scale_count: self.scale_count,
            axis: self.axis.into(),
            block_size: self.block_size.into(),
            scale_name: self.names.0.as_str().into(),
            zero_point_name: self.names.1.as_str().into(),
            is_dynamic: self.is_dynamic,
            code_range: self.code_range.map(|(low, high)| Tuple2(low, high)).into(),
        }
    }
}

/// A [`BackendError`].
#[derive(Serialize, Deserialize)]
pub(super) struct Fault {
    kind: u16,
    message: String,
    causes: Vec<String>,
    help: String,
    detail: String,
}

impl From<BackendError> for Fault {
    fn from(error: BackendError) -> Self {
        Self {
            kind: error.kind.0,
            message: error.message.into_string(),
            causes: error.causes.into_iter().map(RString::into_string).collect(),
            help: error.help.into_string(),
            detail: error.detail.into_string(),
        }
    }
}

impl From<Fault> for BackendError {
    fn from(fault: Fault) -> Self {
        Self {
            kind: ErrorKind(fault.kind),
            message: fault.message.into(),
            causes: fault.causes.into_iter().map(RString::from).collect(),
            help: fault.help.into(),
            detail: fault.detail.into(),
        }
    }
}

/// An [`Edit`].
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Change {
    action: String,
    target: String,
    arguments: Vec<(String, String)>,
    dtype: u8,
    shape: Vec<i64>,
    place: Place,
}

impl Change {
    /// Edits as they are sent, and the memory that has the elements of large tensors.
    pub(super) fn all_of(edits: &[Edit]) -> (Vec<Self>, Option<Shared>) {
        let is_large = |edit: &Edit| edit.bytes.len() >= LARGE_BYTES;
        let large = edits.iter().filter(|edit| is_large(edit));
        let room: usize = large.map(|edit| Place::room(&edit.bytes)).sum();
        // Without memory they are sent as small ones are.
        let memory = (room >= LEAST_ROOM).then(|| Shared::new(room).ok()).flatten();
        let mut used = 0;
        let mut place = |edit: &Edit| {
            let shared = memory.as_ref().filter(|_| is_large(edit));
            let place = shared.and_then(|memory| Place::behind(&mut used, memory, &edit.bytes).ok());
            place.unwrap_or_else(|| Place::Here(edit.bytes.to_vec()))
        };
        let change = |edit: &Edit| Self {
            action: edit.action.as_str().to_owned(),
            target: edit.target.as_str().to_owned(),
            arguments: from_pairs(&edit.arguments),
            dtype: edit.dtype.0,
            shape: edit.shape.to_vec(),
            place: place(edit),
        };
        (edits.iter().map(change).collect(), memory)
    }

    /// The edit that it was made of; `memory` is what came with it.
    pub(super) fn edit(self, memory: Option<&Shared>) -> io::Result<Edit> {
        let bytes = match self.place {
            Place::Here(bytes) => bytes,
            shared => shared.bytes(memory)?.to_vec(),
        };
        Ok(Edit {
            action: self.action.into(),
            target: self.target.into(),
            arguments: to_pairs(&self.arguments).into(),
            dtype: DType(self.dtype),
            shape: self.shape.into(),
            bytes: bytes.into(),
        })
    }
}

/// A [`RunReport`].
#[derive(Serialize, Deserialize)]
pub(super) struct Ran {
    runtime: String,
    runtime_version: String,
    elapsed_ns: u64,
    settings: Vec<(String, String)>,
}

impl From<RunReport> for Ran {
    fn from(report: RunReport) -> Self {
        Self {
            runtime: report.runtime.into_string(),
            runtime_version: report.runtime_version.into_string(),
            elapsed_ns: report.elapsed_ns,
            settings: from_pairs(&report.settings),
        }
    }
}

impl From<Ran> for RunReport {
    fn from(ran: Ran) -> Self {
        Self {
            runtime: ran.runtime.into(),
            runtime_version: ran.runtime_version.into(),
            elapsed_ns: ran.elapsed_ns,
            settings: to_pairs(&ran.settings).into(),
        }
    }
}

/// The code of what a run delivers.
pub(super) fn fetch(code: u8) -> Fetch {
    Fetch(code)
}

pub(super) fn to_pairs(list: &[(String, String)]) -> Vec<Pair> {
    list.iter().map(|(name, text)| pair(name.clone(), text.clone())).collect()
}

pub(super) fn from_pairs(pairs: &[Pair]) -> Vec<(String, String)> {
    pairs.iter().map(|Tuple2(name, text)| (name.as_str().to_owned(), text.as_str().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_elements_of_changes_go_through_memory_and_small_ones_do_not() {
        let edit = |bytes: usize, fill: u8| Edit {
            action: "store".into(),
            target: "w".into(),
            arguments: vec![pair("as", "v")].into(),
            dtype: DType::UINT8,
            shape: vec![bytes as i64].into(),
            bytes: vec![fill; bytes].into(),
        };
        let edits = [edit(3, 1), edit((1 << 20) + 1, 2), edit(LARGE_BYTES, 3), edit(0, 4)];
        let (changes, memory) = Change::all_of(&edits);
        let memory = memory.unwrap();
        let sent = postcard::to_stdvec(&changes).unwrap();
        assert!(sent.len() < 200, "{} bytes", sent.len());
        let received: Vec<Change> = postcard::from_bytes(&sent).unwrap();
        for (change, edit) in received.into_iter().zip(&edits) {
            let again = change.edit(Some(&memory)).unwrap();
            assert_eq!(
                (&again.target, &again.arguments, &again.shape),
                (&edit.target, &edit.arguments, &edit.shape)
            );
            assert!(again.bytes == edit.bytes);
        }
        let lost = changes.into_iter().map(|change| change.edit(None).is_err());
        assert_eq!(lost.collect::<Vec<_>>(), [false, true, true, false]);
        assert!(Change::all_of(&[edit(LARGE_BYTES, 0)]).1.is_none());
    }
}
