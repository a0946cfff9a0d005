//! The nearest right flag to a misspelt one.

use bizra_node::config::nearest;
use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Adds the nearest flag of the verb where clap finds none: its measure gives
/// up on transposed letters in short words.
pub(crate) fn with_nearest_flag(mut error: clap::Error, root: Command) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument || error.get(ContextKind::SuggestedArg).is_some()
    {
        return error;
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut verb = &root;
    for word in std::env::args().skip(1) {
        match verb.find_subcommand(&word) {
            Some(inner) => verb = inner,
            None => break,
        }
    }
    let flags: Vec<String> = verb
        .get_arguments()
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect();
    if let Some(flag) = nearest(wrong, flags) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(flag));
    }
    error
}
