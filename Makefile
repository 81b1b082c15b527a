# make demo         shows s3po at work against an S3 server of its own, on this machine
# make test         a sample of the tests, within minutes: no root, no system packages
# make test-all     all unit, functional and fault tests, with coverage
# make faults       the fault catalogue: each entry, what became of it, and how many requests it took
# make lint         style, types, and who may import whom
# make neighbours   s3po beside other libraries (multiprocessing, dask, gunicorn, ...), each in processes of its own
# make integration  the tests against real S3 servers: Ceph's (installed when missing, which needs root) and rclone's
# make chaos        10,000 objects through a proxy that spoils some, before that server, which restarts half-way; three seeds
# make bench        s3po beside other clients, against a server on this machine (installed when missing, which needs root)
# make fuzz         feeds a million answers, mutated by what they reach, to the HTTP client
# make clean        removes what these have made
#
# Everything is installed into .venv; nothing outside of this directory is touched, but by make integration.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# By itself: one of the other clients wants an older botocore.
BENCH := .venv-bench
# By itself: the other libraries are many, and one of them wants an older botocore.
NEIGHBOURS := .venv-neighbours

.PHONY: demo test test-all faults lint neighbours integration chaos bench fuzz clean

demo: $(VENV)/demo.done
	$(BIN)/s3po demo

# Two processes; a file's tests run in one of them, in order. tests/support/quick.py states what is left out.
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

# Each test is a process, which waits for others; two at once keep the machine busy.
neighbours: $(NEIGHBOURS)/done
	$(NEIGHBOURS)/bin/python -m pytest -n 2 -q tests/neighbours $(NEIGHBOURS_OPTIONS)

integration: $(VENV)/integration.done
	bash tests/support/integration.sh $(BIN)/python

chaos: $(VENV)/dev.done
	S3PO_TEST_RUN=chaos bash tests/support/integration.sh $(BIN)/python $(CHAOS_OPTIONS)

bench: $(BENCH)/done
	mkdir -p docs
	$(BENCH)/bin/python benchmarks --json docs/benchmarks.json --plot docs/benchmarks.png --rst docs/benchmarks.rst \
		--readme README.rst $(BENCH_OPTIONS)

fuzz: $(VENV)/fuzz.done
	$(BIN)/python -m tests.fuzz.fuzz_answers runs=$(or $(FUZZ_RUNS),1000000)

clean:
	rm -rf $(VENV) $(BENCH) $(NEIGHBOURS) build dist s3po.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 's3po needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
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
