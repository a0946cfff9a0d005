package bizra.policy_test

import data.bizra.policy
import rego.v1

chat := {
	"action": "inference/commit",
	"agent_type": "PAT",
	"operation": "chat",
	"operations": ["infer", "read"],
	"tier": "LOCAL",
	"model": {"digest": "ab", "evidence": "configured_claim"},
	"flags": {"personal_data": false, "toxicity": false, "violation": false},
}

verified := object.union(chat, {"model": {"evidence": "host_verified"}})

test_a_chat_is_allowed if policy.allow with input as chat

test_a_system_agent_commits_no_inference if {
	not policy.allow with input as object.union(chat, {"agent_type": "SAT"})
}

test_an_unknown_action_is_denied if {
	not policy.allow with input as {"action": "market/steal", "agent_type": "PAT"}
	not policy.allow with input as {"agent_type": "PAT"}
	not policy.allow with input as {}
}

test_other_actions_are_allowed if {
	every action in ["session/close", "identity/revoke", "market/join", "market/release"] {
		policy.allow with input as {"action": action, "agent_type": "PAT"}
		not policy.allow with input as {"action": action, "agent_type": "SAT"}
	}
}

test_validators_govern if {
	every action in ["governance/propose", "governance/vote", "release/attest"] {
		policy.allow with input as {"action": action, "agent_type": "SAT"}
		not policy.allow with input as {"action": action, "agent_type": "PAT"}
	}
}

test_patterns_are_offered_by_agents_and_elevated_by_validators if {
	policy.allow with input as {"action": "pattern/propagate", "agent_type": "PAT"}
	not policy.allow with input as {"action": "pattern/propagate", "agent_type": "SAT"}
	policy.allow with input as {"action": "pattern/elevate", "agent_type": "SAT"}
	not policy.allow with input as {"action": "pattern/elevate", "agent_type": "PAT"}
}

test_flags_deny if {
	not policy.allow with input as object.union(chat, {"flags": {"violation": true}})
	not policy.allow with input as object.union(chat, {"flags": {"toxicity": true}})
	policy.allow with input as object.union(chat, {"flags": {"personal_data": true}})
}

test_personal_data_stays_off_the_network if {
	networked := object.union(chat, {"operations": ["infer", "network"]})
	policy.allow with input as networked
	not policy.allow with input as object.union(networked, {"flags": {"personal_data": true}})
}

test_a_shell_wants_verified_weights_that_are_not_of_the_edge if {
	shell := {"operations": ["infer", "shell"]}
	not policy.allow with input as object.union(chat, shell)
	policy.allow with input as object.union(verified, shell)
	not policy.allow with input as object.union(object.union(verified, shell), {"tier": "EDGE"})
}

test_files_want_verified_weights if {
	every operation in ["write", "edit"] {
		change := {"operations": [operation]}
		not policy.allow with input as object.union(chat, change)
		policy.allow with input as object.union(verified, change)
	}
}

test_a_tool_is_named if {
	call := {"operation": "execute_tool"}
	not policy.allow with input as object.union(chat, call)
	policy.allow with input as object.union(object.union(chat, call), {"operations": ["tool"]})
}

test_an_embedding_only_reads if {
	embedding := object.union(chat, {"operation": "embeddings"})
	policy.allow with input as embedding
	policy.allow with input as object.union(embedding, {"operations": []})
	not policy.allow with input as object.union(embedding, {"operations": ["read", "network"]})
}

test_a_reason_is_given if {
	shell := object.union(chat, {"operations": ["shell"], "tier": "EDGE"})
	policy.reasons == {
		"a shell wants a model that the host has verified",
		"a shell on a model of the edge",
	} with input as shell
}
