//! Random numbers that are the same on every run.

/// An xorshift generator (Marsaglia, "Xorshift RNGs", 2003, with a final multiplication).
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed but 0.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }

    /// The next 16 bits.
    pub const fn word(&mut self) -> u16 {
        (self.next() >> 48) as u16
    }

    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}
