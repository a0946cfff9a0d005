# What a record must obey besides its scores. Records name this text by its
# BLAKE3 hash, every validator evaluates it, and changing a byte makes another
# policy. `ledger/src/policy/subset.rs` says in which part of Rego.
package bizra.policy

import rego.v1

default allow := false

allow if {
	input.action == "inference/commit"
	input.agent_type == "PAT"
	not denied
}

allow if {
	input.action in {
		"session/close",
		"identity/register", "identity/rotate", "identity/revoke",
		"market/join", "market/issue", "market/buy",
		"market/assess", "market/pay", "market/release",
	}
	input.agent_type == "PAT"
}

# Validators govern. Without this rule nobody could put another policy in force.
allow if {
	input.action in {"governance/propose", "governance/vote", "release/attest"}
	input.agent_type == "SAT"
}

# What a node has learned is offered by whoever used it, and voted for by validators.
allow if {
	input.action == "pattern/propagate"
	input.agent_type == "PAT"
}

allow if {
	input.action == "pattern/elevate"
	input.agent_type == "SAT"
}

denied if count(reasons) > 0

reasons contains "the sender says that a rule was violated" if input.flags.violation

reasons contains "toxic output" if input.flags.toxicity

# Weights that nobody has looked at may talk, and touch nothing of consequence.
reasons contains "a shell wants a model that the host has verified" if {
	"shell" in input.operations
	input.model.evidence != "host_verified"
}

reasons contains "a change of files wants a model that the host has verified" if {
	some operation in input.operations
	operation in {"write", "edit"}
	input.model.evidence != "host_verified"
}

reasons contains "a shell on a model of the edge" if {
	"shell" in input.operations
	input.tier == "EDGE"
}

reasons contains "personal data that went to the network" if {
	input.flags.personal_data
	"network" in input.operations
}

# What is called a tool says that it used one, and an embedding touches nothing.
reasons contains "a call of a tool that names none" if {
	input.operation == "execute_tool"
	not "tool" in input.operations
}

reasons contains "an embedding that does more than read" if {
	input.operation == "embeddings"
	some operation in input.operations
	not operation in {"infer", "read"}
}
