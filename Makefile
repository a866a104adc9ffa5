# `make` lists what there is. Everything runs in .venv, which the first run creates and later runs reuse.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
# Named after the contents, so that a changed dependency installs again and a mere checkout does not.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
PYTEST_ARGS ?=
BENCH_ARGS ?=

SYSTEM := gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
  gstreamer1.0-plugins-bad chromium redis-server ffmpeg

.PHONY: help install system lint types test unit demo bench format hooks clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
	  printf 'make %-8s %s\n' "$$name" "$$what"; done

install: $(STAMP)  ## create .venv and install everyframe with all that it needs

$(STAMP):
	@test -n "$(PYTHON)" || { echo "make: no python3 found: install Python 3.11 or newer (Debian: apt-get install python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than Python 3.11: name a newer one, as in make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot create virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; some minutes on a slow line)" >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore -c constraints.txt -e ".[dev]"
	@# Its requirements are installed above, save opencv-python, which would overwrite the headless cv2.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps -c constraints.txt trackers
	@rm -f $(VENV)/.installed-*; touch $@

# Tests whose program is missing are skipped, so this may fail: no Debian, not root, no network.
system:  ## as root on Debian: the programs that tests of live cameras use (RTSP server, Chromium, Redis)
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "make system: needs root on Debian; tests without their programs are skipped" >&2; \
	elif ! dpkg -s $(SYSTEM) >/dev/null 2>&1; then \
	  { export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends $(SYSTEM); } >/dev/null 2>&1 \
	  || echo "make system: apt-get could not install them; tests without their programs are skipped" >&2; \
	fi

lint: $(STAMP)  ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

unit: $(STAMP)  ## the tests alone; PYTEST_ARGS="-k name" picks some
	$(BIN)/pytest $(PYTEST_ARGS)

test: lint types unit  ## lint, types and all tests: what CI runs

demo: $(STAMP)  ## label a real clip: Redis, JSON Lines, annotated video and a contact sheet in demo/
	$(BIN)/python -m everyframe.pipeline.demo --out demo

bench: $(STAMP)  ## print the figures of docs/results.md; BENCH_ARGS="--limit 100" for a quick look
	$(BIN)/python benchmarks/figures.py $(BENCH_ARGS)

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(STAMP)  ## lint and types before every commit
	$(BIN)/pre-commit install

clean:  ## remove what the targets made, .venv included
	rm -rf $(VENV) demo out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
