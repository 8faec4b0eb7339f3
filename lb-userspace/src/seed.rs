//! Everything that follows from `node.hash_seed`, the same on every host that has it.

use lb_common::hash::{HashKey, KEY_WORDS};
use sha2::{Digest as _, Sha256};

/// The secret of the node's hashes.
#[derive(Clone, Debug)]
pub struct Seed {
    seed: String,
}

impl Seed {
    /// From the configured text.
    pub fn new(seed: &str) -> Self {
        Self {
            seed: seed.to_owned(),
        }
    }

    /// The key of the packet path's hashes.
    pub fn key(&self) -> HashKey {
        let mut words = [0; KEY_WORDS];
        for (pair, number) in words.chunks_mut(2).zip(0_u64..) {
            let (first, second) = self.derive("key", &number.to_string());
            pair.copy_from_slice(&[first, second]);
        }
        HashKey::new(words)
    }

    /// Start and step of a backend's permutation of the slots.
    pub fn permutation(&self, backend: &str) -> (u64, u64) {
        self.derive("backend", backend)
    }

    /// The salt of a service's `number`th release.
    pub fn salt(&self, service: &str, number: u64) -> u64 {
        self.key().salt(self.derive("service", service).0, number)
    }

    /// 128 bits of SHA-256 over the seed, the purpose and the name.
    fn derive(&self, purpose: &str, name: &str) -> (u64, u64) {
        let mut digest = Sha256::new();
        for part in [self.seed.as_str(), purpose, name] {
            // The length keeps ("ab", "c") apart from ("a", "bc").
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let bytes: [u8; 32] = digest.finalize().into();
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        (word(0), word(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_one_seed_agree_and_others_do_not() {
        let (one, other) = (Seed::new("edge-eu"), Seed::new("edge-us"));
        assert_eq!(one.key(), Seed::new("edge-eu").key());
        assert_ne!(one.key(), other.key());
        assert_ne!(one.salt("shop", 1), other.salt("shop", 1));
        assert_ne!(one.salt("shop", 1), one.salt("shop", 2));
        assert_ne!(one.permutation("b1"), one.permutation("b2"));
    }
}
