//! What `info` says of files that hold code.

use crate::support::world::World;

/// `BINUNICODE`
fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn an_unsafe_pickle_shows_what_it_would_have_called_in_order() {
    let world = World::new();
    let pickle = [
        b"\x80\x02(cposix\nsystem\n".to_vec(),
        text("touch it's_here"),
        b"\x85R(".to_vec(),
        text(&"A".repeat(100)),
        b"ibuiltins\nexec\nccollections\nOrderedDict\n)Rt.".to_vec(),
    ];
    world.write("evil.pkl", pickle.concat());
    let ran = world.run("info evil.pkl");
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let from = ran.output.find("  verdict").unwrap();
    let expected = format!(
        "  verdict     dangerous
  layers      0
danger: loading this file with `torch.load` would run more than PyTorch's own code
  posix.system, builtins.exec
danger: loading it would call, in this order
   1  posix.system(\"touch it's_here\")
   2  builtins.exec('{}…')
cannot be run: loading this file would run `posix.system`, `builtins.exec`
  hint: Do not load it with PyTorch; ask its author for the weights as safetensors or a TorchScript file.
",
        "A".repeat(64)
    );
    assert_eq!(ran.output.get(from..), Some(expected.as_str()));
    let info = world.json("info evil.pkl");
    assert_eq!(info["verdict"], "dangerous");
    assert_eq!(info["run_obstacle"]["kind"], "UnsafeFile");
    let calls =
        info["findings"].as_array().unwrap().iter().find(|one| one["code"] == "pickle.calls").unwrap();
    assert_eq!(calls["subjects"][0], "posix.system(\"touch it's_here\")");
    assert!(!world.path("it's_here").exists());
}

#[test]
fn many_calls_are_listed_in_part() {
    let world = World::new();
    let calls = (0..200)
        .map(|index| [b"cos\nsystem\n".to_vec(), text(&format!("{index}")), b"\x85R0".to_vec()].concat());
    let pickle = [b"\x80\x02".to_vec(), calls.collect::<Vec<_>>().concat(), b"N.".to_vec()].concat();
    world.write("many.pkl", pickle);
    let shown = world.run("info many.pkl").output;
    assert!(shown.contains("\n  20  os.system('19')\n      … and 45 more, with --json\n"), "{shown}");
    let info = world.json("info many.pkl");
    let calls =
        info["findings"].as_array().unwrap().iter().find(|one| one["code"] == "pickle.calls").unwrap();
    assert_eq!(
        (&calls["subjects"][63], &calls["subjects"][64]),
        (&"os.system('63')".into(), &"… and 136 more".into())
    );
}

#[test]
fn names_that_nobody_knows_are_a_warning_and_a_safe_file_says_so_quietly() {
    let world = World::new();
    world.write("own.pkl", b"\x80\x02cmy_package.model\nNet\n)\x81.");
    let info = world.json("info own.pkl");
    assert_eq!(
        (&info["verdict"], &info["run_obstacle"]["kind"]),
        (&"unknown".into(), &"UnsupportedOp".into())
    );
    let shown = world.run("info own.pkl").output;
    assert!(shown.contains("\n  my_package.model.Net\n"), "{shown}");
    // Python would run the source of an fx graph, whatever is in it.
    for (file, verdict) in [("resnet8.pt", "unknown"), ("resnet8_int8.pt", "safe")] {
        let shown = world.run(&format!("info models/{file}")).output;
        assert!(shown.lines().any(|line| line.split_whitespace().eq(["verdict", verdict])), "{shown}");
    }
    assert_eq!(world.json("info models/resnet8.onnx")["verdict"], serde_json::Value::Null);
}
