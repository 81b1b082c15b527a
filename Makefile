# make demo         moves real files to a local S3 server and back
# make test         a sample of the tests, within minutes: no root, no system packages
# make test-all     all unit, functional and fault tests, with coverage
# make faults       the fault catalogue: each entry with its outcome and its number of requests
# make lint         style, types and import contracts
# make neighbours   s3po together with other libraries (multiprocessing, dask, gunicorn, ...), each in its own processes
# make integration  the tests against real S3 servers: Ceph's (installed if missing, which needs root) and rclone's
# make chaos        10,000 objects through a faulty proxy to Ceph's server, which is restarted half-way; three seeds
# make soak         mixed jobs through a faulty proxy for two hours (SOAK_SECONDS=600 for ten minutes): no leak, no wrong data
# make bench        measures s3po and other clients, 15 minutes (installs nginx if missing, which needs root);
#                   BENCH_OPTIONS='--against CHECKOUT' compares two checkouts of s3po; then, in 20 minutes, the growth of
#                   batches of a million jobs (SCALE_OPTIONS='--jobs 10000' for a short run)
# make fuzz         feeds a million responses, mutated by coverage, to the HTTP client, and as many pages to the listings
# make clean        removes the files that the others have created
#
# Everything is installed into .venv; except for `make integration`, nothing outside of this directory is changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Separate, because one of the other clients requires an older botocore.
BENCH := .venv-bench
# Separate, because there are many other libraries, and one of them requires an older botocore.
NEIGHBOURS := .venv-neighbours

.PHONY: demo test test-all faults lint neighbours integration chaos soak bench fuzz clean

demo: $(VENV)/demo.done
	$(BIN)/s3po demo

# Two processes; the tests of a file run in one of them, in order. tests/support/quick.py defines what `make test` leaves out.
test: $(VENV)/dev.done
	$(BIN)/python -m pytest --quick -n 2 --dist loadfile tests/unit tests/functional tests/faults

test-all: $(VENV)/dev.done
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile tests/unit tests/functional tests/faults
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

faults: $(VENV)/dev.done
	$(BIN)/python -m pytest -p tests.faults.report -q --no-header tests/unit tests/functional tests/faults

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Each test starts processes and waits for them; two at a time keep the machine busy.
neighbours: $(NEIGHBOURS)/done
	$(NEIGHBOURS)/bin/python -m pytest -n 2 -q tests/neighbours $(NEIGHBOURS_OPTIONS)

integration: $(VENV)/integration.done
	bash tests/support/integration.sh $(BIN)/python

chaos: $(VENV)/dev.done
	S3PO_TEST_RUN=chaos bash tests/support/integration.sh $(BIN)/python $(CHAOS_OPTIONS)

soak: $(VENV)/dev.done
	$(BIN)/python -m tests.support.soaking --seconds $(or $(SOAK_SECONDS),7200) $(SOAK_OPTIONS)

bench: $(BENCH)/done
	mkdir -p docs
	$(BENCH)/bin/python benchmarks --json docs/benchmarks.json --plot docs/benchmarks.png --rst docs/benchmarks.rst \
		--readme README.rst $(BENCH_OPTIONS)
	$(BENCH)/bin/python benchmarks/bench_scale.py --json docs/scale.json --plot docs/scale.png $(SCALE_OPTIONS)

fuzz: $(VENV)/fuzz.done
	$(BIN)/python -m tests.fuzz.fuzz_answers runs=$(or $(FUZZ_RUNS),1000000)
	$(BIN)/python -m tests.fuzz.fuzz_listings runs=$(or $(FUZZ_RUNS),1000000)

clean:
	rm -rf $(VENV) $(BENCH) $(NEIGHBOURS) build dist s3po.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 's3po needs Python 3.11 or later; select one: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.done: $(BIN)/python setup.cfg
	$(PIP) install --editable '.[cli]'
	@touch $@

$(VENV)/integration.done: $(VENV)/dev.done
	$(PIP) install --editable '.[integration]'
	@touch $@

$(VENV)/fuzz.done: $(VENV)/dev.done
	$(PIP) install --editable '.[fuzz]'
	@touch $@

$(BENCH)/done: setup.cfg
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip --disable-pip-version-check --quiet install --editable '.[bench]'
	@touch $@

$(NEIGHBOURS)/done: setup.cfg tests/support/pythons.sh
	$(PYTHON) -m venv $(NEIGHBOURS)
	$(NEIGHBOURS)/bin/pip --disable-pip-version-check --quiet install --editable '.[neighbours]'
	bash tests/support/pythons.sh $(NEIGHBOURS)
	@touch $@

$(VENV)/dev.done: $(BIN)/python setup.cfg
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/demo.done
