//! Checkpoints as training scripts save them: `tests/data/make.py` says what is in each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{ErrorKind, ModelInfo, TensorRole};
use std::path::{Path, PathBuf};
use support::{backend, inspect, open, read_tensor};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn metadata<'a>(info: &'a ModelInfo, name: &str) -> Option<&'a str> {
    info.metadata.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
}

fn names(info: &ModelInfo) -> Vec<&str> {
    info.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn help(info: &ModelInfo) -> String {
    let obstacle = info.run_obstacle.as_ref().into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSUPPORTED_OP);
    obstacle.help.to_string()
}

#[test]
fn a_lightning_checkpoint_is_its_state_dict_and_its_settings() {
    let info = inspect(&data("lightning.ckpt")).unwrap();
    assert_eq!(names(&info), ["model.a.weight", "model.b.weight"]);
    assert_eq!(info.producer, "PyTorch Lightning 2.4.0");
    assert_eq!(metadata(&info, "epoch"), Some("3"));
    assert_eq!(metadata(&info, "hyper_parameters.net.width"), Some("4"));
    assert_eq!(metadata(&info, "also saved"), Some("callbacks, optimizer_states"));
    let help = help(&info);
    assert!(help.contains("weights_only=True)[\"state_dict\"]"), "{help}");
    assert!(help.contains("removeprefix(\"model.\")"), "{help}");
    assert!(help.find("torch.export.save") < help.find("torch.jit.trace"), "{help}");
}

#[test]
fn the_state_of_an_optimizer_has_no_parameters() {
    let info = inspect(&data("optimizer.pt")).unwrap();
    assert_eq!(names(&info), ["state.0.exp_avg", "state.0.step"]);
    assert!(info.tensors.iter().all(|tensor| tensor.role == TensorRole::BUFFER));
    assert!(info.run_obstacle.into_option().unwrap().message.contains("optimizer"));
    let info = inspect(&data("training.pt")).unwrap();
    assert_eq!(names(&info), ["policy.module.model.a.weight", "policy.module.model.b.weight"]);
    assert_eq!(info.layers.len(), 2);
}

/// `tensors.pt` under an index: a pickle as a shard, one of its tensors quantized, the rest not asked for.
#[test]
fn a_pickle_may_be_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("pytorch_model.bin.index.json");
    for (file, kept) in [("tensors.pt", "pytorch_model-1.bin"), ("tensors_legacy.pt", "pytorch_model-2.bin")]
    {
        std::fs::copy(data(file), folder.path().join(kept)).unwrap();
    }
    std::fs::write(
        &index,
        r#"{"weight_map": {"qint8": "pytorch_model-1.bin", "sliced": "pytorch_model-2.bin"}}"#,
    )
    .unwrap();
    let info = inspect(&index).unwrap();
    assert_eq!((info.format.as_str(), names(&info)), ("sharded", vec!["qint8", "sliced"]));
    assert_eq!(info.tensors[1].external_file, "pytorch_model-2.bin");
    let model = open(&backend(), &index).unwrap();
    assert_eq!(read_tensor(&model, "qint8").unwrap().bytes, [2, 254, 3, 2]);
    assert_eq!(read_tensor(&model, "sliced").unwrap().bytes, [2, 0, 5, 0, 8, 0]);
    let unlisted = info.findings.iter().filter(|finding| finding.code == "shards.unlisted-tensors").count();
    assert_eq!(unlisted, 2);
    assert!(help(&info).contains("torch.load("));
}
