# Everything a user or CI runs. `make quickstart` and `make test` need Python 3.10+ and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= --constraint constraints.txt
WORKERS ?= --numprocesses 2 --dist worksteal
COVERAGE ?=
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: quickstart test test-thorough test-table test-docs test-slow test-engines test-recipes test-web test-newest check docs audit bench clean

# The main job, on drawn shapes, or on photos: make quickstart PHOTOS=folder
# (the shell gets the folder's name as a variable, so that no character in it means anything else)
quickstart: override export PHOTOS := $(value PHOTOS)
quickstart: $(VENV)/installed
	$(BIN)/python examples/quickstart.py $${PHOTOS:+"$$PHOTOS"}

# It tells which lines were run; make test COVERAGE=--cov-fail-under=95 fails where too few were. From Python 3.12 on,
# measuring costs next to nothing.
test: $(VENV)/installed-dev
	COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
		$(BIN)/python -m pytest $(WORKERS) --cov $(COVERAGE)

# Whole rounds that take seconds each: all forms of data, copies, processes, kills, full disks.
test-thorough: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m thorough

# Each fact of the larger backbones, asked of Keras: some minutes.
test-table: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m table

# Every block of code of the documentation, and the example programs.
test-docs: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m docs

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

# Predictions and features with a Ray on this machine, photos on an S3 server on it.
test-engines: $(VENV)/installed-engines
	$(BIN)/python -m pytest -m engines

# The recipes of the documentation that need packages of others.
test-recipes: $(VENV)/installed-recipes
	$(BIN)/python -m pytest -m recipes

# The page of the documentation that classifies in a browser; needs Node.js and Chromium.
test-web: $(VENV)/installed-dev
	npm install --silent --no-save --prefix build onnxruntime-web@1.30.0
	$(BIN)/python -m pytest tests/export/test_page.py

# The default tier with the newest TensorFlow, Keras and NumPy that the project allows, in an environment of its own.
test-newest:
	$(MAKE) VENV=.venv-newest CONSTRAINTS= test

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs

docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# Known vulnerabilities of the installed packages. It asks a service for advisories, so neither `check` nor CI's run needs it.
audit: $(VENV)/installed-dev
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --prefer-binary pip-audit==2.10.1
	$(BIN)/python -m pip freeze --exclude-editable | .venv-audit/bin/pip-audit --requirement /dev/stdin --no-deps --disable-pip

bench: $(VENV)/installed-engines
	for program in benchmarks/*.py; do $(BIN)/python $$program || exit 1; done

# One environment for all of it. The marker files tell make when to install anew.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "transferkit needs Python 3.10 or later: make PYTHON=python3.11 quickstart")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --prefer-binary $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --prefer-binary $(CONSTRAINTS) --group dev --editable .
	touch $@

$(VENV)/installed-engines: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --prefer-binary $(CONSTRAINTS) --group engines
	touch $@

$(VENV)/installed-recipes: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --prefer-binary $(CONSTRAINTS) --group recipes
	touch $@

clean:
	rm -rf $(VENV) .venv-newest .venv-audit build dist docs/_build
