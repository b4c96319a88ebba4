#![doc = include_str!("../README.md")]
#![expect(unsafe_code, reason = "the derives of abi_stable expand to unsafe code")]
#![expect(non_local_definitions, reason = "`sabi_trait` puts its impls into a module of their own")]
#![expect(unused_qualifications, reason = "the derives of abi_stable write full paths")]

pub mod backend;
pub mod dtype;
pub mod error;
pub mod guard;
pub mod layer;
pub mod manifest;
pub mod model;
pub mod quant;
pub mod root;
pub mod sdk;
pub mod sink;
pub mod tensor;

/// The version of `abi_stable` that this contract uses, for the host's loader and the export macro.
pub use abi_stable;

pub use backend::{Backend, BackendBox, Model, ModelBox};
pub use dtype::DType;
pub use error::{BackendError, ErrorKind};
pub use layer::{Bounds, InputCodes, InputRole, LayerKind, ValueOrigin, WeightUse};
pub use manifest::{Format, Manifest, OptionInfo, Setup};
pub use model::{LayerInfo, ModelInfo, TensorInfo, ValueInfo};
pub use quant::QuantizationParameters;
pub use root::{ABI_VERSION, PluginRef};
pub use sink::{ProgressRef, TensorSinkMut};
pub use tensor::TensorView;
