//! Tensors from the calls that PyTorch's pickles describe: what `torch._utils._rebuild_*` would build.

mod found;
mod storages;

pub use found::{Composite, Found, Rebuilt};
pub use storages::{Storages, storage_key};

use crate::pickle::{Object, Pickle, Ref, Value};
use crate::quant::dtype::{self, ElementType};
use crate::quant::{Quantizer, Scheme};
use crate::tensor::{Bits, Place, StoredTensor, can_negate};
use qp_abi::sdk::{BackendError, DType, Result};

/// Calls within calls until a tensor is reached: parameter, subclass, tensor.
const MAX_DEPTH: u32 = 16;
/// What a tensor is made of, and is not a composite itself, is looked for this much nearer to the end: two ways
/// on at each level are many thousands at the last.
const PART_DEPTH: u32 = MAX_DEPTH / 2;
/// Dimensions, as many as PyTorch has; more are refused before they are copied.
const MAX_RANK: usize = 64;
/// Tensors that a tensor is made of.
const MAX_PARTS: usize = 64;
/// What else it is made of: parts share what they are made of.
const MAX_ATTRIBUTES: usize = 1024;

/// Reads tensors from one pickle.
#[derive(Debug, Clone, Copy)]
pub struct Rebuild<'a> {
    /// The pickle.
    pub pickle: &'a Pickle,
    /// Its storages.
    pub storages: &'a Storages,
    /// Whether the storages are big-endian.
    pub is_big_endian: bool,
}

impl Rebuild<'_> {
    /// The tensor at `at`; `None` when there is something else.
    ///
    /// # Errors
    /// `CorruptFile` when there should be a tensor but its description makes no sense.
    pub fn tensor(&self, at: Ref) -> Result<Option<Rebuilt>> {
        self.tensor_within(at, 0)
    }

    /// The tensor at `at` when it is a plain one.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn plain(&self, at: Ref) -> Result<Option<Found>> {
        Ok(self.tensor(at)?.and_then(|rebuilt| match rebuilt {
            Rebuilt::Plain(found) => Some(found),
            Rebuilt::Composite(_) => None,
        }))
    }

    fn tensor_within(&self, at: Ref, depth: u32) -> Result<Option<Rebuilt>> {
        if let (Storages::Tensors(tensors), Value::Persistent(id)) = (self.storages, self.pickle.get(at)) {
            let number = self.pickle.text(*id).and_then(|number| number.parse().ok());
            let tensor = number.or(self.pickle.int(*id)).and_then(|number| tensors.get(&number)).cloned();
            let found = |tensor| Rebuilt::Plain(Found { tensor, quantizer: None, is_parameter: false });
            return Ok(tensor.map(found));
        }
        let Some(object) = self.pickle.object(at) else { return Ok(None) };
        let Some(global) = self.pickle.callable(object) else { return Ok(None) };
        if depth > MAX_DEPTH {
            return Err(BackendError::corrupt_file("a tensor is described by too many calls within calls"));
        }
        let arguments = self.pickle.arguments(object);
        let rebuilt = match (global.module.as_str(), global.name.as_str(), arguments) {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..])
            | ("torch.nn.parameter", "Parameter" | "Buffer", [data, ..]) => {
                let mut inner = self.tensor_within(*data, depth + 1)?;
                if let Some(Rebuilt::Plain(found)) = &mut inner {
                    found.is_parameter = true;
                }
                return Ok(inner);
            }
            ("torch._tensor", "_rebuild_from_type_v2", [function, class, arguments, state]) => {
                return self.of_class(*function, *class, *arguments, *state, depth);
            }
            (
                "torch._utils",
                "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor",
                [layout, arguments],
            ) => {
                return self.sparse(*layout, *arguments, depth).map(Some);
            }
            ("torch._utils", function, arguments) => self.call(function, arguments, depth)?,
            _ => None,
        };
        Ok(rebuilt.map(Rebuilt::Plain))
    }

    fn call(&self, function: &str, arguments: &[Ref], depth: u32) -> Result<Option<Found>> {
        let found = match (function, arguments) {
            ("_rebuild_tensor_v3", [storage, offset, shape, strides, _, _, dtype, rest @ ..]) => {
                let mut found = self.view(*storage, *offset, *shape, *strides)?;
                found.tensor.dtype =
                    self.element_type(*dtype).ok_or_else(|| corrupt("an unknown dtype"))?.dtype;
                self.set_bits(&mut found, rest)?;
                found
            }
            ("_rebuild_tensor_v2", [storage, offset, shape, strides, _, _, rest @ ..]) => {
                let mut found = self.view(*storage, *offset, *shape, *strides)?;
                self.set_bits(&mut found, rest)?;
                found
            }
            ("_rebuild_tensor" | "_rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
                self.view(*storage, *offset, *shape, *strides)?
            }
            ("_rebuild_qtensor", [storage, offset, shape, strides, quantizer, ..]) => {
                let mut found = self.view(*storage, *offset, *shape, *strides)?;
                found.quantizer = Some(self.quantizer(*quantizer, found.tensor.dtype, depth)?);
                found
            }
            ("_rebuild_meta_tensor_no_storage", [dtype, shape, strides, ..]) => {
                let dtype = self.element_type(*dtype).ok_or_else(|| corrupt("an unknown dtype"))?.dtype;
                self.found(Place::Nowhere, dtype, 0, *shape, *strides)?
            }
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// Takes the bits of a view from `{"neg": True, "conj": True}`, which TorchScript wraps in
    /// `restore_type_tag(value, type)`.
    fn set_bits(&self, found: &mut Found, metadata: &[Ref]) -> Result<()> {
        let Some(&at) = metadata.first() else { return Ok(()) };
        let wrapped =
            self.pickle.object(at).and_then(|object| self.pickle.arguments(object).first().copied());
        let at = if self.pickle.entries(at).is_some() { at } else { wrapped.unwrap_or(at) };
        let is_set = |name| self.pickle.entry(at, name).and_then(|at| self.pickle.int(at)) == Some(1);
        let bits = Bits { is_negative: is_set("neg"), is_conjugate: is_set("conj") };
        if bits.is_negative && !can_negate(found.tensor.dtype) {
            return Err(corrupt(&format!("a negative bit on elements of type {}", found.tensor.dtype)));
        }
        found.tensor.bits = bits;
        Ok(())
    }

    fn view(&self, storage: Ref, offset: Ref, shape: Ref, strides: Ref) -> Result<Found> {
        let offset = self.pickle.int(offset).ok_or_else(|| corrupt("an offset that is not a number"))?;
        let (place, element_type, view_offset) = self.storage(storage)?;
        let offset = offset.checked_add(view_offset).ok_or_else(|| corrupt("an impossible offset"))?;
        self.found(place, element_type.dtype, offset, shape, strides)
    }

    fn found(&self, place: Place, dtype: DType, offset: i64, shape: Ref, strides: Ref) -> Result<Found> {
        let (shape, strides) = (self.sizes(shape), self.sizes(strides));
        let (shape, strides) = shape.zip(strides).ok_or_else(|| corrupt("an invalid shape"))?;
        let is_big_endian = self.is_big_endian;
        let tensor =
            StoredTensor { place, dtype, offset, shape, strides, is_big_endian, bits: Bits::default() };
        Ok(Found { tensor, quantizer: None, is_parameter: false })
    }

    fn sizes(&self, at: Ref) -> Option<Vec<i64>> {
        self.pickle.sequence(at).filter(|sizes| sizes.len() <= MAX_RANK)?;
        self.pickle.ints(at)
    }

    /// The storage of a persistent id `('storage', type, key, location, elements[, view])`.
    fn storage(&self, at: Ref) -> Result<(Place, ElementType, i64)> {
        let mut at = at;
        // `torch.storage.TypedStorage(wrap_storage=…, dtype=…)` wraps the id in newer files.
        if let Some(object) = self.pickle.object(at)
            && let [inner, ..] = self.pickle.arguments(object)
        {
            at = *inner;
        }
        let Value::Persistent(id) = self.pickle.get(at) else { return Err(corrupt("no storage")) };
        let Some([tag, class, key, _location, _elements, view @ ..]) = self.pickle.sequence(*id) else {
            return Err(corrupt("a storage id of an unknown form"));
        };
        if self.pickle.text(*tag) != Some("storage") {
            return Err(corrupt("a storage id of an unknown form"));
        }
        let class = self.pickle.global(*class).map(|class| class.name.as_str()).unwrap_or_default();
        let element_type = dtype::from_storage_name(class)
            .ok_or_else(|| corrupt(&format!("an unknown storage type `{class}`")))?;
        let key = storage_key(self.pickle, *key).ok_or_else(|| corrupt("a storage key that is not text"))?;
        // In the legacy format a storage may be a part of another: (its own key, offset, elements).
        let view_offset =
            view.first().and_then(|&view| self.pickle.sequence(view)).and_then(|view| view.get(1).copied());
        let view_offset = view_offset.and_then(|offset| self.pickle.int(offset)).unwrap_or(0);
        let place = self.storages.place(&key).ok_or_else(|| corrupt("a missing storage"))?;
        Ok((place, element_type, view_offset))
    }

    fn quantizer(&self, at: Ref, dtype: DType, depth: u32) -> Result<Quantizer> {
        let parts = self.pickle.sequence(at).unwrap_or_default();
        let scheme = match parts {
            [scheme, scale, zero_point] if self.is_named(*scheme, "per_tensor") => {
                let scale =
                    self.pickle.float(*scale).ok_or_else(|| corrupt("a scale that is not a number"))?;
                let zero_point = self
                    .pickle
                    .float(*zero_point)
                    .ok_or_else(|| corrupt("a zero point that is not a number"))?;
                Scheme::PerTensor { scale, zero_point }
            }
            [scheme, scales, zero_points, axis] if self.is_named(*scheme, "per_channel") => {
                let plain = |at, what| match self.tensor_within(at, depth + PART_DEPTH)? {
                    Some(Rebuilt::Plain(found)) => Ok(found),
                    _ => Err(corrupt(what)),
                };
                let scales = plain(*scales, "scales that are not a tensor")?;
                let zero_points = plain(*zero_points, "zero points that are not a tensor")?;
                let axis = self.pickle.int(*axis).ok_or_else(|| corrupt("an axis that is not a number"))?;
                let (scales, zero_points) = (Box::new(scales.tensor), Box::new(zero_points.tensor));
                Scheme::PerChannel { scales, zero_points, axis }
            }
            _ => return Err(corrupt("a quantizer of an unknown form")),
        };
        Ok(Quantizer { dtype, scheme })
    }

    fn is_named(&self, at: Ref, prefix: &str) -> bool {
        self.pickle
            .global(at)
            .is_some_and(|global| global.module == "torch" && global.name.starts_with(prefix))
    }

    /// The type of a `torch.<dtype>`.
    pub fn element_type(&self, at: Ref) -> Option<ElementType> {
        let global = self.pickle.global(at)?;
        (global.module == "torch").then(|| dtype::from_torch_name(&global.name)).flatten()
    }

    /// `_rebuild_from_type_v2(function, class, arguments, state)`: a tensor of a subclass.
    fn of_class(
        &self,
        function: Ref,
        class: Ref,
        arguments: Ref,
        state: Ref,
        depth: u32,
    ) -> Result<Option<Rebuilt>> {
        let Some(function) = self.pickle.global(function) else { return Ok(None) };
        let arguments = self.pickle.sequence(arguments).unwrap_or_default();
        if function.module != "torch._utils" {
            return Ok(None);
        }
        let [_, dtype, shape, ..] = arguments else { return Ok(None) };
        if function.name != "_rebuild_wrapper_subclass" {
            return Ok(self.call(&function.name, arguments, depth)?.map(Rebuilt::Plain));
        }
        let mut composite = Composite {
            classes: vec![self.pickle.global(class).map(|class| class.name.clone()).unwrap_or_default()],
            dtype: self.element_type(*dtype).map_or(DType::UNDEFINED, |found| found.dtype),
            shape: self.sizes(*shape).unwrap_or_default(),
            parts: Vec::new(),
            attributes: Vec::new(),
        };
        // The state is a dictionary, or (dictionary or none, slots).
        let states = match self.pickle.get(state) {
            Value::Tuple(parts) => parts.get(..2).unwrap_or(parts).to_vec(),
            _ => vec![state],
        };
        for (name, value) in states.into_iter().flat_map(|state| self.pickle.named_entries(state)) {
            match self.tensor_within(value, depth + 1)? {
                Some(Rebuilt::Plain(found)) => composite.parts.push((name.to_owned(), found)),
                Some(Rebuilt::Composite(inner)) => {
                    let join = |part: String| format!("{name}.{part}");
                    composite.classes.extend(inner.classes);
                    composite.parts.extend(inner.parts.into_iter().map(|(part, found)| (join(part), found)));
                    composite
                        .attributes
                        .extend(inner.attributes.into_iter().map(|(part, value)| (join(part), value)));
                }
                None => composite.attributes.push((name.to_owned(), value)),
            }
            if composite.parts.len().max(composite.classes.len()) > MAX_PARTS
                || composite.attributes.len() > MAX_ATTRIBUTES
            {
                return Err(corrupt("too many parts"));
            }
        }
        Ok(Some(Rebuilt::Composite(composite)))
    }

    fn sparse(&self, layout: Ref, arguments: Ref, depth: u32) -> Result<Rebuilt> {
        let arguments = self.pickle.sequence(arguments).unwrap_or_default();
        let mut composite = Composite {
            classes: vec!["sparse tensor".to_owned()],
            dtype: DType::UNDEFINED,
            shape: Vec::new(),
            parts: Vec::new(),
            attributes: Vec::new(),
        };
        // `torch.serialization._get_layout("torch.sparse_coo")` with (indices, values, size, is_coalesced); the compressed layouts with the pointers of rows
        // or columns, the others, the values, and the size.
        let call = self.pickle.object(layout).and_then(|call| self.pickle.arguments(call).first());
        let layout = call.and_then(|name| self.pickle.text(*name)).unwrap_or_default();
        let names: &[&str] = match layout.strip_prefix("torch.") {
            Some("sparse_csr" | "sparse_bsr") => &["crow_indices", "col_indices", "values"],
            Some("sparse_csc" | "sparse_bsc") => &["ccol_indices", "row_indices", "values"],
            _ => &["indices", "values"],
        };
        for (name, &argument) in names.iter().zip(arguments) {
            if let Some(Rebuilt::Plain(found)) = self.tensor_within(argument, depth + PART_DEPTH)? {
                composite.dtype = found.tensor.dtype;
                composite.parts.push(((*name).to_owned(), found));
            }
        }
        composite.shape = arguments.iter().find_map(|&argument| self.sizes(argument)).unwrap_or_default();
        Ok(Rebuilt::Composite(composite))
    }

    /// The tensors in a value, in order: the state of packed parameters has them in nested tuples and lists.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn all_within(&self, at: Ref) -> Result<Vec<Found>> {
        const MAX_VISITED: usize = 256;
        let (mut found, mut visited, mut waiting) = (Vec::new(), 0, vec![at]);
        while let Some(at) = waiting.pop() {
            visited += 1;
            if visited > MAX_VISITED {
                break;
            }
            if let Some(tensor) = self.plain(at)? {
                found.push(tensor);
                continue;
            }
            if let Some(elements) = self.pickle.sequence(at) {
                waiting.extend(elements.iter().take(MAX_VISITED).rev());
            } else if let Some(object @ Object { state, elements, .. }) = self.pickle.object(at) {
                // `torch.jit._pickle.build_tensorlist([…])`
                if self.pickle.callable(object).is_some_and(|global| global.module == "torch.jit._pickle") {
                    waiting.extend(self.pickle.arguments(object).iter().take(MAX_VISITED).rev());
                }
                waiting.extend(elements.iter().take(MAX_VISITED).rev());
                waiting.extend(state);
            }
        }
        Ok(found)
    }
}

fn corrupt(what: &str) -> BackendError {
    BackendError::corrupt_file(format!("the pickle describes a tensor with {what}"))
}
