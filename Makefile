# Two commands to know: `make demo` and `make test`. Everything goes into .venv and store.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test install clean

demo: install  ## run the tiny recipe from raw text to report
	$(BIN)/aurora run recipes/tiny.toml
	@echo "open the report: $(BIN)/aurora show tiny/report --open"

test: .venv/test  ## check style and types, and run all tests
	$(BIN)/ruff format --check aurora_m tests benchmarks
	$(BIN)/ruff check aurora_m tests benchmarks
	$(BIN)/mypy
	AURORA_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/e2e tests --numprocesses auto --dist loadfile --no-loadscope-reorder

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
