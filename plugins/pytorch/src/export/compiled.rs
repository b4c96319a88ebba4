//! Packages of AOTInductor: models that are compiled to machine code. What is beside the code is described; the code
//! is never loaded.

use crate::container::Archive;
use crate::document::Document;
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    Attribute, AttributeValue, BackendError, Finding, LayerInfo, RSome, RString, RVec, Result, Severity,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the compiled models are, each in a folder of its name.
const FOLDER: &str = "data/aotinductor/";
/// Files of settings beside the code that are looked at; they are some hundred bytes.
const MAX_SETTINGS_BYTES: u64 = 64 << 10;

/// The files of each compiled model: their sizes by name.
pub fn models(archive: &Archive) -> BTreeMap<&str, Vec<(&str, u64)>> {
    let mut models: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for name in archive.names() {
        if let Some((model, file)) = name.strip_prefix(FOLDER).and_then(|rest| rest.split_once('/')) {
            models
                .entry(model)
                .or_default()
                .push((file, archive.record(name).map_or(0, |record| record.size)));
        }
    }
    models
}

/// Says that the package holds compiled models, as one of two things in it.
pub fn finding(archive: &Archive) -> Option<Finding> {
    let models = models(archive);
    (!models.is_empty()).then(|| Finding {
        severity: Severity::WARNING,
        code: "pt2.machine-code".into(),
        message:
            "the package holds machine code that AOTInductor has compiled, which Python would load and run"
                .into(),
        subjects: models.keys().map(|model| RString::from(*model)).collect(),
    })
}

/// Describes a package that has no program, only code: each model is a layer.
///
/// # Errors
/// `CorruptFile` when the settings beside the code cannot be read.
pub fn describe(archive: &Archive, document: &mut Document) -> Result<()> {
    let info = &mut document.info;
    info.producer = "AOTInductor".into();
    for (model, files) in models(archive) {
        let mut attributes: RVec<Attribute> = files
            .iter()
            .map(|(file, bytes)| {
                let bytes = AttributeValue::Int(i64::try_from(*bytes).unwrap_or(i64::MAX));
                Attribute { name: (*file).into(), value: bytes }
            })
            .collect();
        for (file, bytes) in &files {
            if !file.ends_with("_metadata.json") || *bytes > MAX_SETTINGS_BYTES {
                continue;
            }
            let content = archive.content(&format!("{FOLDER}{model}/{file}"))?;
            // A file that says nothing readable says nothing.
            let settings: Value = serde_json::from_slice(&content).unwrap_or_default();
            for (key, value) in settings.as_object().into_iter().flatten() {
                let name = key.strip_prefix("AOTI_").unwrap_or(key).to_lowercase().replace('_', " ");
                let is_new = !attributes.iter().any(|attribute| attribute.name == name.as_str());
                if let Some(text) = value.as_str().filter(|text| is_new && !text.is_empty()) {
                    info.metadata.push(pair(format!("{model}: {name}"), text));
                    let value = AttributeValue::Text(text.into());
                    attributes.push(Attribute { name: name.into(), value });
                }
            }
        }
        info.layers.push(LayerInfo {
            path: model.into(),
            op_type: "AOTInductor".into(),
            attributes,
            ..LayerInfo::default()
        });
    }
    info.findings.extend(finding(archive));
    info.run_obstacle = RSome(
        BackendError::unsupported_op("AOTInductor has compiled the model to machine code, which is not run here")
            .with_help(
                "Save the program itself, `torch.export.save(exported, \"model.pt2\")`, or run this file in Python \
                 with `torch._inductor.aoti_load_package(PATH)`.",
            ),
    );
    Ok(())
}
