//! Makes the messages and services of the gRPC API, and what reflection tells of
//! them, from the `proto` file: `make proto`.

use anyhow::Context as _;
use prost::Message as _;
use std::fs;
use std::path::Path;

/// Messages of answers, which are read from the JSON of the HTTP API.
const ANSWERS: [&str; 42] = [
    "Ballot",
    "BatchResult",
    "Block",
    "BlockRecord",
    "Certificates",
    "CommitRef",
    "CommittedBlock",
    "Committee",
    "Evidence",
    "Fate",
    "Filed",
    "FoundRecord",
    "GovernedParameter",
    "GovernedParameters",
    "Lagged",
    "LogCheckpoint",
    "LogConsistency",
    "NeededBallots",
    "OfferedPattern",
    "Params",
    "Pattern",
    "PatternVotes",
    "PieceOfEvidence",
    "Policy",
    "Proposal",
    "Proposals",
    "Proposer",
    "Quorum",
    "Receipt",
    "Record",
    "Refusal",
    "Reputation",
    "SearchPatternsResponse",
    "SearchRecordsResponse",
    "Standing",
    "Status",
    "SubmissionLimits",
    "SubmitRecordResponse",
    "Ticket",
    "Validator",
    "Verification",
    "Verifier",
];
/// Members that hold JSON text as it stands.
const JSON_TEXTS: [&str; 6] = [
    "LogCheckpoint.final_head",
    "Pattern.envelope",
    "PieceOfEvidence.data",
    "Proposal.change",
    "Receipt.finality_proof",
    "Record.envelope",
];

fn main() -> anyhow::Result<()> {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (source, out) = (node.join("proto/bizra.proto"), node.join("src/api/grpc"));
    let files = protox::compile([&source], [node.join("proto")])?;
    fs::write(out.join("bizra.v1.bin"), files.encode_to_vec())?;
    let mut config = tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(test)]")
        .btree_map(".")
        .bytes(".bizra.v1.SubmitRecordRequest")
        .bytes(".bizra.v1.SubmitBatchRequest")
        .bytes(".bizra.v1.OfferPatternRequest")
        .bytes(".bizra.v1.ChainChunk")
        .out_dir(&out);
    for name in ANSWERS {
        let attributes = "#[derive(serde::Deserialize)]\n\
            #[serde(default)]\n\
            #[cfg_attr(test, serde(deny_unknown_fields))]";
        config = config.type_attribute(format!(".bizra.v1.{name}"), attributes);
    }
    for name in JSON_TEXTS {
        let attribute = "#[serde(deserialize_with = \"super::json_text\")]";
        config = config.field_attribute(format!(".bizra.v1.{name}"), attribute);
    }
    config.compile_fds(files)?;
    // A test of the node compares it with the hash of the file.
    let code = fs::read_to_string(out.join("bizra.v1.rs")).context("no code was made")?;
    let hash = blake3::hash(&fs::read(&source)?);
    fs::write(out.join("bizra.v1.rs"), format!("// BLAKE3 of bizra.proto: {hash}\n{code}"))?;
    Ok(())
}
