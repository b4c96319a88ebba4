//! Compiles the C++ shim against the libtorch that `tch` links.

#![expect(clippy::disallowed_methods, reason = "a build script is configured by its environment")]
#![expect(clippy::panic, reason = "a build script has no other way to fail with a message")]

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=shim");
    let Some(libtorch) = std::env::var_os("LIBTORCH").map(PathBuf::from) else {
        panic!("LIBTORCH is not set: run `scripts/setup.sh` and build with the environment it prints");
    };
    let include = libtorch.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        // The headers are not ours: their warnings do not concern us.
        .flag("-isystem")
        .flag(include.as_os_str())
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include").as_os_str())
        .files([
            "shim/shim.cpp",
            "shim/load.cpp",
            "shim/guard.cpp",
            "shim/registry.cpp",
            "shim/tapper.cpp",
            "shim/program.cpp",
            "shim/decomposed.cpp",
            "shim/torchao.cpp",
        ])
        // The operators in decomposed.cpp and torchao.cpp register themselves: nothing refers to them by name.
        .link_lib_modifier("+whole-archive")
        .compile("qp_torch_shim");
    println!("cargo:rustc-link-lib=dylib=c10");
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
}
