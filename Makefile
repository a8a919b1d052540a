# Both environments are one: `make demo` installs what serving needs into $(VENV), everything else adds to it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test clients check docs proto browser bench bench-engines bench-server clean

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
MODEL ?= downshift/models/zoo/cifar10-resnet20.onnx
JOBS ?= 2
RACES ?=
TRACES ?= data/traces/azure_llm_2023
SERVED ?= $(MODEL) cifar-resnet18
bin := $(VENV)/bin
debian := prometheus haproxy
BIG ?= resnet50-128
rivals := $(patsubst %,$(VENV)/.servers/%/.installed,litserve mlserver bentoml ray mosec starlette)
install := $(bin)/python -m pip install --quiet --disable-pip-version-check
sources := pyproject.toml $(wildcard downshift/runtime/kernels/* downshift/runtime/kernels/*/* downshift/runtime/kernels/*/*/*)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.serving ## profile the bundled network on this machine and serve it (PORT=8000, MODEL=path)
	@exec $(bin)/downshift serve $(MODEL) --port $(PORT)

test: $(VENV)/.everything $(VENV)/.debian clients ## run every test (JOBS=2 at once)
	@OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(JOBS) --dist worksteal

check: $(VENV)/.everything ## formatting, lint, types and import direction
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/lint-imports

docs: $(VENV)/.everything ## build the documentation into build/docs; a broken link is an error
	@$(bin)/properdocs build --quiet --strict --config-file docs/tools/mkdocs.yml --site-dir $(CURDIR)/build/docs

bench: bench-policy-decision bench-step ## measure what takes minutes: a decision, a training step

proto: $(VENV)/.everything ## generate the gRPC messages from their definition
	@$(bin)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. downshift/server/grpc/inference.proto

bench-engines: $(VENV)/.openvino bench-matrix ## race the sparse engine against others, half an hour (RACES="cifar-resnet18 uniform")
	@for masks in uniform erk; do $(MAKE) bench-switching ARGS="cifar-resnet18 --threads 2 --masks $$masks"; done

bench-server: $(rivals) ## what serving costs, beside LitServe, MLServer, BentoML, Ray Serve, Mosec; 20 minutes
	@for network in $(SERVED); do $(MAKE) bench-overhead ARGS=$$network; \
	  $(MAKE) bench-throughput ARGS="$$network --environments $(VENV)/.servers"; done

# One experiment each, with the arguments it gets unless the command line has others (ARGS="...").
bench-race: ARGS = cifar-resnet18 --threads 2 ## one network on all engines, side by side
bench-matrix: ARGS = --deepsparse $(VENV)/.deepsparse/bin/python --match "$(RACES)" ## all races that these kernels have not run
bench-pareto: ARGS = --data-dir data ## accuracy against latency, ours and dense networks
bench-switching: ARGS = cifar-resnet18 --threads 2 ## memory of all sub-nets, price of a switch
bench-busy-core: ARGS = cifar-resnet18 --threads 2 ## two threads, one core of them shared with another process
bench-policies: ARGS = --traces $(TRACES) ## compare scheduling policies in virtual time (TRACES=folder of the Azure CSVs)
bench-policy-decision: ARGS = ## what one decision of the budget policy costs
bench-overload: ARGS = $(BIG) ## goodput of the overloaded server, and the simulator beside it
bench-load-levels: ARGS = $(BIG) ## sub-nets by load, without budgets
bench-noisy-neighbour: ARGS = $(BIG) --seconds 18 ## how soon decisions follow a busy neighbour
bench-overhead: ARGS = $(MODEL) ## what serving adds to the program
bench-grpc-overhead: ARGS = $(MODEL) ## what gRPC costs beside HTTP and a bare echo
bench-throughput: ARGS = $(MODEL) --environments $(VENV)/.servers ## our server beside others
bench-budgets: ARGS = $(MODEL) ## which sub-net answers within which budget
bench-responsiveness: ARGS = cifar-resnet18 ## refusals, health probes and memory under overload
bench-swaps: ARGS = $(MODEL) ## hot swaps and a drain under load
bench-replicas: ARGS = $(MODEL) ## two replicas behind Envoy and HAProxy, and faults: who loses requests
bench-fuzz: ARGS = --schemathesis $(VENV)/.schemathesis/bin/schemathesis ## what the OpenAPI document provokes
bench-sweep: ARGS = torchvision/resnet50 torchvision/resnet18 --torch ## sub-nets on a GPU, ten minutes
bench-methods: ARGS = --data-dir data ## one run for all sub-nets beside a run for each: days
bench-step: ARGS = ## what sparse training adds to a training step

experiments := $(shell sed -n 's/^\(bench-[a-z-]*\): ARGS = .*/\1/p' $(firstword $(MAKEFILE_LIST)))
.PHONY: $(experiments)
$(experiments): bench-%: $(VENV)/.everything
	@$(bin)/python -m $(subst /,.,$(basename $(wildcard benchmarks/*/$(subst -,_,$*).py))) $(ARGS)
bench-matrix: $(VENV)/.deepsparse
bench-throughput: $(rivals)
bench-fuzz: $(VENV)/.schemathesis

clients: $(VENV)/.clients/.complete ## install the V2 clients that tests run, each into an environment of its own

browser: $(VENV)/.browser ## install what the tests of the page need: Chromium (as root on Debian), and axe-core (with npm)

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an environment is installed again only when what it is made from has changed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 or newer: run make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@command -v $${CXX:-c++} >/dev/null \
	  || { echo "error: no C++ compiler: install g++ or clang, or name one in CXX" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.deepsparse: | $(VENV)/bin/python
	@echo "Installing DeepSparse into an environment of its own (once) ..."
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip install --quiet --disable-pip-version-check 'deepsparse==1.8.0' 'numpy<2'

$(VENV)/.openvino: $(VENV)/.everything
	@$(install) --editable '.[openvino]'
	@touch $@

$(VENV)/.schemathesis: | $(VENV)/bin/python
	@echo "Installing schemathesis into an environment of its own (once) ..."
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip install --quiet --disable-pip-version-check 'schemathesis>=4'

$(VENV)/.servers/%/.installed: benchmarks/server/stacks/%.txt | $(VENV)/bin/python
	@echo "Installing $* into an environment of its own (once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Programs that only tests use. They are installed where nobody minds: in CI, on Debian, as root. Elsewhere the
# tests that need them skip and name the package.
$(VENV)/.debian: | $(VENV)/bin/python
	@if [ "$${CI:-}" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing $(debian) (once) ..."; \
	  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	  { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $(debian); } >$@.log 2>&1 \
	    || echo "warning: $(debian) cannot be installed, see $@.log; their tests are skipped" >&2; \
	fi
	@touch $@

$(VENV)/.clients/.complete: $(wildcard tests/server/clients/*.sh tests/server/clients/*.txt) | $(VENV)/bin/python
	@echo "Installing the V2 clients that the tests run (once) ..."
	@PYTHON=$(PYTHON) tests/server/clients/install.sh $(@D) && touch $@ || echo "Without them their tests are skipped."

$(VENV)/.serving: $(sources) | $(VENV)/bin/python
	@echo "Installing Downshift into $(VENV), without torch (once) ..."
	@$(install) --editable .
	@touch $@

$(VENV)/.everything: $(sources) | $(VENV)/bin/python
	@echo "Installing Downshift with training and development tools into $(VENV) (once) ..."
	@$(install) --editable '.[train,dev]'
	@touch $(VENV)/.serving $@

# Where either cannot be had, the tests that need it are skipped and say so.
$(VENV)/.browser: | $(VENV)/bin/python
	@if ! command -v chromedriver >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium (once) ..."; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
	    chromium chromium-driver; } >/dev/null || echo "Chromium cannot be installed here"; fi
	@if command -v npm >/dev/null; then tarball=$$(npm pack --silent axe-core@4 --pack-destination $(VENV)) \
	  && tar -xzf $(VENV)/$$tarball -C $(VENV) --strip-components=1 package/axe.min.js && rm $(VENV)/$$tarball \
	  || echo "axe-core cannot be fetched here"; fi
	@touch $@
