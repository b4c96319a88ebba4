//! The backend: what the plugin is, and how a file becomes a model.

use crate::misbehaviour::Misbehaviour;
use crate::model::ToyModel;
use crate::{file, network};
use qp_abi::sdk::*;
use std::path::Path;

/// Reads and runs `.toy` files.
pub struct ToyBackend {
    misbehaviour: Option<Misbehaviour>,
}

impl Backend for ToyBackend {
    type Model = ToyModel;

    fn manifest() -> Manifest {
        Manifest {
            id: "toy".into(),
            name: "Toy".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: "Small networks written as text, for examples and tests".into(),
            formats: vec![Format {
                name: "toy".into(),
                extensions: vec!["toy".into()].into(),
                magic: vec![file::MAGIC.to_vec().into()].into(),
                description: "A network as text".into(),
            }]
            .into(),
            url_schemes: RVec::new(),
            features: ["inspect", "run", "capture", "edit", "emulate", "code", "read-real"]
                .map(RString::from)
                .to_vec()
                .into(),
            options: RVec::new(),
            extra: RVec::new(),
        }
    }

    fn create(setup: Setup) -> Result<Self> {
        let misbehaviour = match lookup(&setup.settings, "misbehave") {
            Some(way) => Some(Misbehaviour::from_name(way).ok_or_else(|| {
                BackendError::invalid_input(format!("invalid value `{way}` for the setting `misbehave`"))
            })?),
            None => None,
        };
        Misbehaviour::PanicInCreate.strikes(misbehaviour);
        Ok(Self { misbehaviour })
    }

    fn probe(&self, head: &[u8], _file_name: &str) -> Option<String> {
        head.starts_with(file::MAGIC).then(|| "toy".to_owned())
    }

    fn inspect(&self, location: &str, _options: &[Pair], progress: &Progress<'_>) -> Result<ModelInfo> {
        let network = file::read(Path::new(location), progress)?;
        let misbehaviour = network.misbehaviour.or(self.misbehaviour);
        Misbehaviour::PanicInInspect.strikes(misbehaviour);
        Misbehaviour::refuse(misbehaviour)?;
        Ok(Misbehaviour::distort(misbehaviour, network.info()))
    }

    fn runtime(&self) -> RuntimeStatus {
        // There is nothing to find, so there is no obstacle.
        RuntimeStatus {
            name: RString::new(),
            version: RString::new(),
            path: RString::new(),
            is_loaded: true,
            obstacle: RNone,
        }
    }

    fn open(&self, location: &str, _options: &[Pair], progress: &Progress<'_>) -> Result<ToyModel> {
        let network: network::Network = file::read(Path::new(location), progress)?;
        let misbehaviour = network.misbehaviour.or(self.misbehaviour);
        Misbehaviour::PanicInOpen.strikes(misbehaviour);
        Ok(ToyModel::new(network, misbehaviour))
    }
}
