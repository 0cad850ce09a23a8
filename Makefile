# make demo     a trained model and its report, from nothing, in a few minutes
# make test     lint, types, tests
# make seconds  all tests, and what each file took, which decides what starts first
# make bench    kernel and epoch benchmarks
# make lint     lint and types alone
# make test-integrations   the callbacks inside the real trainers, in an environment of their own
# make docs     the reference for plugin authors, in build/docs

PYTHON ?= python3
VENV ?= .venv
INTEGRATIONS ?= .venv-integrations
# Pins torch, so that pip takes one known build instead of the newest. `make CONSTRAINTS=/dev/null` lifts it.
CONSTRAINTS ?= constraints.txt

# Processes that run tests. `make JOBS=0 test` runs them in one, for a debugger.
JOBS ?= auto
# `make EXAMPLES=random test` draws new examples for the property tests, and says by which seed.
EXAMPLES ?= fixed
# Tests of csrc alone are skipped where they have passed with the same sources; `make FULL=1 test` runs them again.
FULL ?=

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

# One process a core, a test file to each, slow ones first; spinning OpenMP threads of one would take the time of others.
PYTEST = OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile \
	--no-loadscope-reorder

.PHONY: demo test test-integrations seconds bench lint docs clean

demo: $(VENV)/.demo
	rm -rf runs/demo
	$(BIN)/ctckit train --plugin hierarchical_fixed --out runs/demo
	$(BIN)/ctckit report runs/demo

test: lint docs
	$(PYTEST) --hypothesis-profile=$(EXAMPLES) $(if $(FULL),--full)

# What does not install, or not with this torch, is said and taken away again; its tests are skipped by name.
test-integrations:
	$(MAKE) VENV=$(INTEGRATIONS) $(INTEGRATIONS)/.test
	for wanted in "transformers accelerate" lightning "speechbrain torchaudio"; do \
		$(INTEGRATIONS)/bin/pip --disable-pip-version-check install --quiet -c $(CONSTRAINTS) $$wanted \
			&& $(INTEGRATIONS)/bin/python -c "import $${wanted%% *}" \
			|| { echo "not tested, cannot be installed or imported: $$wanted"; \
				$(INTEGRATIONS)/bin/pip uninstall --quiet --yes $$wanted; }; \
	done
	$(INTEGRATIONS)/bin/python -m pytest tests/integrations

seconds: $(VENV)/.test
	$(PYTEST) --full --store-seconds

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
	rm -rf $(VENV) $(INTEGRATIONS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

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
