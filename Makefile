# `make demo` and `make test` do all the set-up on a machine with python3 and make.
# What is installed follows pyproject.toml: an unchanged file re-installs nothing. The
# demo needs the runtime alone; everything else has the developers' tools as well.
PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
READY := .venv/.ready
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test fuzz-tables format clean bench-population bench-forecast bench-fit bench-coverage bench-families bench-overhead bench-memory bench-steps bench-sweep bench-accelerator bench-trackers bench-versions bench-sampling bench-packs bench-cold
demo: $(RUNTIME)
	$(BIN)/harness run quickstart --out results/demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n auto --dist worksteal

# Mutated tables and options through the commands about tables; the suite has a hundred.
fuzz-tables: $(READY)
	$(BIN)/python -W error::RuntimeWarning -m tests.analysis.fuzz 2000

# Figures are only worth recording on a machine that does nothing else.
RECORD := tests/benchmarks/results
bench-fit: $(READY)
	$(BIN)/python -m tests.benchmarks.fit speed > $(RECORD)/fit-speed.txt
	$(BIN)/python -m tests.benchmarks.fit vision > $(RECORD)/fit-vision.txt
	$(BIN)/python -m tests.benchmarks.fit suggest > $(RECORD)/fit-suggest.txt

bench-overhead: $(READY)
	$(BIN)/python -m tests.benchmarks.overhead > $(RECORD)/overhead.txt

bench-coverage: $(READY)
	$(BIN)/python -m tests.benchmarks.coverage > $(RECORD)/coverage.txt
	$(BIN)/python -m tests.benchmarks.coverage --only squares --seed 77000 >> $(RECORD)/coverage.txt

bench-population: $(READY)
	$(BIN)/python -m tests.benchmarks.population > $(RECORD)/population.txt

bench-forecast: $(READY)
	$(BIN)/python -m tests.benchmarks.forecast > $(RECORD)/forecast.txt

bench-families: $(READY)
	$(BIN)/python -m tests.benchmarks.families > $(RECORD)/families.txt

bench-memory: $(READY)
	$(BIN)/python -m tests.benchmarks.memory > $(RECORD)/memory.txt

bench-sampling: $(READY)
	$(BIN)/python -m tests.benchmarks.sampling > $(RECORD)/sampling.txt

bench-steps: $(READY)
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.steps > $(RECORD)/steps.txt

bench-sweep: $(READY)
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.sweep > $(RECORD)/sweep.txt

bench-cold: $(READY)
	$(BIN)/python -m tests.benchmarks.cold > $(RECORD)/cold.txt

bench-packs: $(READY)
	$(BIN)/python -m tests.benchmarks.packs > $(RECORD)/packs.txt

bench-trackers: $(READY)
	$(BIN)/python -m tests.benchmarks.trackers > $(RECORD)/trackers.txt

# Needs a GPU, and a jax that finds it.
bench-accelerator: $(READY)
	$(BIN)/python -m tests.benchmarks.accelerator > $(RECORD)/accelerator.txt

# Compares with the checkout at OTHER, such as a git worktree of an older commit.
bench-versions: $(READY)
	$(BIN)/python -m tests.benchmarks.versions $(OTHER) steps > $(RECORD)/versions.txt
	$(BIN)/python -m tests.benchmarks.versions $(OTHER) commands >> $(RECORD)/versions.txt

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): $(RUNTIME)
	@echo "installing the developers' tools into .venv: about half as much again"
	$(INSTALL) --editable '.[dev]'
	touch $(READY)

$(RUNTIME): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	@echo "installing the runtime into .venv: jax, flax, scipy, pandas, matplotlib, … about a gigabyte"
	$(INSTALL) --editable .
	touch $(RUNTIME)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
