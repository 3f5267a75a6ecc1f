# Each target does its own set-up in .venv. `make` alone lists them.
#
#   PYTHON        the Python to build .venv with (3.11 or newer)
#   TORCH_INDEX   where torch comes from, for example a CPU-only index; default: pip's own index
#   PYTEST_ARGS   more arguments for pytest, for example PYTEST_ARGS="-k window"
#   TRAIN_ARGS    arguments for `make train-embedded`

PYTHON ?= python3
TORCH_INDEX ?=
PYTEST_ARGS ?=
TRAIN_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
# An index of torch alone lacks its dependencies; pip fetches them in the next step.
TORCH_FROM = $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) --no-deps)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv demo test lint format train-embedded clean

help:
	@echo 'make demo            draft reports of simulated chest films, in English and Chinese'
	@echo 'make test            every check and every test'
	@echo 'make lint            the checks alone: ruff, mypy, import floors'
	@echo 'make format          rewrite the code in the house style'
	@echo 'make train-embedded  train the small built-in reader again (hours on a CPU)'
	@echo 'make venv            only set up .venv, with everything the tests need'
	@echo 'make clean           remove the demo, caches and builds (.venv and runs/ stay)'
	@echo
	@echo 'The first one installs Python packages into .venv (some minutes, about 2 GB).'
	@echo 'No GPU? Where the plain torch is built for CUDA, name an index of CPU builds:'
	@echo '    make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu'

# -- set-up: a stamp is written last, so what was interrupted is done again -------------------

$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'Hilum needs Python 3.11 or newer, and there is no $(PYTHON). Name one: make PYTHON=...'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hilum needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo '$(PYTHON) has no venv module. On Debian or Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'Setting up: a Python environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-torch: constraints.txt | $(VENV)/.stamp-venv
	@echo 'Setting up: $(TORCH) (the largest part; some minutes)'
	@$(PIP) install -c constraints.txt $(TORCH_FROM) $(TORCH)
	@touch $@

$(VENV)/.stamp-demo: pyproject.toml constraints.txt $(VENV)/.stamp-torch
	@echo 'Setting up: Hilum and what the demo needs'
	@$(PIP) install --quiet -c constraints.txt -e '.[local,phantom]'
	@touch $@

$(VENV)/.stamp-test: pyproject.toml constraints.txt $(VENV)/.stamp-torch
	@echo 'Setting up: Hilum and what the tests need'
	@$(PIP) install --quiet -c constraints.txt -e '.[local,phantom,dev]'
	@touch $@

venv: $(VENV)/.stamp-test
	@echo 'Ready. Use it with: . $(BIN)/activate'

# -- what people type --------------------------------------------------------------------------

demo: $(VENV)/.stamp-demo
	@rm -rf demo/films demo/reads demo/reads-zh
	@echo 'Making 6 simulated chest films in demo/films'
	@$(BIN)/hilum phantom demo/films --n 6 --seed 2026 --format dicom
	@echo 'Reading them in English'
	@$(BIN)/hilum read demo/films --language en --overlay --out demo/reads
	@echo 'Reading them in Chinese'
	@$(BIN)/hilum read demo/films --language zh --overlay --out demo/reads-zh
	@echo
	@echo 'Done. Reports and pictures: demo/reads (English), demo/reads-zh (Chinese)'
	@echo 'The films were simulated; their truth is in demo/films/truth.jsonl. Research use only.'

test: lint
	@echo 'Tests'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto $(PYTEST_ARGS)

lint: $(VENV)/.stamp-test
	@echo 'Style (ruff check)'
	@$(BIN)/ruff check --quiet .
	@echo 'Layout (ruff format)'
	@$(BIN)/ruff format --check --quiet .
	@echo 'Types (mypy)'
	@$(BIN)/mypy
	@echo 'Floors (import-linter)'
	@$(BIN)/lint-imports

format: $(VENV)/.stamp-test
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

train-embedded: $(VENV)/.stamp-demo
	@echo 'Training the built-in reader from simulated chests'
	@$(BIN)/python -m hilum.training.embedded $(TRAIN_ARGS)

clean:
	@rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo 'Cleaned. $(VENV) and runs/ stay; delete them by hand.'
