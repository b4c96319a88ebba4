//! Whatever a file or its name holds: the terminal gets what qp itself writes, and nothing else.

use crate::support::onnx;
use crate::support::world::{Repl, World};
use qp::printable::is_invisible;
use qp::render::style::strip;
use qp::render::ui::Appearance;

/// A title, a color that qp never uses, the same with a C1 control, a change of direction, a character without width,
/// a line separator, a carriage return.
const E: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[35;7m\u{9b}35;7m\u{202e}\u{2066}\u{200b}\u{2028}\r\u{7f}";

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| (index as f32 / 8.0 - 1.0).to_le_bytes()).collect()
}

/// `h = x · w`, `y = h + Relu(h)` with a payload in every name and text; in the candidate `w` is int8, and every other
/// value is quantized and dequantized.
fn model(is_quantized: bool) -> Vec<u8> {
    let named = |name: &str| format!("{name}{E}");
    let (scale, zero, codes, w) = (named("scale"), named("zero"), format!("w{E}_quantized"), named("w"));
    let mut nodes = Vec::new();
    let mut initializers = Vec::new();
    let dequantized = |codes: &str, real: &str| {
        onnx::node(&format!("dq of {codes}"), "DequantizeLinear", "", &[codes, &scale, &zero], &[real])
    };
    if is_quantized {
        let bytes: Vec<u8> = (0..32).map(|index| (index * 8 - 127) as i8 as u8).collect();
        initializers.push(onnx::tensor(&codes, 3, &[4, 8], &bytes));
        initializers.push(onnx::tensor(&scale, 1, &[], &0.02_f32.to_le_bytes()));
        initializers.push(onnx::tensor(&zero, 3, &[], &[0]));
        nodes.push(dequantized(&codes, &w));
    } else {
        initializers.push(onnx::tensor(&w, 1, &[4, 8], &floats(32)));
    }
    // What reads the value: itself, or what is left of it after its codes.
    let read = |nodes: &mut Vec<Vec<u8>>, value: &str| {
        if !is_quantized {
            return value.to_owned();
        }
        let (rounded, real) = (format!("rounded {value}"), format!("real {value}"));
        let q =
            onnx::node(&format!("q of {value}"), "QuantizeLinear", "", &[value, &scale, &zero], &[&rounded]);
        nodes.extend([q, dequantized(&rounded, &real)]);
        real
    };
    let (x, h, r, s) = (named("x"), named("h"), named("r"), named("s"));
    let input = read(&mut nodes, &x);
    nodes.push(onnx::node(&named("layer"), "MatMul", "", &[&input, &w], &[&h]));
    let product = read(&mut nodes, &h);
    nodes.push(onnx::node(&named("act"), "Relu", "", &[&product], &[&r]));
    let positive = read(&mut nodes, &r);
    nodes.push(onnx::node(&named("sum"), "Add", "", &[&product, &positive], &[&s]));
    let y = read(&mut nodes, &s);
    encoded(&nodes, &initializers, &x, &y)
}

/// A model of an operator that nobody has.
fn foreign() -> Vec<u8> {
    let (x, y) = (format!("x{E}"), format!("y{E}"));
    let op = onnx::node(&format!("op{E}"), &format!("Type{E}"), &format!("domain{E}"), &[&x], &[&y]);
    encoded(&[op], &[], &x, &y)
}

fn encoded(nodes: &[Vec<u8>], initializers: &[Vec<u8>], x: &str, y: &str) -> Vec<u8> {
    let symbol = format!("N{E}");
    let graph: Vec<u8> = [
        nodes.iter().flat_map(|node| onnx::field(1, node)).collect(),
        onnx::text(2, &format!("graph{E}")),
        initializers.iter().flat_map(|tensor| onnx::field(5, tensor)).collect(),
        onnx::text(10, &format!("doc{E}")),
        onnx::field(11, &onnx::value(x, &[Err(&symbol), Ok(4)])),
        onnx::field(12, &onnx::value(y, &[Err(&symbol), Ok(8)])),
    ]
    .concat();
    let property = [onnx::text(1, &format!("key{E}")), onnx::text(2, &format!("value{E}"))].concat();
    let opset = [onnx::text(1, &format!("domain{E}")), onnx::int(2, 1)].concat();
    let more = [
        onnx::text(2, &format!("producer{E}")),
        onnx::text(3, &format!("version{E}")),
        onnx::text(4, &format!("domain{E}")),
        onnx::text(6, &format!("doc{E}")),
        onnx::field(8, &opset),
        onnx::field(14, &property),
    ]
    .concat();
    onnx::model(&graph, &more)
}

/// A folder whose name holds a payload, with models whose names do.
struct Names {
    folder: String,
    float: String,
    int8: String,
}

fn files(world: &World) -> Names {
    let names =
        Names { folder: format!("dir{E}"), float: format!("net{E}.onnx"), int8: format!("net{E}_int8.onnx") };
    world.write(&format!("{}/{}", names.folder, names.float), model(false));
    world.write(&format!("{}/{}", names.folder, names.int8), model(true));
    world.write(&format!("{}/other{E}.onnx", names.folder), foreign());
    world.write(&format!("{}/broken{E}.onnx", names.folder), format!("no model {E}"));
    world.write(&format!("{}/script{E}.qp", names.folder), format!("echo 'in a script {E}'; format\n"));
    let class = world.path(&format!("{}/photos{E}/class{E}", names.folder));
    std::fs::create_dir_all(&class).unwrap();
    image::GrayImage::new(1, 1).save(class.join(format!("picture{E}.png"))).unwrap();
    names
}

/// What may not reach a terminal, and where in `shown` it is.
fn stray(shown: &str) -> Option<String> {
    if let Some(place) = shown.find("\u{1b}[35;7m") {
        return Some(format!("a color of the file at {place} of {shown:?}"));
    }
    let mut rest = shown;
    while let Some(start) = rest.find(|letter| letter != '\n' && is_invisible(letter)) {
        let sequence = &rest[start..];
        let end = sequence.strip_prefix("\u{1b}[").and_then(|parameters| {
            let end = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
            parameters[end..].starts_with('m').then_some(end + 3)
        });
        match end {
            Some(end) => rest = &sequence[end..],
            None => return Some(format!("{:?} in {shown:?}", sequence.chars().next())),
        }
    }
    None
}

/// For each command of the table a line that must succeed in the folder of [`files`], and in which the command says
/// what it can of the files.
fn lines(names: &Names) -> Vec<(&'static str, String)> {
    let Names { float, int8, .. } = names;
    let pair = format!("'{float}' '{int8}'");
    let list = [
        ("open", "open .".to_owned()),
        ("models", "models".into()),
        ("load", format!("load {pair} 'other{E}.onnx'")),
        ("use", format!("use '{int8}'")),
        ("reload", "reload".into()),
        ("summary", "summary".into()),
        ("info", format!("info '{int8}'")),
        ("info", format!("info 'other{E}.onnx'")),
        ("layers", format!("layers '{int8}'")),
        ("layers", format!("layers 'other{E}.onnx' --tree")),
        ("layer", format!("layer 'layer{E}'")),
        ("layer", format!("layer 'op{E}' --model 'other{E}.onnx'")),
        ("graph", format!("graph 'layer{E}' --model '{int8}'")),
        ("graph", format!("graph --model '{int8}' --dot graph.dot")),
        ("quant", format!("quant --model '{int8}'")),
        ("lint", format!("lint '{int8}'")),
        ("weights", format!("weights 'layer{E}' --model '{int8}'")),
        ("weights", format!("weights 'layer{E}' --model '{float}' --compare {pair}")),
        ("ranges", format!("ranges {pair}")),
        ("stats", format!("stats '{int8}'")),
        ("residuals", format!("residuals '{int8}'")),
        ("diff", format!("diff {pair}")),
        ("plot", format!("plot ranges.svg ranges {pair}")),
        ("data", format!("data some = 'photos{E}'; data some; data")),
        ("input", "input random --batch 8".into()),
        ("run", format!("run '{float}'")),
        ("evaluate", format!("evaluate {pair}")),
        ("matrix", format!("matrix '{float}' --reference '{float}' --layer-samples 2")),
        ("bench", format!("bench {pair} --rounds 10")),
        ("bench", format!("bench {pair} --rounds 10 --layers")),
        ("kernels", format!("kernels '{int8}'")),
        ("assert", format!("assert summary.families.size() > 0 'text{E}'")),
        ("expect-error", format!("expect-error NotFound load 'text{E}'")),
        ("baseline", format!("baseline save --force 'base{E}.json'")),
        ("baseline", format!("baseline check 'base{E}.json'")),
        ("section", format!("section 'text{E}'")),
        ("param", format!("param name 'text{E}'")),
        ("record", format!("record --force 'session{E}.qp'")),
        ("capture", format!("capture '{int8}' --save 'values{E}.npz'")),
        ("activations", format!("activations 'layer{E}' --model '{float}' --compare {pair}")),
        ("compare", format!("compare {pair}")),
        ("doctor", format!("doctor {pair} --layer-samples 2")),
        ("sensitivity", format!("sensitivity {pair}")),
        ("flips", format!("flips {pair}")),
        ("explain", format!("explain 0 {pair}")),
        ("drift", format!("drift '{int8}'")),
        ("saturation", format!("saturation '{int8}'")),
        ("set", format!("set 'layer{E}.weight.scale' 0.03 --model '{int8}'")),
        ("scale", format!("scale 'layer{E}.weight' × 2 --model '{int8}'")),
        ("changes", format!("changes --model '{int8}'")),
        ("undo", format!("undo --model '{int8}'")),
        ("redo", format!("redo --model '{int8}'")),
        ("try", format!("try scale 'layer{E}.weight' × 2 --model '{int8}'")),
        ("sweep", format!("sweep 'layer{E}.weight.scale' --steps 2 --model '{int8}' --reference '{float}'")),
        ("repair", format!("repair '{int8}' --reference '{float}' --min-sqnr 1")),
        ("search", format!("search '{float}'")),
        ("convert", format!("convert '{int8}' --to float --out 'stripped{E}.onnx' --force")),
        ("export", format!("export '{int8}' 'copy{E}.onnx' --force")),
        ("quantize", format!("quantize '{float}' --out 'new{E}.onnx' --force")),
        ("reset", format!("reset --model '{int8}'")),
        ("cache", "cache".into()),
        ("backends", "backends".into()),
        ("format", "format".into()),
        ("timing", "timing".into()),
        ("watch", format!("watch --times 1 info '{int8}'")),
        ("source", format!("source 'script{E}.qp'")),
        ("let", format!("let name = 'text{E}'")),
        ("echo", format!("echo 'text{E}'")),
        ("tour", "tour --end".into()),
        ("cd", "cd .".into()),
        ("pwd", "pwd".into()),
        ("clear", "clear".into()),
        ("history", "history".into()),
        ("help", "help".into()),
        ("unload", format!("unload '{int8}'")),
        ("quit", "quit".into()),
    ];
    list.into()
}

fn session(world: &World, names: &Names) -> Repl {
    let appearance = Appearance {
        is_output_colored: true,
        is_talk_colored: true,
        is_output_terminal: true,
        width: Some(100),
        is_verbose: true,
        ..Appearance::default()
    };
    Repl::looking_as(appearance, world.path(&names.folder))
}

#[test]
fn no_command_lets_a_file_write_on_the_terminal() {
    let world = World::new();
    let names = files(&world);
    let lines = lines(&names);
    for entry in qp::commands::TABLE {
        assert!(lines.iter().any(|(name, _)| *name == entry.name), "`{}` has no line here", entry.name);
    }
    let mut failed = Vec::new();
    for format in ["table", "json", "csv", "markdown"] {
        let mut session = session(&world, &names);
        session.line(&format!("format {format}"));
        for (name, line) in &lines {
            let line = line
                .replace("graph.dot", &format!("{format}.dot"))
                .replace(".svg", &format!("-{format}.svg"));
            let shown = session.line(&line.replace(".npz", &format!("-{format}.npz")));
            assert_eq!(stray(&shown), None, "{format} {name}");
            let text = strip(&shown);
            if text.contains("error:") || text.contains("{\"error\"") {
                failed.push(format!("{format} {line:?}: {text}"));
            }
        }
    }
    assert_eq!(failed, [""; 0], "a line that fails shows nothing");
    for picture in ["table.dot", "ranges-table.svg"] {
        let text = std::fs::read_to_string(world.path(&names.folder).join(picture)).unwrap();
        assert_eq!(stray(&text), None, "{picture}");
        assert!(text.contains("\u{fffd}"), "{picture} names nothing");
    }
}

#[test]
fn no_error_lets_a_file_write_on_the_terminal() {
    let world = World::new();
    let names = files(&world);
    let mut session = session(&world, &names);
    session.line("open .");
    for line in [
        format!("load 'broken{E}.onnx'"),
        format!("load '{}' 'broken{E}.onnx'", names.float),
        format!("load 'unknown{E}'"),
        format!("layer 'unknown{E}' --model '{}'", names.float),
        format!("input random; run 'other{E}.onnx'"),
        format!("input 'no{E}.npy'"),
        format!("compare '{}' 'other{E}.onnx'", names.float),
        format!("open 'nowhere{E}'"),
        format!("source 'broken{E}.onnx'"),
        format!("unknown{E}"),
        format!("echo 'open {E}"),
        format!("plot 'a{E}.gif' ranges"),
    ] {
        let shown = session.line(&line);
        assert_eq!(stray(&shown), None, "{line:?}");
        assert!(strip(&shown).contains("error:"), "{line:?}: {shown}");
    }
}

/// The text of a script is quoted with its errors, and printed before its results.
#[test]
fn a_script_is_quoted_without_what_is_not_seen() {
    let world = World::new();
    let script = world.write("s.qp", format!("echo 'a{E}'\nload 'b{E}'\n"));
    let ran = world.run_args(&["run", "--color", "always", "--echo", &script.to_string_lossy()]);
    assert_eq!((stray(&ran.output), stray(&ran.talk), ran.code), (None, None, 1));
    assert!(ran.output.contains("PWNED") && ran.talk.contains("s.qp:2"), "{} {}", ran.output, ran.talk);
}

#[test]
fn the_history_shows_no_escape_sequence_of_an_earlier_session() {
    let world = World::new();
    let names = files(&world);
    world.write("home/state/history.txt", format!("echo 'a{E}'\n"));
    let shown = session(&world, &names).lines(&["history"], &world.path("home"));
    assert_eq!(stray(&shown), None);
    assert!(shown.contains("PWNED"), "{shown}");
}
