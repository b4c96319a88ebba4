//! The root module: the one symbol of a plugin's library. Frozen; see the crate's README for how the
//! contract grows.

use crate::backend::BackendBox;
use crate::error::BackendError;
use crate::manifest::{Manifest, Setup};
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RResult;

/// The version of the contract in this crate.
pub const ABI_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a plugin's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// What the plugin is and can do; opens nothing.
    pub manifest: extern "C" fn() -> RResult<Manifest, BackendError>,
    /// Creates the backend. The host may call it again, to check a plugin.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(setup: Setup) -> RResult<BackendBox, BackendError>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "qp_plugin";
    const NAME: &'static str = "qp_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// Whether a host built against `wanted` can use a plugin built against `found`: the major version must be the same,
/// and below 1.0 the minor version too. The patch never matters.
pub fn is_compatible(wanted: &str, found: &str) -> bool {
    fn significant(version: &str) -> Option<(u32, u32)> {
        let mut parts = version.split('.');
        let major: u32 = parts.next()?.parse().ok()?;
        let minor: u32 = parts.next()?.parse().ok()?;
        Some((major, if major == 0 { minor } else { 0 }))
    }
    significant(wanted).is_some_and(|wanted| significant(found) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::is_compatible;

    #[test]
    fn below_one_the_minor_version_must_agree() {
        assert!(is_compatible("0.1.0", "0.1.7"));
        assert!(!is_compatible("0.1.0", "0.2.0"));
        assert!(!is_compatible("0.2.0", "0.1.0"));
    }

    #[test]
    fn from_one_on_the_major_version_decides() {
        assert!(is_compatible("1.4.0", "1.0.2"));
        assert!(!is_compatible("1.4.0", "2.0.0"));
        assert!(!is_compatible("1.0.0", "nonsense"));
    }
}
