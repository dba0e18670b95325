# Commands to know: `make demo`, `make quick` and `make test`. Everything goes into .venv and store.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --constraint requirements.lock
PYTEST := AURORA_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test test-all coverage style install clean

demo: install  ## run the tiny recipe from raw text to report
	$(BIN)/aurora run recipes/tiny.toml
	@echo "open the report: $(BIN)/aurora show tiny/report --open"

quick: .venv/test style  ## check style and types, and run the tests next to what changed
	$(PYTEST) $$($(BIN)/python tests/quick.py)

test: .venv/test style  ## check style and types, and run all tests but the slow ones
	$(PYTEST) tests -m "not slow"

test-all: .venv/test  ## run the slow tests: kills, interrupts, engines
	$(PYTEST) tests -m slow

coverage: .venv/test  ## say which lines the tests reach
	$(BIN)/pytest tests -m "not slow" --numprocesses auto --dist loadfile --cov

style: .venv/test
	$(BIN)/ruff format --check aurora_m tests benchmarks
	$(BIN)/ruff check aurora_m tests benchmarks
	$(BIN)/mypy

install: .venv/install

.venv/install: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	touch $@

.venv/test: .venv/install
	$(PIP) --editable '.[test]'
	touch $@

clean:  ## delete what these commands made
	rm -rf .venv store
