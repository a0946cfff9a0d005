# `make` alone lists the targets. Everything is built with the one dev profile,
# which is optimised, and lies in CARGO_TARGET_DIR (`target` if that is not set).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
# Where rustup puts Rust, should the shell not know it yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target

BINARIES := $(CARGO_TARGET_DIR)/debug
PYTHON := "$(CARGO_TARGET_DIR)/python/bin/python" -B

# `make test` simulates these seeds with four and with seven validators, and
# with seven of which two lie;
# `make sim SEEDS=0..100000` is for a long evening.
SIM_SEEDS_4 ?= 0..200
SIM_SEEDS_7 ?= 0..60
SIM_SEEDS_LIES ?= 0..40
SEEDS ?= 0..1000
VALIDATORS ?= 7

# `make fuzz` gives each target so long, and the engine longer.
FUZZ_SECONDS ?= 60
FUZZ_SECONDS_STEP ?= 900
FUZZ_TARGETS := $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))

say = @printf '\n== %s\n'

.PHONY: help demo test lint fmt sim planted mutants fuzz proto deny clean setup setup-tests build
.PHONY: test-fmt test-clippy test-lint-bites test-client test-build test-rust test-sim
.PHONY: test-live test-crash test-deny

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: setup build ## seven validators on this machine: finality, two killed, recovery, an offline proof (KEEP=1 leaves them up)
	$(say) 'demo'
	@"$(BINARIES)/bizra" demo $(if $(filter-out 0,$(KEEP)),--keep)

test: setup-tests test-fmt test-clippy test-lint-bites test-client test-build test-rust test-sim planted test-live test-crash test-deny ## every test that needs no special machine
	$(say) 'all tests passed'

lint: test-fmt test-clippy test-lint-bites ## formatting, clippy, and that clippy's bans bite

fmt: ## format the sources
	cargo fmt --all

sim: ## simulate SEEDS=0..1000 with VALIDATORS=7
	$(say) 'simulating seeds $(SEEDS) with $(VALIDATORS) validators'
	@cargo build --locked --package bizra-sim --bin bizra-sim
	@"$(BINARIES)/bizra-sim" --seeds $(SEEDS) --validators $(VALIDATORS)

# In a target directory of its own: the switch changes every crate.
planted: export RUSTFLAGS += --cfg planted_bugs
planted: export CARGO_TARGET_DIR := $(CARGO_TARGET_DIR)/planted
planted: ## plant known mistakes in the engine: simulator and traces must find each
	$(say) 'planted bugs'
	@cargo test --locked --package bizra-consensus --package bizra-sim --test traces --test eras --test planted

# `.cargo/mutants.toml` says what is changed and which tests must notice. It is
# compiled many hundred times, so not optimised.
mutants: export CARGO_PROFILE_DEV_OPT_LEVEL := 0
mutants: export CARGO_TARGET_DIR := $(CARGO_TARGET_DIR)/mutants
mutants: ## change the rules in one place at a time: a test must fail (takes hours; installs cargo-mutants)
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	$(say) 'mutants'
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@cargo mutants --output "$(CARGO_TARGET_DIR)"

# Without a sanitizer: none of our code is unsafe, and overflows and assertions
# are checked. What the fuzzer finds stays in fuzz/corpus.
fuzz: export CARGO_TARGET_DIR := $(CARGO_TARGET_DIR)/fuzz
fuzz: ## feed every decoder and the engine what nobody would send, FUZZ_SECONDS=60 each (needs nightly Rust; installs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@fuzz/seeds.py
	@for target in $(FUZZ_TARGETS); do \
		printf '\n== fuzzing %s\n' "$$target"; \
		seconds=$(FUZZ_SECONDS); \
		if [ "$$target" = step ]; then seconds=$(FUZZ_SECONDS_STEP); fi; \
		cargo +nightly fuzz run --fuzz-dir fuzz --sanitizer none "$$target" -- \
			-max_total_time="$$seconds" -print_final_stats=1; \
	done

proto: ## make the code of the gRPC API from node/proto
	@cargo run --locked --manifest-path node/proto/generate/Cargo.toml --target-dir "$(CARGO_TARGET_DIR)/proto"

deny: ## licences, sources, bans and known vulnerabilities of the dependencies (installs cargo-deny, needs the network)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	$(say) 'dependencies'
	@cargo deny --locked check --hide-inclusion-graph

clean: ## remove everything that was built
	cargo clean

build: setup ## build the programs
	$(say) 'building'
	@cargo build --locked --workspace --bins

setup: ## install what the build lacks (asks apt, with sudo when not root)
	@scripts/setup.sh

setup-tests:
	@scripts/setup.sh tests

test-fmt:
	$(say) 'formatting'
	@cargo fmt --all --check

test-clippy:
	$(say) 'clippy'
	@cargo clippy --locked --workspace --all-targets -- -D warnings

test-lint-bites:
	$(say) 'the bans of clippy.toml bite'
	@scripts/lint-bites.sh

test-client:
	$(say) 'Python client, vectors and demonstration records'
	@$(PYTHON) clients/python/test_pci.py
	@$(PYTHON) clients/vectors/make_vectors.py --check
	@$(PYTHON) configs/demo/check_records.py
	$(say) 'policies in a second engine'
	@$(PYTHON) scripts/cross-check-policy.py

# Programs and tests in one go, with one choice of features: the steps below
# run what this has built.
test-build:
	$(say) 'building programs and tests'
	@cargo build --locked --workspace --bins --tests

test-rust:
	$(say) 'tests'
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --workspace --lib --bins --tests; \
	else \
		cargo test --locked --workspace --lib --bins --tests; \
	fi
	$(say) 'examples in the documentation'
	@cargo test --locked --workspace --doc --quiet

test-sim:
	$(say) 'simulation: four validators, seeds $(SIM_SEEDS_4)'
	@"$(BINARIES)/bizra-sim" --seeds $(SIM_SEEDS_4) --validators 4
	$(say) 'simulation: seven validators, seeds $(SIM_SEEDS_7)'
	@"$(BINARIES)/bizra-sim" --seeds $(SIM_SEEDS_7) --validators 7
	$(say) 'simulation: seven validators, two of which lie, seeds $(SIM_SEEDS_LIES)'
	@"$(BINARIES)/bizra-sim" --seeds $(SIM_SEEDS_LIES) --validators 7 --byzantine 2 --views 60

test-live:
	$(say) 'Python client against four real validators'
	@scripts/live-python.sh 4
	$(say) 'governance on a running network: parameters, a policy, a joiner, a leaver'
	@scripts/live-governance.sh

# The programs are built again with points at which they die, and then without.
test-crash:
	$(say) 'a process that dies at every point around a write'
	@cargo test --locked --workspace --features bizra-node/fail-points --test fail_points
	@cargo build --locked --workspace --bins

# The vulnerabilities are left to `make deny`: their list comes over the network.
test-deny:
	$(say) 'dependencies: licences, sources, bans'
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --locked check --hide-inclusion-graph licenses sources bans; \
	else \
		echo 'left out: cargo-deny is not installed (make deny installs it)'; \
	fi
