# make quickstart   problems to traces to labels to verifiers to search, on two CPU cores; prints a line per stage and a table
# make study        the figures of Snell et al. (2024) on the embedded sets; two hours at most, goes on where it stopped
# make test         every test
# make test-fast    those that need a minute: no scripts, and none marked slow
# make test-vllm    generators and verifiers on a real vLLM, in an environment of its own (.venv-vllm); ten minutes
# make soak         the chain disturbed at random for 15 minutes, compared with an undisturbed run; MINUTES=3 SEED=7
# make reference    the docstrings of prm/ as pages: outputs/reference/index.html; a minute
# make check        ruff and mypy
# make lock         requirements.lock: every package that the tests run with, by its hashes; after a change of the two files below
#
# Each creates .venv first if it is missing; `make PYTHON=python3.12 test` creates it with another Python. Packages are
# installed again only when pyproject.toml, constraints.txt or requirements.lock change.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Alone, and not in the lock: the one package whose build (CPU or GPU) differs between machines.
TORCH := $(PIP) -c constraints.txt "torch==2.13.0"

# Two processes with two threads each fight for two cores.
export OMP_NUM_THREADS = 1
# Without bytecode on disk every process of the tests would compile the project, and pytest rewrite its 200 files, again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart study test test-fast test-vllm soak reference check lock
.NOTPARALLEL:

quickstart: .venv/installed
	$(BIN)/python recipes/quickstart.py

study: .venv/installed
	$(BIN)/python eval/study_compute.py

# Two processes that take one file after the other, in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder

test: .venv/installed-dev
	$(PYTEST)

test-fast: .venv/installed-dev
	$(PYTEST) -m "not slow"

# Of those two files; the gate leaves out what starts a server.
VLLM_TESTS := vllm or not vllm

# vLLM's CPU build takes half of the memory of the machine for its cache, unless it is told how many GiB.
test-vllm: .venv-vllm/installed
	VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/python -m pytest -q -k "$(VLLM_TESTS)" \
	    tests/unit/generators/test_conformance.py tests/unit/verifiers/test_served.py

.venv-vllm/installed: tests/install_vllm.py pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python tests/install_vllm.py
	touch $@

MINUTES := 15
SEED := 0

soak: .venv/installed-dev
	$(BIN)/python tests/soak.py --minutes $(MINUTES) --seed $(SEED)

# pdoc imports what it describes, so it runs in .venv, but is installed beside it: nothing else needs it, and the lock stays.
# A folder brings its modules along, unless it states its public names; then they are named.
CLOSED = $(dir $(shell grep -l "^__all__" prm/*/__init__.py))
ROOMS = $(patsubst %/__init__.py,%,$(wildcard prm/*/__init__.py))
REFERENCE = $(ROOMS) $(filter-out %/__init__,$(basename $(wildcard prm/*.py $(addsuffix *.py,$(CLOSED)))))

reference: .venv/installed .pdoc/installed
	PYTHONPATH=.pdoc $(BIN)/python -m pdoc --docformat google --no-show-source --output-directory outputs/reference $(subst /,.,$(REFERENCE))

.pdoc/installed: | $(BIN)/pip
	$(PIP) --target .pdoc "pdoc==16.0.0"
	touch $@

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(TORCH)
	$(PIP) -c constraints.txt -e ".[scripts]"
	touch $@

# What is tested comes by its hashes, and nothing is added; torch finds there all that it needs (a GPU build brings its own).
# Compiled is what the tests import, when they do: all of it would take a minute longer.
.venv/installed-dev: pyproject.toml constraints.txt requirements.lock | $(BIN)/pip
	$(PIP) --no-compile --no-deps --require-hashes -r requirements.lock
	$(TORCH) --no-compile
	$(PIP) --no-deps --no-build-isolation -e .
	touch .venv/installed $@

lock: .venv/installed-dev
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-annotate --constraint constraints.txt --extra dev --no-emit-package torch \
	    --output-file requirements.lock pyproject.toml

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
