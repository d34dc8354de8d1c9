# The two commands are `make serve` and `make test`; what they do is in scripts/.

SERVER ?= nginx
PORT ?= 8000
TESTS ?= tests
K ?=
export SERVER PORT APP
# Where rustup puts cargo, for a shell that was opened before.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help setup build serve check e2e test deny soak stress sanitize test-matrix platforms fuzz loom bench clean

help: ## say what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' Makefile

setup: ## install what is missing, once, for everything below; afterwards cargo and rust-analyzer work as they are
	@scripts/install-packages build serve test
	@scripts/nginx-headers
	@scripts/test-environments

build: ## install what is missing and build the engine and both modules
	@scripts/install-packages build
	@scripts/build

serve: ## serve conf-examples/hello on http://127.0.0.1:8000 (SERVER=nginx|apache APP=path PORT=8000)
	@scripts/install-packages build serve
	@scripts/build
	@scripts/serve

check: ## format, lints, documentation and unit tests: the inner loop without a server
	@scripts/check

e2e: ## end-to-end tests with a debug build: TESTS=tests/wsgi, and K="nginx and not daemon" for some of them
	@scripts/e2e $(TESTS) $(if $(K),-k "$(K)")

test: ## install what is missing and run everything
	@scripts/install-packages build serve test
	@scripts/test

deny: ## licences, duplicates and sources of the crates, by deny.toml (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing; install it with: cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny --workspace check licenses bans sources

soak: ## the long tests: hundreds of reloads and 20,000 requests with flat memory
	@scripts/install-packages build serve test
	@scripts/build
	@scripts/test-environments
	@NEAT_SOAK=1 scripts/pytest tests/life tests/daemon -n 0

stress: ## clients that do what no client should, against both servers in both modes (NEAT_STRESS=45 seconds for each)
	@scripts/install-packages build serve test
	@scripts/build
	@scripts/test-environments
	@scripts/stress

sanitize: ## address sanitizer over the unit tests, valgrind over an nginx that is abused
	@scripts/sanitize

test-matrix: ## CPython 3.9 to 3.15, every nginx that is promised (NGINX=1.30 for one), and nginx's own configure
	@scripts/install-packages build serve test matrix
	@scripts/build
	@scripts/test-environments
	@scripts/test-matrix

platforms: ## the two commands in clean roots of Debian 12, 13, sid and Ubuntu 24.04, as root (PLATFORM=trixie for one)
	@scripts/platforms $(PLATFORM)

fuzz: ## the wire protocol against a fuzzer, five minutes for each side
	@scripts/fuzz

loom: ## every order in which the threads of an exchange can meet, tried on a model
	RUSTFLAGS="--cfg loom" cargo test --release --locked --target-dir build/loom -p neat-shared --lib relay

bench: ## pairs of servers, measured in turns
	@scripts/install-packages build serve bench
	@scripts/build
	@bench/run

clean: ## remove what was built
	cargo clean
	rm -rf build tests/.venv tests/.venv-apps
