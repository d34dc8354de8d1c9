# The two commands are `make serve` and `make test`; what they do is in scripts/.

SERVER ?= nginx
PORT ?= 8000
export SERVER PORT APP
# Where rustup puts cargo, for a shell that was opened before.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help build serve test soak test-matrix fuzz bench clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

build: ## install what is missing and build the engine and both modules
	@scripts/install-packages build
	@scripts/build

serve: ## serve conf-examples/hello on http://127.0.0.1:8000 (SERVER=nginx|apache APP=path PORT=8000)
	@scripts/install-packages build serve
	@scripts/build
	@scripts/serve

test: ## install what is missing and run everything
	@scripts/install-packages build serve test
	@scripts/nginx-headers
	@scripts/test

soak: ## the long tests: hundreds of reloads and 20,000 requests with flat memory
	@scripts/install-packages build serve test
	@scripts/build
	@scripts/test-environments
	@NEAT_SOAK=1 tests/.venv/bin/python -m pytest tests/life tests/daemon

test-matrix: ## every Python that is found, and every nginx that is promised (NGINX=1.30 for one)
	@scripts/install-packages build serve test
	@scripts/build
	@scripts/test-environments
	@scripts/test-matrix

fuzz: ## the wire protocol against a fuzzer, five minutes for each side
	@scripts/fuzz

bench: ## pairs of servers, measured in turns
	@scripts/install-packages build serve bench
	@scripts/build
	@bench/run

clean: ## remove what was built
	cargo clean
	rm -rf build tests/.venv tests/.venv-apps
