//! The contract between the `pytorch` plugin, which reads files, and its engine, which runs them with libtorch.
//!
//! The engine is a library of its own that lies beside the plugin and is opened at the first run, so that reading links
//! no libtorch. It exports one symbol, from [`export_engine!`]. The plugin compares its version, then the layouts of all
//! types, before it calls anything of it; a header without layouts is refused. Both come from one build: the versions
//! must be the same.
//!
//! What crosses keeps the rules of `qp-abi`: borrowed views end with their call, the sink and the progress are passed in,
//! every entry is under the panic guard. What both sides must see alike is here, too: names ([`names`]), the operators
//! that a model may call ([`operator_list`]), and what libtorch's parsers are spared ([`nesting`]). [`table`] finds the entries of
//! such lists.
#![expect(unsafe_code, reason = "the derives of abi_stable expand to unsafe code")]
#![expect(non_local_definitions, reason = "`sabi_trait` puts its impls into a module of their own")]
#![expect(unused_qualifications, reason = "the derives of abi_stable write full paths")]

pub mod boundary;
pub mod engine;
pub mod names;
pub mod nesting;
pub mod operator_list;
pub mod program;
pub mod root;
pub mod table;

/// The `abi_stable` this contract is written in, for the export macro.
pub use abi_stable;

pub use engine::{EngineBox, ModelBox, RunRequest};
pub use root::{CONTRACT_VERSION, EngineRef};
