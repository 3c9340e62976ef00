# make lab | make test | make demo: each of them alone prepares a bare machine, which needs Python 3.11 or newer
# with venv, and nothing else. Everything is installed into .venv; VENV=folder names another.

VENV   ?= .venv
PYTHON ?= python3
# TORCH=cpu installs the smaller build of PyTorch that knows no GPU.
TORCH  ?= default
# Further arguments for JupyterLab, for instance LAB="--no-browser --port=9000".
LAB    ?=

BIN   := $(VENV)/bin
READY := $(VENV)/.ready-$(TORCH)
# Settings of JupyterLab, see course/lab/README.md.
SETTINGS := $(CURDIR)/course/lab
# torch's threads otherwise spin long while they wait, which makes training many times slower beside any other program;
# without spinning at all (OMP_WAIT_POLICY=PASSIVE), small networks train 1.2 to 2 times slower on an idle machine.
export GOMP_SPINCOUNT ?= 1000
# Compiled modules are kept, whatever the caller's environment says: a hundred processes import the course.
OFFLINE_TESTS := PYTHONDONTWRITEBYTECODE= COURSE_BUDGET=tiny COURSE_OFFLINE=1 OMP_NUM_THREADS=1 MPLBACKEND=agg
# A file of tests stays in one process, the longest first (tests/conftest.py); notebooks take warm kernels.
PYTEST := -m pytest -p tests.warm_kernels -n 2 --dist loadfile --no-loadscope-reorder --nbval-lax

.PHONY: help lab style format test test-all demo build site clean
.DEFAULT_GOAL := help

help:
	@echo "make lab       set up everything (in $(VENV)) and open JupyterLab on the start page"
	@echo "make test      set up everything and run the tests (offline, about 9 minutes on two cores)"
	@echo "make demo      no browser: run a lecture, release an assignment, grade a sample class, print the grades"
	@echo "make style     formatter, linter and types alone (seconds); make format mends what can be mended"
	@echo "make test-all  the tests in their long forms"
	@echo "make build     sources -> notebooks"
	@echo "make site      the course as web pages, in build/site (no network; about a minute)"
	@echo "               make site INSTRUCTOR=1: with answers and rubrics, in build/site-instructor; not for students"
	@echo "make clean     remove $(VENV) and build/"

lab: $(READY)
	@echo "==> Opening JupyterLab on notebooks/00_start_here.ipynb (stop it with Ctrl-C)"
	PATH="$(abspath $(BIN)):$$PATH" \
	    JUPYTER_CONFIG_PATH="$(SETTINGS)$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	    JUPYTER_PATH="$(SETTINGS)$${JUPYTER_PATH:+:$$JUPYTER_PATH}" \
	    $(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) \
	    notebooks/00_start_here.ipynb

style: $(READY)
	@echo "==> The style of every file, and the types of course/ (make format mends what can be mended)"
	$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/pyrefly check --min-severity error

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: style
	@echo "==> Running the tests, the lectures and the solutions at their smallest, offline"
	$(OFFLINE_TESTS) $(BIN)/python $(PYTEST) -m "not long" tests notebooks solutions

test-all: $(READY)
	@echo "==> Running everything, the long forms included"
	$(OFFLINE_TESTS) $(BIN)/python $(PYTEST) tests notebooks solutions

demo: $(READY)
	@COURSE_OFFLINE=1 $(BIN)/python -m tests.demo build/demo

build: $(READY)
	$(BIN)/course build

site: $(READY)
	$(BIN)/course site $(if $(INSTRUCTOR),--instructor)

clean:
	rm -rf $(VENV) build

# ---- the environment: made once, again when the list of versions changes

$(READY): requirements.lock pyproject.toml
	@echo "==> Setting up in $(VENV): a few minutes the first time, PyTorch alone is some gigabytes"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Name another with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "==> 1/4 Making a virtual environment"; $(PYTHON) -m venv $(VENV); }
	@echo "==> 2/4 PyTorch ($(TORCH) build)"
	@if [ "$(TORCH)" = cpu ]; then \
	    $(BIN)/python -m pip install --quiet uv && \
	    VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/uv pip install --torch-backend cpu $$(grep -E '^torch(vision)?==' requirements.lock); \
	else $(BIN)/python -m pip install $$(grep -E '^torch(vision)?==' requirements.lock); fi
	@echo "==> 3/4 The other packages, at the versions of requirements.lock"
	@if [ "$(TORCH)" = cpu ]; then grep -vE '^(nvidia-|cuda-|triton)' requirements.lock; else cat requirements.lock; fi \
	    > $(VENV)/requirements.txt
	@$(BIN)/python -m pip install --quiet -r $(VENV)/requirements.txt
	@echo "==> 4/4 The course itself"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/course doctor
	@touch $(READY)
