# `make help` lists what there is. Everything is installed into .venv from requirements.txt, which pins versions and hashes.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo up down test soak check fmt bench lock browser tools clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## a virtual environment in .venv with the command `differline`

$(STAMP): requirements.txt pyproject.toml
	@infra/deploy/install-venv $(PYTHON) $(VENV)
	@touch $@

demo: install ## simulated cameras, training, scoring and the dashboard on http://127.0.0.1:8501, until Ctrl-C
	@$(BIN)/differline demo

up: ## PostgreSQL, Redis and Kafka as servers on this machine, data in .local; prints the settings that use them
	@infra/deploy/servers up

down: ## stop what `make up` started; data in .local stays
	@infra/deploy/servers down

test: install browser tools ## all tests, on real engines and a real browser; in TEST_PROCESSES processes, each on a thread of torch's
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

soak: install tools ## the demo, and the fault tests at full size, for an hour or more; prints the table of what was killed and found
	DIFFERLINE_TEST_SOAK=on $(BIN)/python -m pytest tests/e2e/test_demo.py tests/e2e/faults

check: install ## lint, formatting, types, the direction of imports, and the deployment files by their schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	infra/deploy/check-manifests $(BIN)

fmt: install ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## measure scoring, training, database, Kafka clients, latency and dashboard; prints tables (for an hour; BENCH=--quick: a try)
	$(BIN)/differline bench $(BENCH)
	$(BIN)/python -m tests.bench.database $(BENCH)
	$(BIN)/python -m tests.bench.kafka_clients $(BENCH)
	$(BIN)/python -m tests.bench.latency $(BENCH)
	$(BIN)/python -m tests.bench.dashboard $(BENCH)

lock: install ## pin every dependency again, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-annotate --extra dev --extra bench --extra onnx pyproject.toml \
		--output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-annotate --constraint requirements.txt --extra ganomaly pyproject.toml \
		--output-file requirements-ganomaly.txt

browser: ## Chromium for the end-to-end tests, where it is missing
	@infra/deploy/install-browser

tools: ## clients, brokers and cameras that nobody here wrote, for the tests, where they are missing
	@infra/deploy/install-test-tools

clean: ## remove what make made; data in .differline stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache differline.egg-info
