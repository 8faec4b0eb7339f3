//! Which network cards can run XDP in their driver.

use std::fs;
use std::path::Path;

use xtask::pins::MIN_KERNEL;
use xtask::version::Version;

use super::table::Row;
use crate::machine;

const INTERFACES: &str = "/sys/class/net";

/// Drivers with native XDP in every kernel that Serin supports, as `/sys` names them.
///
/// Found in the kernel's tree by `git grep -l XDP_SETUP_PROG drivers/`. A driver that is listed
/// nowhere here may have learned it since. `vif` is Xen's netfront.
#[rustfmt::skip]
const NATIVE: [&str; 38] = [
    "atlantic", "bnxt_en", "cpsw", "cpsw-switch", "dwmac-generic", "ena", "fsl_dpa",
    "fsl_dpaa2_eth", "fsl_enetc", "fsl_enetc_vf", "funeth", "hv_netvsc", "i40e", "ice", "igb",
    "igc", "intel-eth-pci", "ixgbe", "ixgbevf", "mana", "mlx4_core", "mlx5_core", "mtk_soc_eth",
    "mvneta", "mvpp2", "netdevsim", "netsec", "nfp", "nicvf", "qede", "rvu_nicpf", "rvu_nicvf",
    "sfc", "sfc_ef100", "sfc_siena", "stmmaceth", "vif", "virtio_net",
];

/// Drivers that learned native XDP in a newer kernel. `gvnic` is what older kernels call `gve`.
const NATIVE_SINCE: [(&str, Version); 8] = [
    ("fec", Version::new(6, 2, 0)),
    ("lan966x-switch", Version::new(6, 2, 0)),
    ("tsnep", Version::new(6, 3, 0)),
    ("gve", Version::new(6, 4, 0)),
    ("gvnic", Version::new(6, 4, 0)),
    ("vmxnet3", Version::new(6, 6, 0)),
    ("ionic", Version::new(6, 9, 0)),
    ("am65-cpsw-nuss", Version::new(6, 10, 0)),
];

/// A row for every interface that has a driver; nothing is attached to find out.
pub fn rows() -> Vec<Row> {
    let kernel = machine::kernel_version().unwrap_or(MIN_KERNEL);
    let mut rows: Vec<Row> = interfaces(Path::new(INTERFACES))
        .into_iter()
        .map(|(interface, driver)| row(&interface, &driver, kernel))
        .collect();
    if rows.is_empty() {
        rows.push(
            Row::new("network cards", "none with a driver", "optional")
                .prefer(false, "only the tests' own interfaces can be served here"),
        );
    }
    rows
}

fn row(interface: &str, driver: &str, kernel: Version) -> Row {
    let (found, good) = match native_since(driver) {
        Some(since) if since <= kernel => (format!("{driver}: native XDP"), true),
        Some(since) => (format!("{driver}: native XDP since kernel {since}"), false),
        None => (format!("{driver}: native XDP not known"), false),
    };
    Row::new(interface, found, "native XDP, else generic")
        .prefer(good, "attach = \"generic\" under [node]")
}

/// The kernel from which `driver` is known to run XDP itself.
fn native_since(driver: &str) -> Option<Version> {
    let later = NATIVE_SINCE
        .iter()
        .find(|(name, _)| *name == driver)
        .map(|(_, since)| *since);
    later.or_else(|| NATIVE.contains(&driver).then_some(MIN_KERNEL))
}

/// Interfaces and their drivers, by name; virtual interfaces have no device and so no driver.
fn interfaces(directory: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let driver = fs::read_link(entry.path().join("device/driver")).ok()?;
            let driver = driver.file_name()?.to_string_lossy().into_owned();
            Some((entry.file_name().to_string_lossy().into_owned(), driver))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_counts_from_the_kernel_that_brought_xdp() {
        assert_eq!(native_since("virtio_net"), Some(MIN_KERNEL));
        assert_eq!(native_since("vmxnet3"), Some(Version::new(6, 6, 0)));
        assert_eq!(native_since("e1000e"), None);
    }

    #[test]
    fn card_without_native_xdp_is_a_lesser_finding() {
        let lesser = |driver, kernel| {
            let row = row("eth0", driver, kernel);
            row != row.clone().prefer(true, "")
        };
        assert!(!lesser("virtio_net", MIN_KERNEL));
        assert!(lesser("vmxnet3", MIN_KERNEL));
        assert!(!lesser("vmxnet3", Version::new(6, 6, 0)));
        assert!(lesser("e1000e", Version::new(6, 18, 0)));
    }

    #[test]
    fn virtual_interfaces_are_left_out() -> std::io::Result<()> {
        let directory = std::env::temp_dir().join(format!("xtask-net-{}", std::process::id()));
        fs::create_dir_all(directory.join("lo"))?;
        fs::create_dir_all(directory.join("eth0/device"))?;
        std::os::unix::fs::symlink("../drivers/ice", directory.join("eth0/device/driver"))?;
        let found = interfaces(&directory);
        fs::remove_dir_all(&directory)?;
        assert_eq!(found, [(String::from("eth0"), String::from("ice"))]);
        Ok(())
    }
}
