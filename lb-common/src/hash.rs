//! The keyed hash that turns a client into a bucket and a flow into a slot.
//!
//! Words are folded by multilinear-HM, which is strongly universal over a secret key (Lemire and
//! Kaser, "Strongly universal string hashing is fast", The Computer Journal 57, 2014): a client
//! that does not know the key can't choose its bucket. It costs one multiplication for two words
//! and no rotation, which BPF lacks. Since the fold is linear in each word, runs of neighbouring
//! addresses would come out evenly spaced; the `SplitMix64` finaliser (Steele, Lea and Flood, OOPSLA
//! 2014; constants by Stafford, "Mix13") scatters them.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// One more than the highest bucket: a bucket is a client's place in parts per million.
pub const BUCKETS: u32 = 1_000_000;

/// Words of secret key; derived by the daemon from `node.hash_seed`.
pub const KEY_WORDS: usize = 18;

/// The secret key. Hosts that share VIPs share it, and so make the same choices.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct HashKey([u64; KEY_WORDS]);

/// Key words that belong to the client's hash; the rest belong to the flow's.
const CLIENT_WORDS: usize = 5;

/// Separates the slot of a client from its bucket, which is mixed from the same hash.
const AFFINITY_TWEAK: u64 = 0x5e71_4a7e_c11e_4751;

impl HashKey {
    /// A key of these words; they should look random.
    pub const fn new(words: [u64; KEY_WORDS]) -> Self {
        Self(words)
    }

    /// The hash of a client's (already masked) address.
    #[inline(always)]
    pub const fn client(&self, client: &Address) -> u64 {
        let key = &self.0;
        key[0].wrapping_add(address([key[1], key[2], key[3], key[4]], client))
    }

    /// The hash of a flow: both addresses, both ports (network order) and the protocol.
    #[inline(always)]
    pub const fn flow(
        &self,
        source: &Address,
        destination: &Address,
        ports: ([u8; 2], [u8; 2]),
        protocol: u8,
    ) -> u64 {
        let key = &self.0;
        let (from, to) = ports;
        let ports = u32::from_le_bytes([from[0], from[1], to[0], to[1]]);
        key[CLIENT_WORDS]
            .wrapping_add(address([key[6], key[7], key[8], key[9]], source))
            .wrapping_add(address([key[10], key[11], key[12], key[13]], destination))
            .wrapping_add(fold(key[14], ports, key[15], protocol as u32))
    }

    /// The hash of a name that stands for a client where no packet shows one, such as a user's. Eight
    /// bytes at a time are mixed with what came before them.
    pub fn text(&self, text: &[u8]) -> u64 {
        let key = &self.0;
        // The length keeps zeros at the end apart from none.
        let first = mix(key[0] ^ text.len() as u64);
        text.chunks(size_of::<u64>()).fold(first, |hash, chunk| {
            let mut word = [0; size_of::<u64>()];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word) ^ key[1];
            mix(hash.wrapping_mul(key[2] | 1).wrapping_add(word))
        })
    }

    /// A salt for the `number`th release of the service whose name hashes to `service`: the same
    /// on every host with this key, and unrelated to the salt before.
    pub const fn salt(&self, service: u64, number: u64) -> u64 {
        mix(mix(service ^ self.0[16]).wrapping_add(mix(number ^ self.0[17])))
    }
}

/// The bucket of a client in 0..1 000 000, under a release's salt.
#[inline(always)]
pub const fn bucket(client_hash: u64, salt: u64) -> u32 {
    scale(mix(client_hash ^ salt), BUCKETS)
}

/// The slot of a flow in 0..`slots`.
#[inline(always)]
pub const fn slot(flow_hash: u64, slots: u32) -> u32 {
    place(scatter(flow_hash), slots)
}

/// A flow's hash, scattered: its upper half is the flow's place among the slots, and all of it
/// tells the flow from others on the way to its backend.
#[inline(always)]
pub const fn scatter(flow_hash: u64) -> u64 {
    mix(flow_hash)
}

/// [`scatter`] for services whose affinity is the client.
#[inline(always)]
pub const fn scatter_client(client_hash: u64) -> u64 {
    mix(client_hash ^ AFFINITY_TWEAK)
}

/// The slot of a scattered hash in 0..`slots`.
#[inline(always)]
pub const fn place(scattered: u64, slots: u32) -> u32 {
    scale(scattered, slots)
}

/// The slot of a client in 0..`slots`, for services whose affinity is the client.
#[inline(always)]
pub const fn client_slot(client_hash: u64, slots: u32) -> u32 {
    place(scatter_client(client_hash), slots)
}

/// Both multiplications of an address; its words count as little-endian on every host.
#[inline(always)]
const fn address(key: [u64; 4], address: &Address) -> u64 {
    let words = address.words();
    fold(
        key[0],
        u32::from_le(words[0]),
        key[1],
        u32::from_le(words[1]),
    )
    .wrapping_add(fold(
        key[2],
        u32::from_le(words[2]),
        key[3],
        u32::from_le(words[3]),
    ))
}

/// One multiplication of multilinear-HM: two words of data, two of key.
#[inline(always)]
const fn fold(key_a: u64, a: u32, key_b: u64, b: u32) -> u64 {
    key_a
        .wrapping_add(a as u64)
        .wrapping_mul(key_b.wrapping_add(b as u64))
}

/// The `SplitMix64` finaliser: a bijection in which every input bit flips each output bit half the time.
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The upper half of `x`, scaled to 0..`range` without a division.
#[inline(always)]
const fn scale(x: u64, range: u32) -> u32 {
    (((x >> 32) * range as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HashKey {
        let mut words = [0; KEY_WORDS];
        let mut state = 1_u64;
        for word in &mut words {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = mix(state);
        }
        HashKey::new(words)
    }

    /// Pearson's statistic of 100 000 neighbouring clients over 100 bands of buckets.
    fn chi_squared(salt: u64) -> f64 {
        let mut bands = [0_u32; 100];
        for n in 0..100_000_u32 {
            let client = Address::v4((0x0a00_0000 + n).to_be_bytes());
            bands[bucket(key().client(&client), salt) as usize / 10_000] += 1;
        }
        bands
            .iter()
            .map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0)
            .sum()
    }

    #[test]
    fn neighbouring_clients_spread_like_random_ones() {
        for salt in 0..20 {
            let statistic = chi_squared(mix(salt));
            // 99 degrees of freedom: 0.0001% lie below 45 or above 174.
            assert!(
                (45.0..174.0).contains(&statistic),
                "salt {salt}: {statistic}"
            );
        }
    }

    #[test]
    fn names_spread_like_clients_and_differ_in_every_part() {
        let mut bands = [0_u32; 100];
        for n in 0..100_000_u32 {
            let name = [b"user-".as_slice(), &n.to_le_bytes()].concat();
            bands[bucket(key().text(&name), 7) as usize / 10_000] += 1;
        }
        let statistic: f64 = bands
            .iter()
            .map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!((45.0..174.0).contains(&statistic), "{statistic}");
        let names: [&[u8]; 6] = [
            b"",
            b"\0",
            b"ann",
            b"ann\0",
            b"ann-of-the-shop",
            b"ann-of-the-shoq",
        ];
        let hashes = names.map(|name| key().text(name));
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "{:?}", names[index]);
        }
        let other = HashKey::new([3; KEY_WORDS]);
        assert_ne!(other.text(b"ann"), key().text(b"ann"), "the key counts");
    }

    /// Hosts of one seed agree over versions: a change of this moves everybody.
    #[test]
    fn a_name_keeps_its_hash() {
        assert_eq!(bucket(key().text(b"ann"), 7), 459_744);
    }

    #[test]
    fn a_new_salt_draws_unrelated_clients() {
        let clients = (0..200_000_u32).map(|n| key().client(&Address::v4(n.to_be_bytes())));
        let both = clients
            .filter(|&c| bucket(c, 7) < 10_000 && bucket(c, 8) < 10_000)
            .count();
        // 1% of 1% of 200 000 is 20; 5.5 standard deviations either way.
        assert!((1..45).contains(&both), "{both} clients drawn twice");
    }

    #[test]
    fn every_part_of_a_flow_changes_its_hash() {
        let (a, b) = (Address::v4([192, 0, 2, 1]), Address::v4([192, 0, 2, 2]));
        let base = key().flow(&a, &b, ([1, 2], [3, 4]), 6);
        assert_ne!(base, key().flow(&b, &a, ([1, 2], [3, 4]), 6));
        assert_ne!(base, key().flow(&a, &b, ([3, 4], [1, 2]), 6));
        assert_ne!(base, key().flow(&a, &b, ([1, 2], [3, 4]), 17));
    }

    #[test]
    fn scale_reaches_both_ends() {
        assert_eq!(scale(0, 10), 0);
        assert_eq!(scale(u64::MAX, 10), 9);
    }
}
