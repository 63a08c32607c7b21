# Every target sets itself up: `make demo` and `make test` work on a fresh clone of an empty machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For each target of `make fuzz`.
FUZZ_SECONDS ?= 60
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-interop chaos soak fuzz check bench bench-optimise bench-side-by-side clean
.DELETE_ON_ERROR:

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/digits/demo.sh

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-interop: $(READY)
	tests/interop/setup.sh
	TORCHSERVE_BIN=.venv-interop/bin MODEL_SIGNING_BIN=.venv-interop/signing/bin $(BIN)/python -m pytest -m interop tests/interop

chaos: $(READY)
	$(BIN)/python -m tests.chaos

soak: $(READY)
	$(BIN)/python -m tests.chaos.soak

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m pytest tests/fuzz/openapi.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

bench: $(READY)
	$(BIN)/python benchmarks/create_500mb.py

bench-optimise: $(READY)
	$(BIN)/python benchmarks/optimise.py --model minilm
	$(BIN)/python benchmarks/optimise.py --model resnet50

# Needs Java for TorchServe. ARGS=--quick: a short round that leaves README.md and REPORT.md alone.
bench-side-by-side: $(READY)
	$(BIN)/python -m benchmarks.side_by_side $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz .import_linter_cache
