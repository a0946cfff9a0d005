#![no_main]

use bizra_fuzz::decodes_exactly;
use bizra_types::batch::SignedTicket;
use bizra_types::execution::ExecFields;
use bizra_types::message::{BatchAck, BatchHint, SignedCommitVote, SignedVote};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decodes_exactly::<SignedVote>(bytes);
    decodes_exactly::<SignedCommitVote>(bytes);
    decodes_exactly::<SignedTicket>(bytes);
    decodes_exactly::<BatchAck>(bytes);
    decodes_exactly::<BatchHint>(bytes);
    decodes_exactly::<ExecFields>(bytes);
});
