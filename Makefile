# Commands to know: `make demo`, `make quick` and `make test`. Everything goes into .venv and store.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := AURORA_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test test-all style install clean

demo: install  ## run the tiny recipe from raw text to report
	$(BIN)/aurora run recipes/tiny.toml
	@echo "open the report: $(BIN)/aurora show tiny/report --open"

quick: .venv/test style  ## check style and types, and run the tests next to what changed
	$(PYTEST) $$($(BIN)/python tests/quick.py)

test: .venv/test style  ## check style and types, and run all tests but the slow ones
	$(PYTEST) tests -m "not slow"

test-all: .venv/test  ## run the slow tests: kills, interrupts, engines
	$(PYTEST) tests -m slow

style: .venv/test
	$(BIN)/ruff format --check aurora_m tests benchmarks
	$(BIN)/ruff check aurora_m tests benchmarks
	$(BIN)/mypy

install: .venv/install

.venv/install: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/test: .venv/install
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

clean:  ## delete what these commands made
	rm -rf .venv store
