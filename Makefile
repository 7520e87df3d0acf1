# Two commands on a fresh machine: `make demo`, `make test`. `make help` lists the others.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.tools
# The first interpreter that is new enough; `make PYTHON=... setup` names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --quiet

.PHONY: help setup tools demo test unit wheel java clock prometheus lint format bench chaos readme chart audit sbom lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1: /p' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with everything, from the lock

$(STAMP): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing. Debian: apt-get install python3 python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "The venv module is missing. Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

tools: $(TOOLS) ## what deploy/ is checked with: Helm's engine, schemas, rules

$(TOOLS): requirements-deploy.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-deploy.txt
	@touch $@

demo: setup ## watch the worker decide sample tracks; needs nothing but Python
	$(BIN)/python -m worker demo

test: setup tools java clock prometheus ## every test, also those on a real Kafka (Java 17, Maven)
	$(BIN)/python -m tests.together

unit: setup tools prometheus ## the tests that need no broker
	$(BIN)/python -m pytest -m "not broker"

wheel: setup ## the fast part of the tests, against the built wheel
	$(BIN)/python -m tests.deploy.wheel

# Java is installed where this can be done without asking: as root on Debian. Elsewhere the tests must not be skipped.
java:
	@if java -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])' && command -v mvn >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			openjdk-17-jre-headless maven ca-certificates-java; \
	else \
		echo "The broker tests need Java 17 or newer and Maven. Debian, as root: apt-get install openjdk-17-jre-headless maven"; \
		exit 1; \
	fi

# The chaos suite sets wall clocks back with it. Without it that one fault is left out, and the report says so.
clock:
	@if ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; \
	then exit 0; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime \
		|| echo "libfaketime is not installed: the chaos suite sets no clock back"

# Alert rules and dashboards are tried on it. Without it those tests are skipped, and say so.
prometheus:
	@if command -v promtool >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus \
		|| echo "prometheus is not installed: alert rules and dashboards are not tried"

lint: setup ## ruff, mypy strict, layers and style, schemas, README
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_style.py tests/test_readme.py \
		$(wildcard tests/*/test_schemas.py tests/*/test_asyncapi.py)

format: setup ## put the sources into the formatter's shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup java ## throughput, CPU, latency, and what kills cost, on a real Kafka
	$(BIN)/python -m tests.bench.throughput
	$(BIN)/python -m tests.bench.kills

chaos: setup java clock ## every fault at once on three brokers; SEED=7 MINUTES=30 CALM=3 choose another run
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),5) --calm $(or $(CALM),1)

readme: chart ## write README's generated tables anew, and what the chart has of the settings
	$(BIN)/python -m tests.readme --write

chart: tools ## make the dashboards; copy them, alert rules and the settings' names into the chart
	$(BIN)/python -m tests.deploy.dashboards --write
	$(BIN)/python -m tests.deploy.chart --write

audit: tools ## known vulnerabilities of what is locked, where the registry tells them
	$(BIN)/python -m tests.deploy.audit

sbom: tools ## what is in the image, as CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	$(BIN)/python -W ignore -m cyclonedx_py requirements requirements.txt --pyproject pyproject.toml \
		--mc-type application --output-reproducible --of JSON --output-file build/sbom.cdx.json

lock: setup ## resolve the dependencies anew (needs uv in .venv)
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --extra tracing --output-file requirements.txt
	$(LOCK) --all-extras --output-file requirements-dev.txt
	$(subst pyproject.toml,--group deploy,$(LOCK)) --constraint requirements-dev.txt --output-file requirements-deploy.txt
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'])" | \
		$(subst pyproject.toml,-,$(LOCK)) --constraint requirements-dev.txt --output-file requirements-build.txt

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
