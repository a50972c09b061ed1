# Two commands do everything: `make demo` and `make test`. Both make .venv from the hashed lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAY ?= 0
K ?=
SECONDS ?= 60
ATHERIS := 3.0.0

.PHONY: demo test check fix bench fuzz lock sbom audit clean install debian

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "== creating $(VENV) and installing the locked versions"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		--require-hashes -r requirements.lock | grep -E '^(Successfully|ERROR)' || true
	@$(BIN)/python -m pip check
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	@$(BIN)/python -m simulators.demo $(if $(filter 1,$(STAY)),--stay) $(DEMO_ARGS)

debian:
	@$(PYTHON) .ci/debian.py

test: install debian
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(if $(K),-k "$(K)")

check: install
	@echo "== ruff"; $(BIN)/ruff format --check . && $(BIN)/ruff check .
	@echo "== mypy"; $(BIN)/mypy
	@echo "== import contracts"; $(BIN)/lint-imports

fix: install
	@$(BIN)/ruff format . ; $(BIN)/ruff check --fix .

bench: install
	@$(BIN)/python benchmarks/calc.py
	@$(BIN)/python benchmarks/latency.py

# Coverage-guided fuzzing of the decoders; atheris is no dependency, it is fetched on first use.
fuzz: install
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/python -m pip install -q atheris==$(ATHERIS)
	@for harness in tests/fuzz/*.py; do echo "== $$harness, $(SECONDS) s"; \
		$(BIN)/python $$harness -max_total_time=$(SECONDS) -rss_limit_mb=1024 -verbosity=0 \
			-print_final_stats=1 || exit 1; done

lock:
	@$(PYTHON) -m venv .lockenv && .lockenv/bin/pip install -q uv
	@.lockenv/bin/uv pip compile pyproject.toml --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header -q -o requirements.lock; rm -rf .lockenv

sbom: install
	@$(BIN)/python .ci/sbom.py dist/sbom.cdx.json && echo dist/sbom.cdx.json

# Asks the package index for known vulnerabilities of every locked version: needs the network.
audit: install
	@$(BIN)/pip-audit -r requirements.lock --require-hashes --disable-pip

clean:
	@rm -rf $(VENV) demo-output dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
