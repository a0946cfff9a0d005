//! Exports of a chain: all that a stranger with the genesis file needs to judge
//! every record anew.
//!
//! | module | holds |
//! |---|---|
//! | [`export`] | the file: frames, written and read as a stream |
//! | [`replay`] | verifies the certificates and executes every block of an export |

pub mod export;
pub mod replay;
