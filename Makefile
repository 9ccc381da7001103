# The workshop's commands. Each does its own set-up in .venv, and repeats it only when the lock changed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lab hub bench doctor fuzz lint notebooks browser clean help

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on the PATH. Set PYTHON=/path/to/python3." >&2; exit 1; }
	@echo "Setting up $(VENV): one to two minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebooks,test,lint]'
	@touch $@

run: $(READY)  ## run every chapter on the embedded lab; leaves a report in build/run
	$(BIN)/labkit run --target embedded

test: $(READY)  ## run all tests but those in a browser, and compare the notebooks' stored outputs; OPTIONS="-x -q" are pytest's
	$(BIN)/python -m pytest $(OPTIONS)

lab: $(READY)  ## open JupyterLab on the notebooks; OPTIONS="--no-browser --port=9000" are JupyterLab's
	@$(BIN)/labkit lab $(OPTIONS)

# Its proxy is a program of Node.js, from npm.
HUB := build/hub
PROXY := $(HUB)/node_modules/.bin/configurable-http-proxy

$(HUB)/.ready: $(READY)
	@command -v npm >/dev/null || { echo "JupyterHub's proxy needs Node.js 20 or newer, with npm; none was found on the PATH." >&2; exit 1; }
	@echo "Setting up JupyterHub."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hub]'
	@npm install --silent --no-audit --no-fund --prefix $(HUB) configurable-http-proxy@5.3.0
	@touch $@

hub: $(HUB)/.ready  ## start JupyterHub for a class on this machine; see hub/README.md
	@test -e $(or $(HUB_ATTENDEES),.hub/attendees) || $(BIN)/python -m hub.attendees $(or $(ATTENDEES),30)
	@exec $(BIN)/python -m jupyterhub --config=hub/jupyterhub_config.py $(OPTIONS)

doctor:  ## say before class what will go wrong on this computer; needs no set-up, nor the right Python
	@if [ -e $(READY) ]; then $(BIN)/labkit doctor; else $(or $(PYTHON),python3) -m labkit.doctor; fi

bench: $(READY)  ## measure what people wait for, and reading alerts against other readers; PARTS="reading lab", FULL=1, RULES="a.yaml", WRITE=1
	$(BIN)/python -m benchmarks $(PARTS) $(if $(FULL),--full) $(if $(WRITE),--write) $(foreach file,$(RULES),--rules $(file))

fuzz: $(READY)  ## throw random and broken rule files at the loader; N=1000000 for more than 10000
	$(BIN)/python -m tests.falcorules.fuzz --inputs $(or $(N),10000)

lint: $(READY)  ## check style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(READY)  ## execute every chapter and store its outputs
	$(BIN)/labkit run --target embedded --output build/notebooks --store

browser: $(READY)  ## try what `make lab` opens in headless Chromium: chapters, terminals, shell cells
	$(BIN)/python -m pytest -n 0 -m browser tests/notebooks $(OPTIONS)

clean:  ## stop the embedded lab; remove the environment and everything built
	-@test ! -x $(BIN)/labkit || $(BIN)/labkit down
	rm -rf $(VENV) build .labkit *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
