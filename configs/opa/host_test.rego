package bizra.host_test

import data.bizra.host
import rego.v1

egress(name, port, protocol) := {"kind": "egress", "host": name, "port": port, "protocol": protocol}

ingress(port, protocol) := {"kind": "ingress", "port": port, "protocol": protocol}

read(path) := {"kind": "read", "path": path}

test_the_ports_of_the_federation_are_open if {
	host.allow with input as egress("203.0.113.20", 7000, "tcp")
	host.allow with input as egress("203.0.113.20", 7001, "udp")
	host.allow with input as ingress(7000, "tcp")
	host.allow with input as ingress(7001, "udp")
	host.allow with input as ingress(8080, "tcp")
}

test_other_ports_are_closed if {
	not host.allow with input as egress("203.0.113.20", 7000, "udp")
	not host.allow with input as egress("203.0.113.20", 25, "tcp")
	not host.allow with input as ingress(22, "tcp")
	not host.allow with input as ingress(443, "tcp")
}

test_hidden_services_are_denied if {
	every name in ["example.onion", "EXAMPLE.ONION", "a.b.onion.", "onion"] {
		not host.allow with input as egress(name, 443, "tcp")
		"hidden services are not reached" in host.deny with input as egress(name, 443, "tcp")
	}
	host.allow with input as egress("onion.example", 443, "tcp")
	host.allow with input as egress("myonion", 443, "tcp")
}

test_what_is_incomplete_is_denied if {
	not host.allow with input as {}
	not host.allow with input as {"kind": "egress", "port": 443, "protocol": "tcp"}
	not host.allow with input as {"kind": "egress", "host": "a.example"}
	not host.allow with input as {"kind": "ingress"}
	not host.allow with input as {"kind": "read"}
	not host.allow with input as {"kind": "write", "path": "/tmp/a"}
}

test_sensitive_paths_are_denied if {
	every path in [
		"/etc/shadow", "/etc/shadow-", "/etc/ssh/ssh_host_ed25519_key", "/root/a", "/root",
		"/proc/1/environ", "/home/a/.ssh/id_ed25519", "/srv/node-0/keys/consensus.key", "/srv/.env",
	] {
		not host.allow with input as read(path)
	}
}

test_paths_cannot_hide if {
	not host.allow with input as read("etc/hosts")
	not host.allow with input as read("/srv/../etc/hosts")
	not host.allow with input as read("/srv/./data")
}

test_other_paths_are_allowed if {
	every path in ["/srv/node-0/data/LOG", "/etc/hosts", "/etc/shadowed", "/rooted/a"] {
		host.allow with input as read(path)
	}
}
