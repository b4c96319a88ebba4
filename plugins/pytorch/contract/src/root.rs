//! The only symbol of the engine's library.

use crate::engine::EngineBox;
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RResult;
use qp_abi::BackendError;

/// The version of this contract; plugin and engine must have the same.
pub const CONTRACT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the engine's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EngineRef)))]
#[sabi(missing_field(panic))]
pub struct EngineRoot {
    /// Creates the engine. libtorch is in the process by then.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn() -> RResult<EngineBox, BackendError>,
}

impl RootModule for EngineRef {
    abi_stable::declare_root_module_statics! {EngineRef}
    const BASE_NAME: &'static str = "qp_pytorch_engine";
    const NAME: &'static str = "qp_pytorch_engine";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
