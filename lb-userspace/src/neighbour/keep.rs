//! Keeps the next hops in use resolved, and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rtnetlink::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    decode::{Key, Neighbour},
    kernel::Kernel,
    snapshot::Snapshot,
};

/// How often a neighbour is asked for that the kernel does not manage: its own interval for those
/// it does (`net.ipv4.neigh.default.interval_probe_time_ms`).
const AGAIN: Duration = Duration::from_secs(5);

/// A look at the kernel now and then, whatever it announces.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// Remembers what was asked for.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    asked: BTreeMap<Key, Instant>,
    /// The refusal was logged.
    refused: bool,
}

impl Keeper {
    /// Asks for the next hops that need it; returns how soon they are to be looked at again.
    pub(super) async fn tend(
        &mut self,
        kernel: &Kernel,
        before: &Snapshot,
        now: &Snapshot,
    ) -> Duration {
        let next_hops = now.next_hops();
        self.asked.retain(|key, _| next_hops.contains(key));
        let mut rest = SAFETY_NET;
        for key in next_hops {
            let (was, is) = (before.neighbours.get(&key), now.neighbours.get(&key));
            let came_up = !before.is_up(key.0) && now.is_up(key.0);
            if is.is_none_or(|neighbour| !neighbour.managed && !neighbour.fixed) {
                rest = AGAIN;
            }
            let asked = self.asked.get(&key).map(Instant::elapsed);
            if wants_asking(was, is, asked, came_up) {
                self.asked.insert(key, Instant::now());
                self.ask(kernel, key).await;
            }
        }
        rest
    }

    async fn ask(&mut self, kernel: &Kernel, (ifindex, address): Key) {
        let Err(error) = kernel.keep((ifindex, address)).await else {
            return;
        };
        match remedy(&error) {
            Some(remedy) if !self.refused => {
                self.refused = true;
                warn!(
                    "the kernel refuses to keep next hop {address} resolved ({error}), so its MAC \
                     address may be missing or old; {remedy}",
                );
            }
            Some(_) | None => {
                debug!(ifindex, %address, %error, "the kernel refuses to keep a next hop resolved");
            }
        }
    }
}

/// What the user can do; nothing where the interface went away meanwhile, and the like.
fn remedy(error: &Error) -> Option<&'static str> {
    let Error::NetlinkError(message) = error else {
        return None;
    };
    match -message.raw_code() {
        libc::EPERM => Some("give serin CAP_NET_ADMIN"),
        libc::ENOBUFS => Some("raise net.ipv4.neigh.default.gc_thresh3, and net.ipv6's"),
        _ => None,
    }
}

/// A neighbour that the kernel manages is asked for only in the moment it is lost, and in the
/// moment its interface comes up, so as not to wait for the kernel's next round.
fn wants_asking(
    was: Option<&Neighbour>,
    is: Option<&Neighbour>,
    asked: Option<Duration>,
    came_up: bool,
) -> bool {
    let Some(is) = is else { return true };
    if is.fixed {
        return false;
    }
    if is.managed {
        let just_lost = was.is_some_and(|was| was.mac.is_some());
        return is.mac.is_none() && (just_lost || came_up);
    }
    asked.is_none_or(|ago| ago >= AGAIN)
}

/// Lets go of what we kept, now or before a restart, and no target needs any more.
pub(super) async fn release_strays(kernel: &Kernel, now: &Snapshot) {
    for key in strays(now) {
        if let Err(error) = kernel.release(key).await {
            debug!(ifindex = key.0, address = %key.1, %error, "a former next hop stays managed");
        }
    }
}

fn strays(now: &Snapshot) -> BTreeSet<Key> {
    let next_hops = now.next_hops();
    let ours = now
        .neighbours
        .iter()
        .filter(|(_, neighbour)| neighbour.managed && neighbour.ours);
    ours.map(|(&key, _)| key)
        .filter(|key| !next_hops.contains(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Option<[u8; 6]> = Some([2, 0, 0, 0, 0, 1]);

    const fn entry(mac: Option<[u8; 6]>, managed: bool) -> Neighbour {
        Neighbour {
            mac,
            fixed: false,
            managed,
            ours: managed,
        }
    }

    #[test]
    fn neighbour_is_asked_for_when_the_kernel_does_not_keep_it_or_has_just_lost_it() {
        let (kept, lost) = (entry(MAC, true), entry(None, true));
        let (unkept, unknown) = (entry(MAC, false), entry(None, false));
        let fixed = Neighbour {
            fixed: true,
            ..unkept
        };
        let just_now = Some(Duration::ZERO);
        for (name, was, is, asked, came_up, expected) in [
            ("missing", None, None, just_now, false, true),
            ("found stale", None, Some(&unkept), None, false, true),
            ("found unresolved", None, Some(&unknown), None, false, true),
            (
                "not kept though asked for",
                Some(&unkept),
                Some(&unkept),
                just_now,
                false,
                false,
            ),
            (
                "not kept for long",
                Some(&unkept),
                Some(&unkept),
                Some(AGAIN),
                false,
                true,
            ),
            ("kept", Some(&kept), Some(&kept), just_now, true, false),
            (
                "kept by somebody else",
                None,
                Some(&kept),
                None,
                false,
                false,
            ),
            ("just lost", Some(&kept), Some(&lost), just_now, false, true),
            (
                "lost for a while",
                Some(&lost),
                Some(&lost),
                Some(AGAIN),
                false,
                false,
            ),
            (
                "lost while down",
                Some(&lost),
                Some(&lost),
                Some(AGAIN),
                true,
                true,
            ),
            ("permanent", None, Some(&fixed), None, true, false),
        ] {
            assert_eq!(wants_asking(was, is, asked, came_up), expected, "{name}");
        }
    }
}
