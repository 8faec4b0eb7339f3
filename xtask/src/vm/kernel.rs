//! Debian's kernels, unpacked and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use xtask::pins::KernelPackage;
use xtask::program;

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    /// What boots.
    pub image: PathBuf,
    /// Where its modules are.
    pub modules: PathBuf,
}

/// Unpacks the newest version of a kernel below `directory`; without the package sources, the one
/// that was unpacked before.
pub fn unpack(package: &KernelPackage, directory: &Path) -> Result<Kernel> {
    let root = directory.join("root");
    match newest(package) {
        Some(name) if found(&root).is_some_and(|kernel| name.ends_with(&kernel.release)) => {}
        Some(name) => fetch(&name, directory, &root)?,
        None if found(&root).is_some() => {}
        None => bail!(
            "no package source offers {}; add Debian 12 with its security updates to apt's \
             sources, and run `apt-get update`",
            package.name
        ),
    }
    found(&root).with_context(|| format!("{} holds no kernel", root.display()))
}

/// The package that the meta package stands for: `linux-image-6.1.0-56-cloud-amd64`.
fn newest(package: &KernelPackage) -> Option<String> {
    let depends =
        program::stdout(Command::new("apt-cache").args(["depends", "--important", package.name]))?;
    image(&depends, package.series)
}

/// Reads `apt-cache depends`. The meta package of Debian's next release may be of another series.
fn image(depends: &str, series: &str) -> Option<String> {
    let mut names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let prefix = format!("linux-image-{series}.");
    names
        .find(|name| name.starts_with(&prefix))
        .map(str::to_owned)
}

fn fetch(name: &str, directory: &Path, root: &Path) -> Result<()> {
    println!("apt-get download {name} (unpacked into target/, not installed)");
    // An older version would be found beside the new one.
    let _nothing_there = fs::remove_dir_all(root);
    run(Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", name])
        .current_dir(directory))?;
    let package = only(directory, ".deb")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
    fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("can't start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ({}): {}", output.status, said.trim());
    }
    Ok(())
}

fn found(root: &Path) -> Option<Kernel> {
    let modules = only(&root.join("lib/modules"), "").ok()?;
    let release = modules.file_name()?.to_str()?.to_owned();
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    image.is_file().then_some(Kernel {
        release,
        image,
        modules,
    })
}

/// The one entry of a directory whose name ends so.
fn only(directory: &Path, suffix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect::<Vec<_>>();
    match <[PathBuf; 1]>::try_from(entries) {
        Ok([path]) => Ok(path),
        Err(entries) => bail!("{} files in {}", entries.len(), directory.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDS: &str = "linux-image-cloud-amd64\n  \
                           Depends: linux-image-6.1.0-56-cloud-amd64\n";

    #[test]
    fn the_meta_package_names_the_image() {
        assert_eq!(
            image(DEPENDS, "6.1").as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
    }

    #[test]
    fn an_image_of_another_series_is_not_taken() {
        assert_eq!(image(DEPENDS, "6.12"), None);
        assert_eq!(image(&DEPENDS.replace("6.1.0", "6.12.0"), "6.1"), None);
    }
}
