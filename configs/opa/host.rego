# Rules for the host of a node, for operators: what it may reach, what it may
# listen on, and what it may read. No part of consensus. Whatever enforces it (a
# proxy, an admission controller) asks `data.bizra.host.allow` with
#   {"kind": "egress", "host": "…", "port": 443, "protocol": "tcp"}
#   {"kind": "ingress", "port": 7000, "protocol": "tcp"}
#   {"kind": "read", "path": "/…"}
package bizra.host

import rego.v1

default allow := false

allow if {
	input.kind in {"egress", "ingress", "read"}
	count(deny) == 0
}

# The ports of the federation: TCP 7000 and QUIC on UDP 7001 between nodes.
peer_ports := {["tcp", 7000], ["udp", 7001]}

# The API, its administration on loopback, and these.
listening_ports := peer_ports | {["tcp", 8080]}

web_ports := {["tcp", 80], ["tcp", 443]}

# Names are resolved, and clocks are set.
service_ports := {["udp", 53], ["tcp", 53], ["udp", 123]}

deny contains "hidden services are not reached" if {
	input.kind == "egress"
	is_hidden(lower(input.host))
}

deny contains "the host is missing" if {
	input.kind == "egress"
	not is_string(input.host)
}

deny contains "the port is not one that a node reaches" if {
	input.kind == "egress"
	not [input.protocol, input.port] in ((peer_ports | web_ports) | service_ports)
}

deny contains "the port is not one that a node listens on" if {
	input.kind == "ingress"
	not [input.protocol, input.port] in listening_ports
}

deny contains "the path is missing or not absolute" if {
	input.kind == "read"
	not is_absolute
}

deny contains "the path leads upwards" if {
	input.kind == "read"
	some part in split(input.path, "/")
	part in {"..", "."}
}

deny contains "the path is sensitive" if {
	input.kind == "read"
	is_sensitive(input.path)
}

is_absolute if startswith(input.path, "/")

is_hidden(host) if endswith(trim_suffix(host, "."), ".onion")

is_hidden(host) if trim_suffix(host, ".") == "onion"

is_sensitive(path) if {
	some folder in ["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/root", "/proc", "/sys/firmware"]
	is_within(path, folder)
}

is_sensitive(path) if {
	some part in split(path, "/")
	part in {".ssh", ".gnupg", ".aws", ".kube", ".docker", ".env", "keys"}
}

is_within(path, folder) if path == folder

is_within(path, folder) if startswith(path, concat("", [folder, "/"]))

# Backups of such files, as editors and package managers leave them.
is_within(path, folder) if startswith(path, concat("", [folder, "-"]))
