//! Outcome codes, and the sentence that goes with a rejection.

use bizra_types::json::{JsonError, SchemaError};
use core::fmt;

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident = $number:literal $name:literal in $stages:literal,)*) => {
        /// What became of a record. The numbers and names are part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Code {
            $(#[doc = $doc] $variant = $number,)*
        }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that answers and metrics show.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// One sentence on what it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $doc,)*
                }
            }

            /// Where it can be given: at `admission`, at the `receipt` of a batch, at `execution`;
            /// or `not yet`.
            #[must_use]
            pub const fn stages(self) -> &'static str {
                match self {
                    $(Self::$variant => $stages,)*
                }
            }

            /// The code of a number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The record passed every gate and is in the log.
    Success = 0 "SUCCESS" in "execution",
    /// The bytes are not a canonical envelope of a known form.
    Schema = 1 "SCHEMA" in "admission, receipt",
    /// The signature is not good, or the key is of small order.
    Signature = 2 "SIGNATURE" in "admission, receipt",
    /// The sender used the nonce for another envelope a short while ago.
    NonceReplay = 3 "NONCE_REPLAY" in "admission",
    /// The timestamp is too old.
    Stale = 4 "STALE" in "admission, receipt",
    /// The timestamp is too far ahead.
    Future = 5 "FUTURE" in "admission, receipt",
    /// The Ihsān score is too low.
    Ihsan = 6 "IHSAN" in "admission, execution",
    /// The signal-to-noise score is missing or too low.
    Snr = 7 "SNR" in "admission, execution",
    /// A gate ran out of time.
    Budget = 8 "BUDGET" in "not yet",
    /// The policy is not in force or does not allow the record.
    Policy = 9 "POLICY" in "admission, execution",
    /// The ledger's state does not allow the record.
    State = 10 "STATE" in "admission, execution",
    /// The sender's role does not allow the action.
    Role = 11 "ROLE" in "admission, execution",
    /// Too few validators agree.
    Quorum = 12 "QUORUM" in "not yet",
    /// The FATE composite is too low.
    Fate = 13 "FATE" in "admission, execution",
    /// An invariant would break: times or metrics at odds, or a proposal of what must never hold.
    Invariant = 14 "INVARIANT" in "admission, execution",
    /// Too many bytes of one sender, or through one validator, in a governance epoch.
    Rate = 15 "RATE" in "admission",
    /// The evidence does not prove what it says.
    Evidence = 16 "EVIDENCE" in "admission, execution",
    /// A fault of the validator.
    Internal = 99 "INTERNAL" in "admission",
    /// Holdings would become too unequal.
    Gini = 100 "GINI" in "execution",
    /// The sum of all balances would change.
    Conservation = 101 "CONSERVATION" in "execution",
    /// A balance would become negative.
    Negative = 102 "NEGATIVE" in "execution",
    /// The market transaction makes no sense.
    InvalidTransaction = 103 "INVALID_TX" in "execution",
    /// The amount is too small.
    Dust = 104 "DUST" in "execution",
    /// The digest is in the log already, so the copy changes nothing.
    Skipped = 255 "SKIPPED" in "execution",
}

impl Code {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a gate refused a record: the code, the member and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code.
    pub code: Code,
    /// The member at fault, as `payload.data.model.digest`; empty for the whole record.
    pub member: String,
    /// What is wrong with it, and what was expected; continues a sentence that begins with the
    /// member.
    pub detail: String,
}

impl Rejection {
    /// A rejection of one member.
    #[must_use]
    pub fn new(code: Code, member: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, member: member.into(), detail: detail.into() }
    }
}

impl core::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() {
            write!(f, "{}: the record {}", self.code, self.detail)
        } else {
            write!(f, "{}: `{}` {}", self.code, self.member, self.detail)
        }
    }
}

impl From<SchemaError> for Rejection {
    fn from(error: SchemaError) -> Self {
        Self { code: Code::Schema, member: error.path, detail: error.detail }
    }
}

impl From<JsonError> for Rejection {
    fn from(error: JsonError) -> Self {
        Self::new(Code::Schema, "", format!("is not strict JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_the_same_thing() {
        for number in 0..=u8::MAX {
            match Code::from_number(number) {
                Some(code) => assert_eq!(code.number(), number),
                None => assert!(Code::ALL.iter().all(|code| code.number() != number)),
            }
        }
        assert_eq!(Code::ALL.len(), 24);
        assert!(Code::ALL.is_sorted());
    }

    /// `UPDATE_DOCS=1 cargo test -p bizra-ledger` writes the page anew.
    #[test]
    fn the_page_of_codes_is_up_to_date() {
        let mut page = String::from(
            "# Reject codes\n\n\
             What becomes of a record is one of these codes. The code itself makes this page: \
             `UPDATE_DOCS=1 cargo test -p bizra-ledger` writes it anew.\n\n\
             *Admission* is one validator's early advice to the submitter, by its own clock. \
             *Receipt* of a batch is static and the same at every validator. *Execution* is \
             decided by the ledger alone, and its code is the record's outcome. Every rejection \
             comes with a sentence that names the member and what was expected. An offer of a \
             pattern, which is no record, meets the gates of admission at every node that receives \
             it, gets the same codes, and `STATE` where a node knows a better one. A code with \
             *not yet* belongs to the protocol, and nothing in this version gives it.\n\n\
             | code | name | meaning | given at |\n|---|---|---|---|\n",
        );
        for code in Code::ALL {
            let (number, name) = (code.number(), code.name());
            let (meaning, stages) = (code.meaning().trim(), code.stages());
            page += &format!("| {number} | `{name}` | {meaning} | {stages} |\n");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reject-codes.md");
        #[expect(clippy::disallowed_methods, reason = "a test may be told to write its page")]
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let written = std::fs::read_to_string(path).expect("the page can be read");
        assert_eq!(written, page, "UPDATE_DOCS=1 writes it anew");
    }

    /// Our sources under a folder, without tests and this file.
    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            let is_named = |name| path.file_name().is_some_and(|it| it == name);
            if path.is_dir() && !is_named("tests") {
                sources(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !is_named("tests.rs")
                && !is_named("codes.rs")
            {
                let source = std::fs::read_to_string(&path).expect("readable");
                *text += source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            }
        }
    }

    #[test]
    fn a_code_that_is_listed_is_given_somewhere() {
        let mut text = String::new();
        for folder in ["src", "../node/src"] {
            sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
        }
        for code in Code::ALL {
            let is_given = text.contains(&format!("Code::{code:?}"));
            assert_eq!(is_given, code.stages() != "not yet", "{code}");
        }
    }

    #[test]
    fn a_rejection_is_a_sentence() {
        let whole = Rejection::new(Code::Schema, "", "is not canonical");
        assert_eq!(whole.to_string(), "SCHEMA: the record is not canonical");
        let member = Rejection::new(Code::Role, "sender.agent_type", "must be \"PAT\"");
        assert_eq!(member.to_string(), "ROLE: `sender.agent_type` must be \"PAT\"");
    }
}
