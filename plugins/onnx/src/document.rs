//! A model file that has been read: its graph and its stored tensors, not yet interpreted.

use crate::convert;
use crate::external_data::ExternalFiles;
use crate::graph::{self, Graph, Stored, TensorData};
use crate::proto::{self, ModelProto, SparseTensorProto, TensorProto, dtype};
use crate::source::Source;
use bytes::Bytes;
use qp_abi::sdk::{BackendError, DType, MappedFile, Progress, Result, element_count};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// A sparse tensor is expanded to be read, up to this size.
const MAX_SPARSE_BYTES: u64 = 1 << 30;

/// A model file that has been read.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub source: Source,
    /// The model's header; graphs keep their nodes, but their tensors have moved to `tensors`.
    pub model: ModelProto,
    /// Layers, values and names.
    pub graph: Graph,
    /// The stored tensors.
    pub tensors: Tensors,
}

impl Document {
    /// Reads the model file at `path`, without touching weights, and makes something of it.
    ///
    /// # Errors
    /// Those of [`Source::open`] and [`proto::decode_model`], `CorruptFile` for a tensor whose shape and content
    /// contradict each other, and those of `make`. External data that cannot be read is not an error here.
    pub fn open<T>(path: &Path, progress: &Progress<'_>, make: impl FnOnce(Self) -> Result<T>) -> Result<T> {
        progress.update("reading the model", 0, 0)?;
        let source = Source::open(path)?;
        let file = source.file().cloned();
        let beside = OnceCell::new();
        let made = Self::of(source).and_then(|document| {
            let external = Arc::clone(&document.tensors.external);
            let made = make(document);
            let _ = beside.set(external.files());
            made
        });
        for file in file.iter().chain(beside.get().into_iter().flatten()) {
            file.check_unchanged()?;
        }
        made
    }

    /// Reads the content of `source`.
    ///
    /// # Errors
    /// Those of [`proto::decode_model`], and `CorruptFile` for a tensor whose shape and content contradict each other.
    pub fn of(source: Source) -> Result<Self> {
        let mut model = proto::decode_model(source.bytes(), &source.name())?;
        let mut graph = graph::index(&mut model)?;
        let stored = std::mem::take(&mut graph.tensors);
        let tensors = Tensors::new(stored, ExternalFiles::of(&source))?;
        Ok(Self { source, model, graph, tensors })
    }
}

/// What is known about a stored tensor without touching its elements.
#[derive(Clone, Debug)]
pub struct Description {
    /// The unique name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Vec<i64>,
    /// The size of the dense elements.
    pub bytes: u64,
    /// The file that holds them, if not the model file.
    pub external_file: String,
    /// Why they cannot be read.
    pub obstacle: Option<BackendError>,
    /// Whether only the nonzero elements are stored.
    pub is_sparse: bool,
}

/// The stored tensors of a model.
#[derive(Debug)]
pub struct Tensors {
    stored: Vec<Stored>,
    descriptions: Vec<Description>,
    external: Arc<ExternalFiles>,
}

/// The elements of one tensor, and the mapped file that they are in if it is not the model file.
#[derive(Debug)]
pub struct Elements {
    /// Dense, little-endian, packed.
    pub bytes: Bytes,
    /// To check before the bytes are read.
    pub source: Option<Arc<Source>>,
}

impl Tensors {
    fn new(stored: Vec<Stored>, external: ExternalFiles) -> Result<Self> {
        let describe = |stored: &Stored| describe(stored, &external);
        let descriptions = stored.iter().map(describe).collect::<Result<_>>()?;
        Ok(Self { stored, descriptions, external: Arc::new(external) })
    }

    /// The descriptions, by the index of the tensor.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// The files beside the model's.
    pub fn external(&self) -> &ExternalFiles {
        &self.external
    }

    /// The mapped file beside the model's that holds a tensor.
    pub fn file(&self, index: usize) -> Option<Arc<MappedFile>> {
        match &self.stored[index].data {
            TensorData::Dense(tensor) if convert::is_external(tensor) => self.external.file_of(tensor),
            TensorData::Dense(_) | TensorData::Sparse(_) => None,
        }
    }

    /// Opens all files beside the model's. The runtime reads them by itself, and opened ones can be watched meanwhile.
    pub fn open_all(&self) {
        let mut known = HashSet::new();
        for (index, description) in self.descriptions.iter().enumerate() {
            if !description.external_file.is_empty() && known.insert(&description.external_file) {
                let _ = self.file(index);
            }
        }
    }

    /// What is known about the tensor at this index.
    pub fn get(&self, index: usize) -> &Description {
        &self.descriptions[index]
    }

    /// The values that stand for the tensors, by the index of the tensor.
    pub fn value(&self, index: usize) -> Option<usize> {
        self.stored[index].value
    }

    /// The dense elements.
    ///
    /// # Errors
    /// Those of [`ExternalFiles::read`]; `UnsupportedOp` for a sparse tensor that is too large to expand.
    pub fn elements(&self, index: usize) -> Result<Elements> {
        match &self.stored[index].data {
            TensorData::Dense(tensor) if convert::is_external(tensor) => {
                let (bytes, source) = self.external.read(tensor)?;
                Ok(Elements { bytes, source })
            }
            TensorData::Dense(tensor) => Ok(Elements { bytes: convert::dense(tensor)?, source: None }),
            TensorData::Sparse(tensor) => {
                Ok(Elements { bytes: write_out(tensor, self.get(index))?.into(), source: None })
            }
        }
    }

    /// The dense elements alone.
    ///
    /// # Errors
    /// As [`Self::elements`].
    pub fn bytes(&self, index: usize) -> Result<Bytes> {
        Ok(self.elements(index)?.bytes)
    }
}

fn describe(stored: &Stored, external: &ExternalFiles) -> Result<Description> {
    let description = |tensor: &TensorProto, shape: &[i64], bytes| Description {
        name: stored.name.clone(),
        dtype: dtype(tensor.data_type),
        shape: shape.to_vec(),
        bytes,
        external_file: String::new(),
        obstacle: None,
        is_sparse: false,
    };
    match &stored.data {
        TensorData::Dense(tensor) => {
            let mut description = description(tensor, &tensor.dims, convert::dense_bytes(tensor)?);
            if convert::is_external(tensor) {
                match external.check(tensor) {
                    Ok(location) => description.external_file = location.map(|l| l.file).unwrap_or_default(),
                    Err(error) => {
                        description.external_file =
                            crate::external_data::Location::of(tensor).map(|l| l.file).unwrap_or_default();
                        description.obstacle = Some(error);
                    }
                }
            }
            Ok(description)
        }
        TensorData::Sparse(tensor) => {
            let empty = TensorProto::default();
            let values = tensor.values.as_ref().unwrap_or(&empty);
            let fault = |reason: &str| {
                BackendError::corrupt_file(format!("sparse tensor `{}`: {reason}", stored.name))
            };
            let elements = element_count(&tensor.dims).ok_or_else(|| fault("its shape is impossible"))?;
            let bytes = dtype(values.data_type)
                .packed_bytes(elements)
                .ok_or_else(|| fault("its shape or its element type is impossible"))?;
            convert::dense_bytes(values)?;
            if let Some(indices) = &tensor.indices {
                convert::dense_bytes(indices)?;
            }
            Ok(Description { is_sparse: true, ..description(values, &tensor.dims, bytes) })
        }
    }
}

/// The dense elements of a sparse tensor whose indices are flat or one row per value.
fn write_out(tensor: &SparseTensorProto, description: &Description) -> Result<Vec<u8>> {
    let fault =
        |reason: &str| BackendError::corrupt_file(format!("sparse tensor `{}`: {reason}", description.name));
    let size = description.dtype.bits() as usize / 8;
    let (Some(values), Some(indices)) = (&tensor.values, &tensor.indices) else {
        return Err(fault("its values or indices are missing"));
    };
    let is_readable = size > 0 && !convert::is_external(values) && !convert::is_external(indices);
    if !is_readable || description.bytes > MAX_SPARSE_BYTES {
        return Err(BackendError::unsupported_op(format!(
            "sparse tensor `{}` has an unsupported type, size or location",
            description.name
        )));
    }
    let mut dense = vec![0_u8; usize::try_from(description.bytes).unwrap_or_default()];
    let values = convert::dense(values)?;
    let columns = if indices.dims.len() == 2 { tensor.dims.len().max(1) } else { 1 };
    let numbers: Vec<i64> =
        convert::dense(indices)?.as_chunks::<8>().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect();
    if dtype(indices.data_type) != DType::INT64 || numbers.len() != values.len() / size * columns {
        return Err(fault("its indices do not match its values"));
    }
    for (value, index) in values.chunks_exact(size).zip(numbers.chunks_exact(columns)) {
        let flat = if columns == 1 {
            index[0]
        } else {
            index.iter().zip(&tensor.dims).try_fold(0_i64, |flat, (&index, &size)| {
                let is_inside = (0..size).contains(&index);
                is_inside.then_some(flat * size + index).ok_or_else(|| fault("an index is out of bounds"))
            })?
        };
        let place = usize::try_from(flat).ok().and_then(|flat| flat.checked_mul(size));
        let target = place.and_then(|at| dense.get_mut(at..at.checked_add(size)?));
        target.ok_or_else(|| fault("an index is out of bounds"))?.copy_from_slice(value);
    }
    Ok(dense)
}
