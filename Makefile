# Every target sets itself up on a fresh clone. `make` prints this help.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS ?= serve
ARGS   ?=
READER ?= list
MINUTES ?= 10
JOBS   ?= 4

.DEFAULT_GOAL := help
.PHONY: help install demo quick test browser check fuzz bench bench-kafka takeover keeper pictures gpu-check bundle contracts docs lock sbom audit clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp a set of extras: quick when nothing changed, repeated when the project's requirements did.
STAMP = $(VENV)/.installed$(subst $(comma),-,$(EXTRAS:%=-%))
comma := ,

install: ## create .venv and install what serving needs (EXTRAS=dev adds torch and the tools)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test $(STAMP) -nt pyproject.toml -a $(STAMP) -nt constraints.txt || ( \
	  echo "installing cardiacnets$(EXTRAS:%=[%]) into $(VENV) (about a minute)" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$(EXTRAS:%=[%])" && touch $(STAMP) )

demo: EXTRAS = demo
demo: install ## embedded broker, worker, ECGs in, risks out (ARGS="--once --json")
	@$(BIN)/cardiacnets demo $(ARGS)

# Each process takes one file after the other. Four share two cores well, because much of the time is waiting. A thread
# each: processes that compute by several threads take turns for the cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

quick: EXTRAS = dev
quick: install ## run the tests that need no server, browser, learning, export or installation
	@$(PYTEST) -m "not (servers or browser or learns or exports or commands or installs)" $(ARGS)

test: EXTRAS = dev
test: install browser ## run every test (ARGS="-k gate", JOBS=2)
	@$(PYTEST) $(ARGS)

# As root on Debian. Elsewhere the tests that need it are skipped, and the last lines of `make test` say so.
browser: ## bring the browser that the dashboard's tests drive, and strace, which sees what leaves the machine
	@{ test -x /usr/bin/chromium && command -v strace >/dev/null; } || ! command -v apt-get >/dev/null || \
	  test "$$(id -u)" != 0 || { echo "installing chromium and strace for the tests" && { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium strace; } >/dev/null || \
	  echo "chromium and strace could not be installed"; }

check: EXTRAS = dev
check: install ## lint, types, storeys
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: EXTRAS = dev$(comma)fuzz
fuzz: install ## search for contents that crash a reader (READER=dicom MINUTES=10, READER=all MINUTES=1)
	@$(BIN)/python tests/fuzz_readers.py $(READER) --minutes $(MINUTES) $(ARGS)

bench: EXTRAS = dev
bench: install ## measure speed, as ratios within one run (ARGS="--smoke" only shows that it runs, ARGS=--peers others)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-kafka: EXTRAS = dev
bench-kafka: install ## measure Apache Kafka beside the embedded broker (ARGS="idle handover brokers")
	@PYTHONPATH=tests $(BIN)/python -m tests.bench_kafka $(ARGS)

takeover: EXTRAS = dev
takeover: install ## kill one of three workers after the other, after a minute without an ECG, and say how long it takes
	@TAKEOVER_INTERVAL_S=20 TEST_BROKERS=all $(BIN)/python -m pytest tests/test_stream_group.py -k takes_over -s -q

keeper: EXTRAS = dev
keeper: install ## kill ten keepers of alerts on each broker while they publish, and say what 10,000 alerts cost one
	@TEST_BROKERS=all KEEPER_KILLS=10 $(BIN)/python -m pytest tests/test_stream_alert_keeper.py tests/keeper_standstill.py \
		-k "killed or stood_still" -s -q
	@$(BIN)/python tests/measure_keeper.py

chaos: EXTRAS = dev
chaos: install ## break things on both brokers, write docs/reliability.md (ARGS="--only worker-killed --broker kafka")
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

soak: EXTRAS = dev
soak: install ## load for MINUTES on three brokers of Apache Kafka, and a fault every two minutes (MINUTES=60)
	@PYTHONPATH=tests $(BIN)/python -m chaos --soak --minutes $(MINUTES) $(ARGS)

pictures: EXTRAS = dev
pictures: install ## make the README's pictures of the dashboard anew (ARGS=/tmp/pictures keeps every page in two widths)
	@PYTHONPATH=tests $(BIN)/python tests/dashboard_pictures.py $(ARGS)

gpu-check: EXTRAS = dev
gpu-check: install ## check and time the engines of this machine's GPU, in under eight minutes; print one table
	@$(BIN)/python -m tests.gpu_check $(ARGS)

bundle: EXTRAS = dev
bundle: install ## learn the reference bundle and its baselines into run/ (two hours on two cores)
	$(BIN)/cardiacnets train reference --out run $(ARGS)

contracts: EXTRAS = dev
contracts: install ## write the JSON Schemas of the messages, for review
	$(BIN)/python -m schemas.json_schemas

docs: EXTRAS = dev
docs: install ## write docs/reference/ from the code, build the site into site/
	$(BIN)/python -m docs.reference_tables
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# What the image gets, held by hash. The index decides what is the newest, constraints.txt what must not be.
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --python-platform linux --no-emit-index-url \
  --no-emit-find-links --upgrade --custom-compile-command "make lock"

lock: EXTRAS = supply
lock: install ## take the newest packages into the image's lock files, supply/*.lock
	$(LOCK) -c constraints.txt --extra serve pyproject.toml -o supply/serve.lock
	$(LOCK) -c constraints.txt -c supply/serve.lock --extra cuda --no-emit-package onnxruntime pyproject.toml -o supply/gpu.lock
	$(LOCK) supply/build.in -o supply/build.lock

sbom: EXTRAS = serve$(comma)supply
sbom: install ## write what this install and what the image holds, as CycloneDX, into dist/
	rm -rf .venv-image && $(PYTHON) -m venv .venv-image
	.venv-image/bin/pip install --quiet --disable-pip-version-check --require-hashes -r supply/serve.lock
	.venv-image/bin/pip install --quiet --disable-pip-version-check --no-deps .
	$(BIN)/python -m supply.sbom $(CURDIR)/.venv-image/bin/python dist/cardiacnets-image.cdx.json
	$(BIN)/python -m supply.sbom $(CURDIR)/$(BIN)/python dist/cardiacnets-install.cdx.json

audit: sbom ## ask for known holes in the image's packages, and hold their licences against the list
	$(BIN)/python -m supply.licences dist/cardiacnets-image.cdx.json
	$(BIN)/pip-audit --disable-pip --require-hashes --requirement supply/serve.lock

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .venv-image .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
