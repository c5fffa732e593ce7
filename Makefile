# Needs python3 (3.11 or newer) with pip, make and git. Every target makes .venv on first use.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt docs bench bench-kafka load mutants rxpy-tests kafka test-kafka test-servers soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install what the other targets need (PYTHON=python3.12 picks another Python)

demo: $(STAMP) ## Run the shop live until Ctrl-C (SECONDS=15 ends it by itself; BROKER=kafka runs it on a Kafka broker)
	@$(if $(filter kafka,$(BROKER)),$(PY) -m tests.servers.kafka --data .kafka --) $(PY) -m pipelines.demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(STAMP) ## Run every test that needs no server (ARGS="-k windows -x" goes to pytest)
	$(PY) -m pytest -n 2 --dist loadfile -m "not servers and not kafka and not soak and not bench" $(ARGS)

check: $(STAMP) ## Check format, lint and types: what CI checks before the tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pyright --pythonpath $(PY)

fmt: $(STAMP) ## Format the code and repair what ruff can
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

docs: $(STAMP) ## Write docs/operators.md anew, from the operators' docstrings
	$(PY) -m rxstreams.pictures > docs/operators.md

bench: $(STAMP) ## Measure speed against hand-written loops and print the table
	@$(PY) -m benchmarks $(ARGS)

bench-kafka: $(STAMP) ## Measure speed on Kafka against hand-written loops and Kafka Streams (needs java, javac and mvn)
	@$(PY) -m benchmarks.kafka $(ARGS)

load: $(STAMP) ## Load the shop with CLIENTS=1000 of REQUESTS=100 each (BROKER=kafka on a Kafka broker); fails if an order is lost
	@$(if $(filter kafka,$(BROKER)),$(PY) -m tests.servers.kafka --) $(PY) -m benchmarks.load \
		$(if $(CLIENTS),--clients $(CLIENTS)) $(if $(REQUESTS),--requests $(REQUESTS)) $(ARGS)

mutants: $(STAMP) ## Remove each guard in turn; fails if the tests do not notice
	@$(PY) -m tests.mutants $(ARGS)

rxpy-tests: $(STAMP) ## Run RxPY's own tests on our operators (RXPY=path of a checkout of RxPY)
	@test -d "$(RXPY)" || { echo "make rxpy-tests needs RXPY=path of a checkout of RxPY, got '$(RXPY)'" >&2; exit 2; }
	@$(PY) tests/rxpy/run.py $(RXPY)

kafka: $(STAMP) ## Run a Kafka broker until Ctrl-C, from jars that Maven fetches (PORT=9092)
	@$(PY) -m tests.servers.kafka $(if $(PORT),--port $(PORT))

test-kafka: $(STAMP) ## Run the tests that need Kafka; they start their own (needs java and mvn)
	$(PY) -m pytest -n 2 --dist loadfile -m "kafka and not soak" tests/kafka $(ARGS)

test-servers: $(STAMP) ## Run the tests that need servers beside them (so far Kafka)
	$(PY) -m pytest -n 2 --dist loadfile -m "servers and not soak" $(ARGS)

soak: $(STAMP) ## Run the long tests
	$(PY) -m pytest -n 2 --dist loadfile -m soak --timeout 0 $(ARGS)

clean: ## Remove .venv, caches and build results (databases stay)
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A Python without ensurepip (Debian's, without python3-venv) still makes a .venv if it has pip.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "rxstreams needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) && $(PY) -m pip --version >/dev/null 2>&1 \
		|| { $(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv --clear .venv; } \
		|| { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(PY) install -q pip; } \
		|| { rm -rf .venv; echo "'$(PYTHON)' cannot make a virtual environment: it has neither ensurepip nor pip." \
			"On Debian and Ubuntu: apt-get install python3-venv. Or name another: make setup PYTHON=…" >&2; exit 1; }
	@echo "Installing into .venv; the first time takes about a minute …"
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[http,feeds,dev]'
	@touch $@
