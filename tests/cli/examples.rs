//! The examples that `help` prints.

use crate::support::world::World;

#[test]
fn every_example_of_every_command_works_in_the_folder_of_the_samples() {
    let world = World::new();
    for entry in qp::commands::TABLE {
        for example in entry.examples {
            // Names of models are known once a folder is open.
            let line = format!("open .; {}", example.line);
            let output = world.qp().current_dir(world.path("models")).args(["-c", &line]).output().unwrap();
            let talk = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "`{}` of `{}`: {talk}", example.line, entry.name);
        }
    }
}
