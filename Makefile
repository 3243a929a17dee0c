# posewire: `make demo` shows it working, `make test` tests it. Both create their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NEWEST := .venv-newest
SOURCE ?=
DEMO_FLAGS ?=
# Number of processes that run tests, one file at a time.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-newest check lint types proto proto-check proto-lint bench bench-all clean fuzz chaos soak image check-docker

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/.server: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "posewire needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,openvino]'
	touch $@

$(BIN)/.dev: $(BIN)/.server
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,eval,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps trackeval  # see `eval` in pyproject.toml
	touch $@

demo: $(BIN)/.server  ## Track people: a synthetic scene, or make demo SOURCE=my.mp4 (a file, camera number or RTSP address)
	$(BIN)/posewire demo $(DEMO_FLAGS) $(if $(value SOURCE),-- '$(subst ','\'',$(value SOURCE))')

test: check  ## Run every check and test
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-newest:  ## Run every test with the newest versions of the libraries; make test-newest PYTHON=python3.14
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[server,eval,test]'
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps trackeval  # see `eval` in pyproject.toml
	$(NEWEST)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile

check: lint types proto-check  ## Lint, types, generated code

lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(BIN)/.dev
	$(BIN)/mypy

proto: $(BIN)/.dev  ## Regenerate client/posewire/v1 from protos/
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	    --python_out=client --grpc_python_out=client --mypy_out=client --mypy_grpc_out=client protos/posewire/v1/*.proto

proto-check: proto  ## Fail when the generated code is not current
	git diff --exit-code --stat -- client/posewire/v1
	test -z "$$(git ls-files --others --exclude-standard -- client/posewire/v1)"

proto-lint:  ## buf's STANDARD rules (needs Node.js)
	npx --yes @bufbuild/buf@1.75.0 lint

bench: $(BIN)/.server  ## Print the service's own cost
	$(BIN)/posewire bench

bench-all: $(BIN)/.server  ## Run every benchmark for a CPU (twelve minutes), print the tables of docs/benchmarks.md
	$(BIN)/posewire bench all --out out/bench

fuzz: $(BIN)/.dev  ## 150,000 calls with made-up contents against a server (about an hour)
	POSEWIRE_STRESS=long HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest --timeout 0 -s tests/stress/test_fuzz.py

chaos: $(BIN)/.dev  ## Kill, drain and suspend servers, cut and corrupt lines, hostile clients
	POSEWIRE_STRESS=long $(BIN)/python -m pytest --timeout 0 -s tests/stress/test_disasters.py tests/stress/test_line.py tests/stress/test_hostile_clients.py

soak: $(BIN)/.dev  ## Memory over 20,000 frames and 1,000 streams, and a control that leaks
	POSEWIRE_STRESS=long $(BIN)/python -m pytest --timeout 0 -s tests/stress/test_leaks.py

image:  ## Build the server's image (needs Docker); make image VARIANT=cpu
	docker compose --profile $(if $(filter cpu,$(VARIANT)),cpu,gpu) build

check-docker: $(BIN)/.dev  ## Check compose.yaml, the image's recipe, dashboard, alerts and Envoy's configuration
	$(BIN)/python -m pytest tests/deployment

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) $(NEWEST) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
