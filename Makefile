# `make` alone lists what there is. Everything happens inside this folder: .venv (the packages) and .tallyback (the world).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# The first Python of 3.11 or later that can make a virtual environment. Name another: make install PYTHON=python3.13
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	echo $$name; break; fi; done)
# One process more than two cores: tests wait for servers and processes a third of their time.
WORKERS ?= 3
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q
ORDERS ?=
SEED ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
SPARK := .venv/spark/.installed
LOGS := .tallyback/logs
WORLD := $(if $(ORDERS),--orders "$(ORDERS)") $(if $(SEED),--seed "$(SEED)")
# Nothing of the caller's shell may change which code runs, or what a test sees.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# uv trusts whom pip trusts: the machine's certificates, where it has them (a company's proxy, say), else those it brings.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem /etc/ssl/ca-bundle.pem),)
export UV_SYSTEM_CERTS ?= true
endif
# Without a home uv has nowhere to keep what it downloads.
ifeq ($(wildcard $(HOME)/.),)
export UV_CACHE_DIR ?= $(CURDIR)/.tallyback/cache/uv
export HOME := $(CURDIR)/.tallyback/home
endif

.PHONY: help install demo up down test coverage test-external check bench bench-plot bench-spark clean lock

help: ## this list
	@echo "Tallyback. Begin with: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo ORDERS=orders.parquet   the same with real orders        SEED=7   another world"

install: $(INSTALLED) ## set up the virtual environment .venv with the pinned packages

$(INSTALLED): requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "Tallyback needs Python 3.11 or later with its venv module$(if $(PYTHON),; $(PYTHON) is not that)."; \
		echo "Install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12"; \
		exit 1; fi
	@mkdir -p $(LOGS)
	@echo "Setting up .venv with $$($(PYTHON) --version) (about a minute the first time; log: $(LOGS)/install.log)"
	@{ [ -x $(BIN)/python ] && $(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv; } >$(LOGS)/install.log 2>&1 \
		|| { cat $(LOGS)/install.log; echo "The virtual environment could not be made."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt >>$(LOGS)/install.log 2>&1 \
		|| { tail -n 20 $(LOGS)/install.log; echo "pip could not install uv. Is a package index reachable? See $(LOGS)/install.log"; exit 1; }
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements/dev.txt >>$(LOGS)/install.log 2>&1 \
		|| { tail -n 20 $(LOGS)/install.log; echo "The packages could not be installed. See $(LOGS)/install.log"; exit 1; }
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable . >>$(LOGS)/install.log 2>&1 \
		|| { tail -n 20 $(LOGS)/install.log; echo "Tallyback itself could not be installed. See $(LOGS)/install.log"; exit 1; }
	@touch $@
	@echo "Installed. The command line is $(BIN)/tallyback"

demo: install ## a cashback month from click to payment file, on this machine, in a few minutes
	@$(BIN)/python -m sandbox.demo run $(WORLD)

up: install ## the same world kept running, with Airflow's screens to click through
	@$(BIN)/python -m sandbox.demo up $(WORLD)

down: install ## end what `make up` started
	@$(BIN)/python -m sandbox.demo down

test: install ## all tests
	@echo "Running the tests on $(WORKERS) processes (make test WORKERS=5 for more)"
	@$(BIN)/python -m pytest $(PARALLEL)

coverage: install ## all tests, and how much of the code they run; takes a quarter longer
	@mkdir -p $(LOGS)
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest $(PARALLEL); failed=$$?; \
		$(BIN)/coverage combine -q; $(BIN)/coverage report >$(LOGS)/coverage.txt; \
		echo "Coverage, with branches, without the tests that live whole worlds: $$(awk '$$1 == "TOTAL" { print $$NF }' $(LOGS)/coverage.txt) (each file: $(LOGS)/coverage.txt)"; \
		exit $$failed

# Apart from the environment: Great Expectations would load PySpark in every process that finds it.
$(SPARK): requirements/spark.txt $(INSTALLED)
	@mkdir -p $(LOGS)
	@echo "Adding the extra tallyback[spark], half a gigabyte (log: $(LOGS)/spark.log)"
	@rm -rf $(dir $(SPARK))
	@$(BIN)/uv pip install --python $(BIN)/python --target $(dir $(SPARK)) --require-hashes --compile-bytecode -r requirements/spark.txt >$(LOGS)/spark.log 2>&1 \
		|| { tail -n 20 $(LOGS)/spark.log; echo "PySpark could not be installed. See $(LOGS)/spark.log"; exit 1; }
	@touch $@

test-external: $(SPARK) ## tests that need OpenSSH's server (sshd) and Java 17 on this machine
	@command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || { \
		echo "These tests need OpenSSH's server. Debian, Ubuntu: apt-get install openssh-server (it need not run)."; exit 1; }
	@command -v java >/dev/null || [ -x "$$JAVA_HOME/bin/java" ] || { \
		echo "These tests need Java 17 or later. Debian, Ubuntu: apt-get install openjdk-17-jre-headless"; exit 1; }
	@PYTHONPATH=$(abspath $(dir $(SPARK))) $(BIN)/python -m pytest -q -o addopts="--strict-markers --strict-config --import-mode=importlib" tests/external

check: install ## format, lint, types, import arrows, SQL lint: what CI asks before the tests
	@echo "ruff format"  && $(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@echo "ruff check"   && $(BIN)/ruff check --quiet .
	@echo "mypy --strict" && $(BIN)/mypy --no-error-summary
	@echo "lint-imports" && $(BIN)/lint-imports
	@echo "SQL lint"     && $(BIN)/python -m tests.lint.sql_lint

bench: install ## benchmarks; about an hour on two cores (python -m bench --help: each alone, and in other sizes)
	@$(BIN)/python -m bench match parse post pipeline --json
	@$(BIN)/python -m bench daily match-large --rows 2000000 --repeat 2 --json

bench-plot: install ## time and memory against size, drawn to docs/growth.svg; about ten minutes
	@$(BIN)/python -m bench.plot docs/growth.svg

bench-spark: $(SPARK) ## the same match on one and on two workers of a Spark cluster on this machine (needs Java 17)
	@PYTHONPATH=$(abspath $(dir $(SPARK))) $(BIN)/python -m bench spark --json

clean: ## end what runs, delete .tallyback and what tools left; .venv stays (rm -rf .venv)
	@if [ -f $(INSTALLED) ] && [ -d .tallyback ]; then \
		if [ -f sandbox/demo.py ]; then $(BIN)/python -m sandbox.demo down; fi; \
		$(BIN)/python -m etl.core.embedded remove --dir .tallyback/postgres; fi
	@rm -rf .tallyback .coverage .coverage.* .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
	@find etl connectors sandbox dags tests -name __pycache__ -type d -prune -exec rm -rf {} +

lock: install ## choose the versions of requirements/*.in anew and write them with their hashes
	@for set in runtime dev deploy spark; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
			requirements/$$set.in -o requirements/$$set.txt || exit 1; done
