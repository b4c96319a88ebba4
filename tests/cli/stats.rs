//! `stats`, and the channels of `weights`.

use crate::support::world::World;
use serde_json::Value;

fn close(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() <= 1e-12 * expected.abs()
}

fn rows(found: &Value, key: &str) -> Vec<Value> {
    found[key].as_array().unwrap().clone()
}

/// NumPy on the initializers that the Python package `onnx` reads: x = (codes - zero_point) * float64(scale),
/// abs(x - x.mean()).max() / x.std() for the peak.
#[test]
fn every_tensor_has_the_statistics_of_numpy() {
    let world = World::new();
    let found = world.json("stats models/resnet8_int8.onnx");
    let tensors = rows(&found, "tensors");
    // 10 weights, 10 biases, 2 constants.
    assert_eq!((tensors.len(), &found["total"]), (22, &Value::from(22)));
    let weight = tensors.iter().find(|row| row["name"] == "layer3.conv2.weight_quantized").unwrap();
    assert!(close(&weight["min"], -0.303_744_787_815_958_26), "{weight}");
    assert!(close(&weight["max"], 0.350_687_164_114_788_2), "{weight}");
    assert!(close(&weight["mean"], 0.002_169_113_391_131_658), "{weight}");
    assert!(close(&weight["standard_deviation"], 0.069_489_498_065_004_8), "{weight}");
    assert!(close(&weight["peak_sigmas"], 5.015_406_074_708_31), "{weight}");
    assert_eq!((&weight["zeros"], &weight["layer"]), (&645.into(), &"layer3.conv2".into()));
}

#[test]
fn stats_can_be_filtered_sorted_and_cut() {
    let world = World::new();
    let found = world.json("stats models/resnet8.onnx --match 'layer3*' --sort count --top 1");
    assert_eq!(found["tensors"][0]["name"], "layer3.conv2.weight");
    assert_eq!(found["total"], 6);
    let ran = world.run("stats models/resnet8.onnx --match 'nothing*'");
    assert_eq!(ran.error(), "`models/resnet8.onnx` stores no tensor that matches `nothing*`");
}

/// NumPy on the same tensor: x[5] and q[5] of axis 0, x[:, 3] with `np.histogram(x, bins=5)`.
#[test]
fn channels_have_their_own_statistics_and_codes() {
    let world = World::new();
    let looked = world.json("weights layer1.conv1 --model models/resnet8_int8.onnx --channels");
    let channels = rows(&looked, "channels");
    assert_eq!((channels.len(), &looked["dead"]), (16, &Value::from(0)));
    assert!(close(&channels[5]["min"], -0.289_718_771_819_025_3), "{}", channels[5]);
    assert!(close(&channels[5]["max"], 0.281_817_350_769_415_5), "{}", channels[5]);
    assert!(close(&channels[5]["standard_deviation"], 0.105_016_497_519_936_5), "{}", channels[5]);
    assert_eq!(channels[5]["codes"]["used"], 97);
    assert!(close(&channels[5]["codes"]["effective_bits"], 6.599_912_842_187_128), "{}", channels[5]);
    let looked =
        world.json("weights layer1.conv1 --model models/resnet8_int8.onnx --channel 3 --axis 1 --bins 5");
    assert_eq!(looked["counts"], serde_json::json!([18, 42, 38, 32, 14]));
    assert!(close(&looked["statistics"]["min"], -0.218_605_982_372_537_26), "{looked}");
    let ran = world.run("weights layer1.conv1 --model models/resnet8_int8.onnx --channel 16");
    assert_eq!(ran.hint(), "Choose one from 0 to 15.");
}

/// The bias of the first layer is a tensor of that layer; its name alone says which.
#[test]
fn a_tensor_can_be_named_without_its_layer() {
    let world = World::new();
    let looked = world.json("weights --model models/resnet8.onnx --tensor stem.bias");
    assert_eq!((&looked["layer"], &looked["statistics"]["count"]), (&"stem".into(), &16.into()));
    let ran = world.run("weights --model models/resnet8.onnx --tensor bias");
    assert_eq!(ran.error(), "`bias` matches 10 tensors");
}

/// NumPy in float64, on the initializers that `onnx` reads and the packed weight that PyTorch unpacks: DESIGN's
/// formulas, and `np.histogram(x, bins=6, range=(lowest, highest))` over all variants.
#[test]
fn variants_are_compared_on_the_same_bins_with_their_errors() {
    let world = World::new();
    let compared =
        world.json("open models; weights layer1.conv1 --model resnet8_int8.onnx --compare --bins 6");
    assert_eq!(compared["reference"], "resnet8.onnx");
    let variants = rows(&compared, "variants");
    assert_eq!((variants.len(), &compared["left_out"]), (6, &serde_json::json!([])));
    let of = |name: &str| variants.iter().find(|variant| variant["model"] == name).unwrap();
    let is_near = |value: &Value, expected: f64| (value.as_f64().unwrap() / expected - 1.0).abs() < 1e-9;
    for (name, sqnr, cosine, max, mean, l2) in [
        (
            "resnet8_int8.onnx",
            41.913_965_883_220_3,
            0.999_967_824_134_251_1,
            0.001_316_792_098_805_308_3,
            0.000_663_636_258_069_446_9,
            0.008_022_351_853_326_575,
        ),
        (
            "resnet8_uint8.onnx",
            42.582_295_908_819_49,
            0.999_972_412_792_234_3,
            0.001_217_039_069_160_819,
            0.000_615_110_482_234_134_3,
            0.007_428_227_643_730_856,
        ),
        (
            "resnet8_int8.pt",
            44.999_552_325_584_32,
            0.999_984_186_856_932_9,
            0.001_311_749_219_894_409_2,
            0.000_452_611_518_666_243_6,
            0.005_623_703_092_463_654,
        ),
    ] {
        let errors = &of(name)["errors"];
        assert!(is_near(&errors["sqnr_db"], sqnr), "{name}: {errors}");
        assert!(is_near(&errors["cosine_similarity"], cosine), "{name}: {errors}");
        assert!(is_near(&errors["max_abs_error"], max), "{name}: {errors}");
        assert!(is_near(&errors["mean_abs_error"], mean), "{name}: {errors}");
        assert!(is_near(&errors["relative_l2"], l2), "{name}: {errors}");
    }
    assert_eq!(of("resnet8.pt")["errors"]["sqnr_db"], "inf");
    assert_eq!(of("resnet8.onnx")["errors"], Value::Null);
    assert_eq!(of("resnet8.onnx")["counts"], serde_json::json!([16, 219, 749, 896, 372, 52]));
    assert_eq!(of("resnet8_int8.onnx")["counts"], serde_json::json!([16, 223, 741, 908, 363, 53]));
    assert_eq!(of("resnet8_int8.pt")["counts"], serde_json::json!([16, 215, 756, 897, 367, 53]));
    assert_eq!(of("resnet8_uint8.onnx")["counts"], serde_json::json!([16, 222, 755, 884, 375, 52]));
}

/// NumPy: `np.float32([-1, -0.25, 0.25, 1])[[0, 3, 1, 2, 3]] * np.repeat(np.float32([0.5, 2, 3]), 2)[:5]`, its mean and
/// `np.float64(…).std()`.
#[test]
fn types_that_no_scale_expresses_have_the_real_values_that_their_backend_gives() {
    let world = World::new();
    let toy = |tensor: &str| format!("toy 1\ninput x float32 5\n{tensor}\nlayer a Add x b -> y\noutput y\n");
    let book = "tensor b book 5 numbers=-1:-0.25:0.25:1 scales=0.5:2:3 block=2 = 0 3 1 2 3";
    world.write("book.toy", toy(book));
    world.write("float.toy", toy("tensor b float32 5 = -0.5 0.5 -0.5 0.5 3"));
    let row = rows(&world.json("stats book.toy"), "tensors").remove(0);
    assert_eq!((&row["name"], &row["dtype"]), (&"b".into(), &"book".into()), "{row}");
    assert_eq!((row["min"].as_f64(), row["max"].as_f64()), (Some(-0.5), Some(3.0)), "{row}");
    assert!(close(&row["mean"], 0.6) && close(&row["standard_deviation"], 1.280_624_847_486_57), "{row}");
    let looked = world.json("weights a --model book.toy --bins 2");
    assert_eq!(looked["counts"], serde_json::json!([4, 1]), "{looked}");
    let shown = world.run("weights a --model book.toy").output;
    assert!(shown.lines().any(|line| line.contains("book") && line.contains("real values")), "{shown}");
    // The codes are beside them.
    let raw = world.json("weights a --model book.toy --raw");
    assert_eq!(
        (raw["statistics"]["min"].as_f64(), raw["statistics"]["max"].as_f64()),
        (Some(0.0), Some(3.0))
    );
    let ranges = world.json("ranges book.toy");
    assert!(ranges.to_string().contains("-0.5"), "{ranges}");
    let found = world.json("diff float.toy book.toy");
    let pair = &found["tensors"]["pairs"][0];
    assert_eq!((&pair["candidate_type"], &pair["obstacle"]), (&"book 5".into(), &Value::Null), "{pair}");
    assert_eq!(pair["errors"]["max_abs_error"].as_f64(), Some(0.0), "{pair}");
}
