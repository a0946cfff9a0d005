//! The only source of chance: streams of numbers that a seed decides.

/// xoshiro256** (Blackman and Vigna), its state drawn from seed and label by
/// BLAKE3. Integers only, so that every machine draws the same.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed` with this label. Each part of the cluster has a
    /// label of its own, so that a draw more in one changes nothing in another.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("bizra 2026 simulator v1");
        hasher.update(&seed.to_le_bytes()).update(label.as_bytes());
        let mut stream = hasher.finalize_xof();
        let state = std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        assert_ne!(state, [0; 4], "the one state that xoshiro never leaves");
        Self { state }
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `limit`; the bias is below limit / 2⁶⁴.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "no number is below 0");
        let product = u128::from(self.next()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the high half of 128 bits")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A position in a list of `length` items.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// Whether something of so many chances in a million happens.
    pub(crate) fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of the items.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    /// How often a fair coin falls heads before the first tails, at most `limit`.
    pub(crate) fn heads(&mut self, limit: u32) -> u32 {
        self.next().trailing_ones().min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn streams_differ_by_seed_and_label_and_repeat() {
        let first = |seed, label| Rng::new(seed, label).next();
        assert_eq!(first(1, "network"), first(1, "network"));
        assert_ne!(first(1, "network"), first(2, "network"));
        assert_ne!(first(1, "network"), first(1, "disk"));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut rng = Rng::new(7, "test");
        let draws: Vec<_> = (0..1_000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&6));
        assert!((0..1_000).all(|_| !rng.chance(0)) && (0..1_000).all(|_| rng.chance(1_000_000)));
    }
}
