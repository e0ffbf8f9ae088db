# Everything one does with a checkout. The only thing needed beforehand is Python 3.11 or newer.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# The first Python that is new enough; `make PYTHON=/path/to/python ...` overrides it.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# Handed on by pretrain (options of `mlflow run`) and bench.
ARGS ?=

VENV := .venv
INSTALLED := $(VENV)/.installed
# `mlflow` and the `python` it starts must be those of the environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# What Python compiles is kept, also where a machine's settings forbid that: else each process compiles again, 11 s of its start.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/bytecode

# Tests of one file stay with one process: they share what they train and the servers they start. Files with slow tests come first
# (conftest.py), so that the fast ones fill what is left at the end. One thread each, so that they do not wait for each other on two cores.
WORKERS ?= 2
# Memory that is given back after each tensor is paid for again, page by page.
PYTEST := OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=536870912 MALLOC_MMAP_THRESHOLD_=67108864 python -m pytest --no-skips --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder
# From `pip freeze` to lines that any machine can install: no build suffix of torch, none of the CUDA packages that it asks for itself.
PORTABLE := sed -E -e 's/\+(cpu|cu[0-9]+)$$//' -e '/^(cuda-|nvidia-|triton)/{/^nvidia-ml-py/!d}'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Options are passed on with ARGS, e.g.  make pretrain ARGS="-P max_epochs=10 -P max_beta=0.05"'

$(INSTALLED): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "seqsetvae needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	python -m pip install --disable-pip-version-check --no-compile --constraint requirements.lock --editable '.[all,dev]'
	@touch $@

.PHONY: install
install: $(INSTALLED) ## Create .venv with the locked dependencies and this project

.PHONY: pretrain
pretrain: $(INSTALLED) ## Pretrain on the demo data, tracked by MLflow in mlflow.db
	mlflow run . -e pretrain $(ARGS)

.PHONY: ui
ui: $(INSTALLED) ## Open the MLflow UI on http://127.0.0.1:5000
	mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

.PHONY: test test-fast test-slow
test: $(INSTALLED) ## Run the fast and the slow tests together; a skipped test is a failure
	$(PYTEST) -m "not nightly"

test-fast: $(INSTALLED) ## Run unit tests and doctests
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED) ## Run tests that train or start whole programs
	$(PYTEST) -m "slow and not nightly"

.PHONY: nightly
nightly: $(INSTALLED) ## Run what `make test` shows a sample of: the whole certification, more faults, settings, storages and notebooks
	$(PYTEST) -m nightly

FAULTS ?= 51
.PHONY: faults
faults: $(INSTALLED) ## Kill every verb at random, break servers, fill disks; writes docs/faults.md
	FAULTS=$(FAULTS) FAULTS_PAGE=$(CURDIR)/docs/faults.md $(PYTEST) tests/faults

.PHONY: coverage
coverage: $(INSTALLED) ## Run the fast tests and say which lines they leave out
	$(PYTEST) -m "not slow" --cov=seqsetvae --cov-report=term:skip-covered

.PHONY: certify docs
certify: $(INSTALLED) ## Run the whole certification of the collapse detector (ARGS="--quick true" for a few runs)
	seqsetvae certify $(ARGS)

docs: $(INSTALLED) ## Build the site into build/site, and check what README, CONTRIBUTING and docs say against the code
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	$(PYTEST) tests/docs tests/test_packaging.py

# Environments of their own, beside the one of the locked versions.
LOWEST := build/lowest
.PHONY: lowest smoke dist
lowest: ## Run the fast tests with the lowest versions that pyproject.toml allows (needs Python 3.11)
	rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST) && $(LOWEST)/bin/pip install uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[all,dev]'
	PATH=$(CURDIR)/$(LOWEST)/bin:$$PATH $(PYTEST) -m "not slow" --deselect tests/test_packaging.py::test_what_is_installed_is_what_is_locked

SMOKE := build/smoke
smoke: ## Install the wheel without extras with PYTHON, and pretrain three steps with it
	rm -rf $(SMOKE) && $(PYTHON) -m venv $(SMOKE)
	$(SMOKE)/bin/pip install --no-compile .
	$(SMOKE)/bin/seqsetvae --help
	cd $(SMOKE) && bin/seqsetvae pretrain --max_steps 3 --width 32 --heads 2 --latent_dim 8

dist: ## Build wheel and sdist, and check their metadata
	rm -rf build/dist build/dist-env && $(PYTHON) -m venv build/dist-env && build/dist-env/bin/pip install build twine
	build/dist-env/bin/python -m build --outdir build/dist
	build/dist-env/bin/twine check --strict build/dist/*

# torch as it is locked; scvi-tools and pythae want other versions of much else, so that they never stand in .venv.
MONITOR := build/collapse-monitor
.PHONY: collapse-monitor
collapse-monitor: ## Build the package collapse-monitor; test it with torch alone, then with Lightning, three trackers, scvi-tools and pythae
	rm -rf $(MONITOR) && $(PYTHON) -m venv $(MONITOR) && $(MONITOR)/bin/pip install "$$(grep '^torch==' requirements.lock)" pytest
	$(MONITOR)/bin/pip wheel --no-deps --wheel-dir $(MONITOR) packages/collapse-monitor
	$(MONITOR)/bin/pip install $(MONITOR)/collapse_monitor-*.whl
	cd packages/collapse-monitor/tests && $(CURDIR)/$(MONITOR)/bin/python -m pytest --noconftest -c /dev/null -p no:cacheprovider -p conftest test_core.py
	$(MONITOR)/bin/pip install "$$(grep '^torch==' requirements.lock)" lightning mlflow tensorboard wandb scvi-tools pythae
	cd packages/collapse-monitor/tests && $(CURDIR)/$(MONITOR)/bin/python -m pytest -c /dev/null -p no:cacheprovider .

.PHONY: lint types bench
lint: $(INSTALLED) ## Check style and formatting (ruff)
	ruff check .
	ruff format --check .

types: $(INSTALLED) ## Check types (mypy)
	mypy

bench: $(INSTALLED) ## Measure every figure that docs/speed.md claims, and write docs/benchmarks, of which the site has a page
	seqsetvae bench --write docs/benchmarks $(ARGS)

LOCK_ENV := build/lock-env
.PHONY: lock
lock: ## Pin the newest versions that pyproject.toml allows: requirements.lock, conda.yaml
	@test "$$($(PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")')" = 3.11 \
		|| { echo "The tested set is made on Python 3.11: make lock PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf $(LOCK_ENV) && $(PYTHON) -m venv $(LOCK_ENV)
	$(LOCK_ENV)/bin/pip install --editable '.[all]'
	$(LOCK_ENV)/bin/pip freeze --all --exclude pip --exclude-editable | $(PORTABLE) > $(LOCK_ENV)/runtime
	$(LOCK_ENV)/bin/pip install --editable '.[all,dev]'
	$(LOCK_ENV)/bin/pip freeze --all --exclude pip --exclude-editable | $(PORTABLE) > $(LOCK_ENV)/all
	{ echo '# The tested set, Python 3.11, with the extras `all` and `dev`. Written by `make lock`; used as constraints, so that torch may'; \
	  echo '# bring the CUDA packages it asks for.'; cat $(LOCK_ENV)/all; } > requirements.lock
	{ echo '# Written by `make lock`. The project itself is not in the list: entry points run it from the project folder.'; \
	  printf '%s\n' 'name: seqsetvae' 'channels:' '  - conda-forge' 'dependencies:' '  - python=3.11' '  - pip' '  - pip:'; \
	  sed 's/^/      - /' $(LOCK_ENV)/runtime; } > conda.yaml

.PHONY: clean
clean: ## Remove .venv, builds and caches; runs and their store stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find seqsetvae tests -name __pycache__ -prune -exec rm -rf {} +
