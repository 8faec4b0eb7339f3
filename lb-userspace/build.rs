//! Compiles the XDP programs and leaves them in `OUT_DIR` for `object.rs` to embed.

use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> anyhow::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-ebpf");
    println!("cargo:rerun-if-changed={root}/../lb-common/src");
    xtask::ebpf::build(|toolchain| {
        let package = Package {
            name: "lb-ebpf",
            root_dir: root,
            ..Package::default()
        };
        build_ebpf([package], Toolchain::Custom(toolchain))
    })
}
