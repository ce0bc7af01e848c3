# What a newcomer and CI type. `make serve` and `make test` install what they need the first time.
ACCEL ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed-$(ACCEL)

.PHONY: setup serve test check format bench fuzz lock nano dist sbom image-check

setup: $(INSTALLED)

$(INSTALLED): requirements/$(ACCEL).txt requirements/dev.txt pyproject.toml scripts/setup.sh
	ACCEL=$(ACCEL) PYTHON=$(PYTHON) scripts/setup.sh
	touch $@

serve: setup
	$(BIN)/kodify serve

# What tests drive besides, Debian has: it is installed where it is missing and may be. Files of tests run two at a time,
# and then, one after the other, those that need the machine for themselves (the marker `alone`).
test: setup
	scripts/test_tools.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m bench $(BENCH)

# Odd bodies at a running server, for a quarter of an hour: FUZZ="--bodies 1000 --cases 500" for less.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(FUZZ)

# The locked sets, from pyproject.toml.
lock: setup
	scripts/lock.sh

# Trains the built-in model anew: about 40 minutes on two cores.
nano: setup
	$(BIN)/python scripts/train_nano.py

# dist/: the wheel and the sdist that it was made from. An installed wheel serves without the checkout.
dist: setup
	rm -rf dist
	$(BIN)/python -m uv build --quiet --no-build-isolation --python $(BIN)/python -o dist

# The Containerfile's steps carried out and its command started, without a container engine. As root, on a Debian with
# Python 3.11.
image-check: setup
	$(BIN)/python scripts/image.py cpu

# dist/kodify-….cdx.json: what a serving installation consists of, as CycloneDX says it.
sbom: setup
	mkdir -p dist
	$(BIN)/python scripts/sbom.py $(ACCEL) dist
