# make demo   a trained model and its report, from nothing, in a few minutes
# make test   lint, types, tests
# make bench  kernel and epoch benchmarks
# make lint   lint and types alone
# make docs   the reference for plugin authors, in build/docs

PYTHON ?= python3
VENV ?= .venv
# Pins torch, so that pip takes one known build instead of the newest. `make CONSTRAINTS=/dev/null` lifts it.
CONSTRAINTS ?= constraints.txt

# Processes that run tests. `make JOBS=0 test` runs them in one, for a debugger.
JOBS ?= auto

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: demo test bench lint docs clean

demo: $(VENV)/.demo
	rm -rf runs/demo
	$(BIN)/ctckit train --plugin hierarchical_fixed --out runs/demo
	$(BIN)/ctckit report runs/demo

# One process a core, a test file to each; spinning OpenMP threads of one would take the time of the others.
test: lint docs
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Static analysis of the docstrings, 3 seconds; every warning is an error. Not --quiet, which hides warnings from --strict.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/mkdocs.yml

# Spinning OpenMP threads distort timings on shared machines.
bench: $(VENV)/.test
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --benchmark

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# torch comes first and the build is not isolated, so that the kernels are compiled now and against this torch.
$(VENV)/.torch: $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c $(CONSTRAINTS) torch numpy ninja "setuptools>=77" wheel
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml setup.py
	$(PIP) install --quiet -c $(CONSTRAINTS) --no-build-isolation -e ".[demo]"
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml setup.py
	$(PIP) install --quiet -c $(CONSTRAINTS) --no-build-isolation -e ".[test]"
	touch $@
