//! The protocol's numbers, each a type of its own.
//!
//! There is no `From<u64>` on purpose: a view is never a height. Arithmetic
//! says in its name whether it saturates; the plain methods panic on overflow,
//! which at one step per nanosecond takes five centuries.

use crate::encoding::{Decode, DecodeError, Encode, Reader};
use alloc::vec::Vec;
use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// Wraps a bare number.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The next value.
            ///
            /// # Panics
            /// At the largest value.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(value) => Self(value),
                    None => panic!("a protocol number ran over"),
                }
            }

            /// The value before, or `None` at zero.
            #[must_use]
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(<$inner>::decode(reader)?))
            }
        }
    };
}

number!(
    /// A round of the protocol with one leader; starts at 1 in each era.
    View(u64)
);
number!(
    /// Distance of a block from genesis, which has height 0.
    Height(u64)
);
number!(
    /// One committee's reign; counts up from 1 and is never reused.
    Era(u64)
);
number!(
    /// A VRF epoch: `vrf_epoch_ms` of chain time, counted from genesis.
    Epoch(u64)
);
number!(
    /// Position of a batch in its author's lane; the first is 1.
    LaneSeq(u64)
);
number!(
    /// Index of a record in the log, which is also the number of records before it.
    LogIndex(u64)
);
number!(
    /// Position of a validator in its era's committee.
    ValidatorIndex(u16)
);
number!(
    /// Version of the protocol's rules, activated at a height by governance.
    ProtocolVersion(u16)
);
number!(
    /// Version of the state tree: how many blocks have changed it.
    StateVersion(u64)
);
number!(
    /// Milliseconds since the Unix epoch, UTC, without leap seconds.
    TimestampMs(u64)
);

impl TimestampMs {
    /// This time plus `ms` milliseconds, at most the largest time.
    #[must_use]
    pub const fn saturating_add_ms(self, ms: u64) -> Self {
        Self::new(self.get().saturating_add(ms))
    }

    /// This time less `ms` milliseconds, at least the Unix epoch.
    #[must_use]
    pub const fn saturating_sub_ms(self, ms: u64) -> Self {
        Self::new(self.get().saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time, 0 if `earlier` is later.
    #[must_use]
    pub const fn saturating_ms_since(self, earlier: Self) -> u64 {
        self.get().saturating_sub(earlier.get())
    }
}
