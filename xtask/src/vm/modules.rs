//! The kernel modules that the tests need, with those that these need.
//!
//! Debian's packages hold no `modules.dep`; depmod makes it at installation. A module tells what it
//! depends on itself, in its section `.modinfo`, a list of strings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;

/// What the tests use; most kernels of hosts have them, and none of these kernels has them built in.
const WANTED: [&str; 9] = [
    "veth",
    "bridge",
    "bonding",
    "8021q",
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
];

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its file's content, not compressed.
    pub content: Vec<u8>,
}

/// All modules that are needed, in the order in which they can be loaded.
pub fn collect(kernel: &Kernel) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&kernel.modules.join("kernel"), &mut files)?;
    let mut collected = Vec::new();
    for name in WANTED {
        add(name, &files, &mut collected)?;
    }
    Ok(collected)
}

/// Finds every module's file below a directory.
fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| module(name.to_str()?)) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of a module by that of its file, in which a hyphen may stand for an underscore.
fn module(file: &str) -> Option<String> {
    let (name, _compression) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, collected: &mut Vec<Module>) -> Result<()> {
    if collected.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let path = files
        .get(name)
        .with_context(|| format!("the kernel has no module {name}"))?;
    let content = read(path)?;
    for needed in depends(&content) {
        add(&needed, files, collected)?;
    }
    collected.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "ko") {
        return fs::read(path).with_context(|| path.display().to_string());
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .context("can't start xz")?;
    if !output.status.success() {
        bail!("xz can't unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// The names in `depends=`, which every module has, if only an empty one.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = content[at + KEY.len()..].split(|&byte| byte == 0).next();
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_where_the_module_lists_them() {
        let content = b"ELF\0license=GPL\0depends=tunnel4,ip-tunnel\0name=ipip\0";
        assert_eq!(depends(content), ["tunnel4", "ip_tunnel"]);
        assert!(depends(b"ELF\0depends=\0name=veth\0").is_empty());
        assert!(depends(b"no module").is_empty());
    }

    #[test]
    fn a_file_names_its_module_compressed_or_not() {
        assert_eq!(module("ip6_tunnel.ko").as_deref(), Some("ip6_tunnel"));
        assert_eq!(
            module("crc32c-intel.ko.xz").as_deref(),
            Some("crc32c_intel")
        );
        assert_eq!(module("modules.order"), None);
    }
}
