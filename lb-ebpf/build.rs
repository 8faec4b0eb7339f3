//! Tells bpf-linker how to generate code; does nothing on the host.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        // IP headers start 14 bytes into a frame, so no word in them is aligned. The kernel's
        // JITs for x86-64 and arm64 take such loads as they are; without this, LLVM builds each
        // word from bytes, at a third more instructions on the whole path.
        println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
