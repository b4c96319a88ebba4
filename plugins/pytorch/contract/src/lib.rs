//! The contract between the `pytorch` plugin, which reads files, and its engine, which runs them with libtorch.
//!
//! The engine is a separate library next to the plugin and is opened at the first run, so that reading does not link
//! libtorch. It exports one symbol, from [`export_engine!`]. The plugin compares its version, then the layouts of all
//! types, before it calls anything in it; a header without layouts is rejected. Both come from one build: the
//! versions must be equal.
//!
//! What crosses the boundary follows the rules of `qp-abi`: borrowed views end with their call, the sink and the
//! progress are passed in, every entry is under the panic guard. What both sides must agree on is here, too: the
//! operators that a model may call ([`operator_list`]), and the nesting that libtorch's parsers can take ([`nesting`]). [`table`] looks up entries of such lists.
#![expect(unsafe_code, reason = "the derives of abi_stable expand to unsafe code")]
#![expect(non_local_definitions, reason = "`sabi_trait` puts its impls into a module of their own")]
#![expect(unused_qualifications, reason = "the derives of abi_stable write full paths")]

pub mod boundary;
pub mod engine;
pub mod nesting;
pub mod operator_list;
pub mod program;
pub mod root;
pub mod table;

/// The version of `abi_stable` that this contract uses, for the export macro.
pub use abi_stable;

pub use engine::{EngineBox, ModelBox, RunRequest};
pub use root::{CONTRACT_VERSION, EngineRef};
