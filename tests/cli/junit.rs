//! The XML reports of `qp run`, against `tests/junit.xsd`: the part of XML Schema that it uses is read here.
//! `scripts/check/junit.py` does the same with a validator of XML Schema.

use crate::support::world::World;
use roxmltree::{Document, Node};
use std::path::Path;

/// The definition of an element: `xs:element` of that name.
fn definition<'d>(schema: &'d Document<'d>, name: &str) -> Option<Node<'d, 'd>> {
    let all = schema.root_element().children();
    all.filter(Node::is_element).find(|element| element.attribute("name") == Some(name))
}

fn number(node: Node<'_, '_>, name: &str) -> usize {
    match node.attribute(name) {
        Some("unbounded") => usize::MAX,
        Some(number) => number.parse().unwrap(),
        None => 1,
    }
}

/// How many of these elements a particle (`xs:sequence`, `xs:choice`, `xs:element`) can take, in every way it can.
fn taken(particle: Node<'_, '_>, names: &[&str]) -> Vec<usize> {
    let once = |names: &[&str]| -> Vec<usize> {
        let inner = particle.children().filter(Node::is_element);
        match particle.tag_name().name() {
            "element" if names.first().is_some_and(|name| particle.attribute("ref") == Some(name)) => vec![1],
            "element" => Vec::new(),
            "choice" => inner.flat_map(|one| taken(one, names)).collect(),
            "sequence" => inner.fold(vec![0], |before, one| {
                before
                    .iter()
                    .flat_map(|done| taken(one, &names[*done..]).into_iter().map(move |more| done + more))
                    .collect()
            }),
            other => panic!("{other} is not read here"),
        }
    };
    let (least, most) = (number(particle, "minOccurs"), number(particle, "maxOccurs"));
    let (mut ways, mut last) = (if least == 0 { vec![0] } else { Vec::new() }, vec![0]);
    for times in 1..=most {
        let next =
            last.iter().flat_map(|done| once(&names[*done..]).into_iter().map(move |more| done + more));
        last = next.filter(|all| !ways.contains(all)).collect();
        if last.is_empty() {
            break;
        }
        if times >= least {
            ways.extend(&last);
        }
    }
    ways
}

/// All that is wrong with an element and those within it.
fn violations(schema: &Document<'_>, element: Node<'_, '_>) -> Vec<String> {
    let name = element.tag_name().name();
    let Some(definition) = definition(schema, name) else { return vec![format!("no element {name}")] };
    let kind = definition
        .children()
        .find(|child| child.has_tag_name("complexType") || child.tag_name().name() == "complexType")
        .unwrap();
    let mut found = Vec::new();
    let attributes: Vec<Node<'_, '_>> =
        kind.children().filter(|child| child.tag_name().name() == "attribute").collect();
    for attribute in &attributes {
        let own = attribute.attribute("name").unwrap();
        match (element.attribute(own), attribute.attribute("type").unwrap()) {
            (None, _) if attribute.attribute("use") == Some("required") => {
                found.push(format!("{name} without {own}"))
            }
            (Some(value), "xs:nonNegativeInteger") if value.parse::<u64>().is_err() => {
                found.push(format!("{own} of {name} is {value}"));
            }
            _ => {}
        }
    }
    let known = |own: &str| attributes.iter().any(|attribute| attribute.attribute("name") == Some(own));
    found.extend(
        element
            .attributes()
            .filter(|own| !known(own.name()))
            .map(|own| format!("{name} with {}", own.name())),
    );
    let children: Vec<Node<'_, '_>> = element.children().filter(Node::is_element).collect();
    let names: Vec<&str> = children.iter().map(|child| child.tag_name().name()).collect();
    let particle = kind.children().find(|child| matches!(child.tag_name().name(), "sequence" | "choice"));
    if !particle.map_or(vec![0], |particle| taken(particle, &names)).contains(&names.len()) {
        found.push(format!("{name} holds {names:?}"));
    }
    let has_text = element
        .children()
        .any(|child| child.text().is_some_and(|text| child.is_text() && !text.trim().is_empty()));
    if has_text && kind.attribute("mixed") != Some("true") {
        found.push(format!("{name} has text"));
    }
    found.extend(children.into_iter().flat_map(|child| violations(schema, child)));
    found
}

/// What is wrong with a report by the schema, and with its counts.
fn wrong_with(text: &str) -> Vec<String> {
    let schema =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/junit.xsd")).unwrap();
    let schema = Document::parse(&schema).unwrap();
    let report = Document::parse(text).unwrap();
    let root = report.root_element();
    let mut found = violations(&schema, root);
    if root.tag_name().name() != "testsuites" {
        found.push("another root".to_owned());
    }
    for counted in
        root.descendants().filter(|node| matches!(node.tag_name().name(), "testsuites" | "testsuite"))
    {
        for (attribute, tag) in [("tests", "testcase"), ("failures", "failure"), ("errors", "error")] {
            let count = counted.descendants().filter(|node| node.tag_name().name() == tag).count();
            if counted.attribute(attribute) != Some(count.to_string().as_str()) {
                found.push(format!("{attribute} of {} are {count}", counted.tag_name().name()));
            }
        }
    }
    found
}

fn report(world: &World, script: &str) -> String {
    world.write("a.qp", script);
    world.run_args(&["-q", "run", "--keep-going", "a.qp", "--report", "a.xml"]);
    std::fs::read_to_string(world.path("a.xml")).unwrap()
}

#[test]
fn reports_follow_the_schema() {
    let world = World::new();
    let scripts = [
        "",
        "echo nothing to check\n",
        "assert 1 == 1\n",
        "if true\nassert 1 ==\n",
        "section One\nassert 1 == 1\nassert 1 == 2 \"<&'\\\"> \u{1b}[31m\u{0}\"\nload no.onnx\nsection Two\nexpect-error NotFound load 'x<y>&.onnx'\n\
         lod x\nsection One\nassert summary.x == 1\nfor m in a '<b>' \"c'd\"\nassert '$m' == 'a'\nend\nfor m in *.none\nend\n\
         open models\nbaseline save b.json\nsummary\nbaseline check b.json\n",
    ];
    for script in scripts {
        let xml = report(&world, script);
        assert_eq!(wrong_with(&xml), [""; 0], "{script}\n{xml}");
    }
    world.run_args(&["-q", "run", "models/check.qp", "--report", "b.xml"]);
    let xml = std::fs::read_to_string(world.path("b.xml")).unwrap();
    assert_eq!(wrong_with(&xml), [""; 0], "{xml}");
}

/// The schema finds what it should, whatever this reading of it overlooks.
#[test]
fn what_the_schema_forbids_is_found() {
    let good = r#"<testsuites name="a" tests="1" failures="1" errors="0"><testsuite name="a" tests="1" failures="1" errors="0"><testcase name="a" classname="a"><failure type="a" message="a">why</failure></testcase></testsuite></testsuites>"#;
    assert_eq!(wrong_with(good), [""; 0]);
    for (from, to) in [
        ("classname=\"a\"", ""),
        ("classname=\"a\"", "classname=\"a\" time=\"1\""),
        ("tests=\"1\"", "tests=\"one\""),
        ("tests=\"1\"", "tests=\"2\""),
        ("type=\"a\"", ""),
        ("</failure>", "</failure><failure type=\"a\" message=\"a\"/>"),
        ("</failure>", "</failure><error type=\"a\" message=\"a\"/>"),
        ("</testcase>", "</testcase>text"),
        ("failure type=\"a\" message=\"a\">why</failure>", "skipped/>"),
        (
            "<testcase name=\"a\" classname=\"a\"><failure type=\"a\" message=\"a\">why</failure></testcase>",
            "",
        ),
    ] {
        assert!(good.contains(from));
        assert_ne!(wrong_with(&good.replacen(from, to, 1)), [""; 0], "{to}");
    }
}
