# Every target sets itself up on a fresh clone. `make` prints this help.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS ?= serve
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench bundle contracts docs clean

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

demo: install ## embedded broker, worker, ECGs in, risks out (ARGS="--once --json")
	@$(BIN)/cardiacnets demo $(ARGS)

test: EXTRAS = dev
test: install ## run every test (ARGS="-k gate")
	@$(BIN)/python -m pytest $(ARGS)

check: EXTRAS = dev
check: install ## lint, types, storeys
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: EXTRAS = dev
bench: install ## measure speed, as ratios within one run
	@$(BIN)/python -m tests.bench $(ARGS)

bundle: EXTRAS = dev
bundle: install ## learn the reference bundle and its baselines anew, into run/ (two hours on two cores)
	$(BIN)/cardiacnets train reference --out run $(ARGS)

contracts: EXTRAS = dev
contracts: install ## write the JSON Schemas anew, for review
	$(BIN)/python -m schemas.json_schemas

docs: EXTRAS = dev
docs: install ## write docs/reference/ from the code, build the site into site/
	$(BIN)/python -m docs.reference_tables
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
