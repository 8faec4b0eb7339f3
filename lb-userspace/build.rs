//! Compiles the XDP programs and leaves them in `OUT_DIR` for `object.rs` to embed.

use std::{env, fs, path::Path};

use anyhow::Context as _;
use aya_build::{Package, Toolchain, build_ebpf};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// The binaries of `lb-ebpf`.
const BINARIES: [&str; 3] = ["serin-xdp", "serin-bench", "serin-live"];

fn main() -> anyhow::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-ebpf");
    println!("cargo:rerun-if-changed={root}/../lb-common/src");
    xtask::ebpf::build(|toolchain| {
        let package = Package {
            name: "lb-ebpf",
            root_dir: root,
            ..Package::default()
        };
        build_ebpf([package], Toolchain::Custom(toolchain))?;
        let out = env::var("OUT_DIR").context("cargo sets OUT_DIR")?;
        BINARIES.iter().try_for_each(|binary| {
            let path = Path::new(&out).join(binary);
            strip(&path).with_context(|| format!("can't strip {}", path.display()))
        })
    })
}

/// Takes DWARF out, which is four fifths of an object and read by nobody: the kernel reads BTF.
fn strip(path: &Path) -> anyhow::Result<()> {
    let data = fs::read(path)?;
    let mut object = Builder::read(&*data)?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = [&b".debug_"[..], b".rel.debug_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    }
    // The linker keeps sections' names among the symbols'; the writer wants them apart.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    object.delete_orphans();
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(fs::write(path, stripped)?)
}
