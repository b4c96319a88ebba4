//! The names of a session that can be completed, with what is said beside each.

use crate::model::shape_text;
use crate::playground::Playground;
use crate::render::number;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A name, and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The name.
    pub name: String,
    /// In a few words; may be empty.
    pub about: String,
}

/// A layer of the current model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownLayer {
    /// Its path.
    pub name: String,
    /// Its operator, and its output.
    pub about: String,
    /// Its operator or class.
    pub op_type: String,
    /// Whether it only quantizes or dequantizes.
    pub is_plumbing: bool,
    /// Whether it has weights.
    pub has_weights: bool,
    /// Whether it is quantized.
    pub is_quantized: bool,
}

/// A setting of runs that a plugin declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSetting {
    /// Its name.
    pub name: String,
    /// The values that it may have; none for any.
    pub values: Vec<String>,
    /// What it does.
    pub about: String,
}

/// The names of a session that can be completed.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Models and families.
    pub models: Vec<Known>,
    /// Layers of the current model.
    pub layers: Vec<KnownLayer>,
    /// Data sets.
    pub datasets: Vec<String>,
    /// Ids of plugins.
    pub backends: Vec<Known>,
    /// Extensions of the files that they read, without a dot.
    pub extensions: Vec<String>,
    /// Settings of runs.
    pub options: Vec<RunSetting>,
    /// Variables and their values.
    pub variables: Vec<Known>,
    /// Where relative paths start.
    pub base: PathBuf,
}

impl Vocabulary {
    /// The names of this session.
    pub fn of(playground: &Playground) -> Self {
        let manifests = || playground.backends.plugins().iter().filter_map(|plugin| plugin.manifest());
        let formats = || manifests().flat_map(|manifest| &manifest.formats);
        let backends = playground.backends.plugins().iter().map(|plugin| Known {
            name: plugin.id().to_owned(),
            about: plugin.manifest().map(|manifest| names_of_formats(&manifest.formats)).unwrap_or_default(),
        });
        Self {
            models: models(playground),
            layers: layers(playground),
            datasets: playground.datasets.keys().cloned().collect(),
            backends: backends.collect(),
            extensions: formats().flat_map(|format| format.extensions.iter().cloned()).collect(),
            options: manifests()
                .flat_map(|manifest| &manifest.options)
                .map(|option| RunSetting {
                    name: option.name.clone(),
                    values: option.values.clone(),
                    about: option.help.clone(),
                })
                .collect(),
            variables: playground
                .variables
                .iter()
                .map(|(name, value)| Known { name: name.to_owned(), about: value.to_string() })
                .collect(),
            base: playground.base.clone(),
        }
    }
}

fn names_of_formats(formats: &[crate::backend::Format]) -> String {
    formats.iter().map(|format| format.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn models(playground: &Playground) -> Vec<Known> {
    let variants = playground.catalog.iter().flat_map(|catalog| &catalog.variants);
    let about: BTreeMap<&str, String> = variants
        .map(|variant| {
            let precision =
                variant.digest.as_ref().map_or("cannot be read", |digest| digest.precision.as_str());
            (
                variant.id.as_str(),
                format!("{precision}, {}, {}", variant.format, number::bytes(variant.bytes)),
            )
        })
        .collect();
    let names = playground.names();
    let about_family = |family: &str| {
        let count = names.iter().filter(|named| named.family == family).count();
        format!("a family of {count}")
    };
    let mut models: Vec<Known> = names
        .iter()
        .map(|named| Known {
            name: named.id.clone(),
            about: about.get(named.id.as_str()).cloned().unwrap_or_else(|| "loaded".to_owned()),
        })
        .collect();
    let families = names.iter().map(|named| &named.family).filter(|family| !family.is_empty());
    models.extend(families.map(|family| Known { name: family.clone(), about: about_family(family) }));
    models.sort_by(|one, other| one.name.cmp(&other.name));
    models.dedup_by(|one, other| one.name == other.name);
    models
}

fn layers(playground: &Playground) -> Vec<KnownLayer> {
    let current = playground.current.as_ref();
    let Some(loaded) = playground.loaded().find(|loaded| Some(&loaded.path) == current) else {
        return Vec::new();
    };
    let info = loaded.info();
    let values = info.inputs.iter().chain(&info.outputs).chain(&info.values);
    let shapes: BTreeMap<&str, String> =
        values.filter_map(|value| Some((value.name.as_str(), shape_text(value.shape.as_ref()?)))).collect();
    info.layers
        .iter()
        .map(|layer| {
            let shape = layer.outputs.iter().find_map(|output| shapes.get(output.as_str()));
            KnownLayer {
                name: layer.path.clone(),
                about: shape
                    .map_or_else(|| layer.op_type.clone(), |shape| format!("{} {shape}", layer.op_type)),
                op_type: layer.op_type.clone(),
                is_plumbing: layer.kind.is_plumbing(),
                has_weights: !layer.weights.is_empty(),
                is_quantized: layer.quantization.is_some(),
            }
        })
        .collect()
}
