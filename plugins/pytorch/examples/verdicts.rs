//! Verdicts on many pickles at once, for `scripts/check/grammar.py`.
//!
//!     cargo run --release -p qp-plugin-pytorch --example verdicts -- FILE…
//!
//! A FILE is a row of pickles, each after its length as four bytes, the lowest first. Prints a line for each: the verdict,
//! or `refused`, and what is said of it.

#![allow(clippy::print_stdout, reason = "it prints what it is asked for")]

use qp_plugin_pytorch::describe;
use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(path)?;
        let mut rest = bytes.as_slice();
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let pickle = more.get(..length).unwrap_or(more);
            rest = more.get(length..).unwrap_or_default();
            match describe(pickle.to_vec(), "pickle.pkl") {
                Ok(info) => {
                    let verdict = info.extra.iter().find(|pair| pair.0 == "verdict");
                    let subjects = info.findings.iter().flat_map(|finding| finding.subjects.iter());
                    let said: Vec<&str> = subjects.map(|subject| subject.as_str()).collect();
                    let said = one_line(&said.join("; "));
                    writeln!(out, "{}\t{said}", verdict.map_or("none", |pair| pair.1.as_str()))?;
                }
                Err(error) => writeln!(out, "refused\t{}", one_line(&error.message))?,
            }
        }
    }
    out.flush()
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
