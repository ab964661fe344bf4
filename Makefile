# `make demo` and `make test` need nothing but Python 3.11 or later: the first target to run installs the rest in .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: help setup demo test test-slow test-real test-latest fuzz doctor-exam lint format types contracts docs claims verdicts bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED) ## install didact and its tools in .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "didact needs Python 3.11 or later, and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: setup ## teach a student on real images, and show that it worked
	$(ONE_THREAD) $(BIN)/python examples/demo.py

# Rewriting what the tests assert, so that a failure tells its values, takes both processes as long as 300 tests; those
# that fail are run once more with it.
test: setup ## everything that takes seconds
	$(ONE_THREAD) $(BIN)/pytest -n 2 --assert=plain -m "not slow and not gpu and not real" || \
	  { $(ONE_THREAD) $(BIN)/pytest --last-failed --last-failed-no-failures none -m "not slow and not gpu and not real"; exit 1; }

test-slow: setup ## what takes minutes, and what needs a GPU where there is one
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]' selenium
	$(ONE_THREAD) $(BIN)/pytest -n 2 -m "slow or gpu" --timeout 1200

test-real: setup ## what asks a real model, SmolLM2-135M-Instruct; DIDACT_REAL_MODEL names its file of GGUF
	$(ONE_THREAD) $(BIN)/pytest -n 0 -m real --timeout 1200

doctor-exam: setup ## whether `didact doctor` finds planted faults, and none in healthy set-ups
	$(ONE_THREAD) $(BIN)/python scripts/doctor_exam.py

ROUNDS ?= 10

fuzz: setup ## the property tests with new examples in each of ROUNDS=10 rounds
	for round in $$(seq $(ROUNDS)); do $(ONE_THREAD) HYPOTHESIS_PROFILE=fuzz \
	  $(BIN)/pytest -n 2 -m "not slow and not gpu and not real" $$(grep -rl "import.* given" tests) || exit 1; done

# torch stays as it is tested: a newer one may come for a GPU alone, with gigabytes that a CPU has no use for.
test-latest: ## the tests with the newest version of every dependency, in an environment of their own
	@test -x .venv-latest/bin/python || $(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check $(shell grep '^torch==' constraints.txt)
	.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
	  -e '.[all,dev]' $(shell grep '^torch==' constraints.txt)
	$(ONE_THREAD) .venv-latest/bin/python -m pytest -n 2 -m "not slow and not gpu and not real"

lint: setup ## style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup ## put the style right where that can be done without thinking
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: setup ## the types
	$(BIN)/pyright
	$(BIN)/python scripts/check_any.py

contracts: setup ## which package may import which, and no import cycles
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_cycles.py

docs: setup ## the documentation, in site/, and whether its notebooks run
	$(ONE_THREAD) $(BIN)/python scripts/run_notebooks.py --check
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

JOBS ?= 2

claims: setup ## run the claims again whose stored result is missing or stale; JOBS=2 processes
	$(ONE_THREAD) $(BIN)/didact replicate --stale --jobs $(JOBS)
	$(MAKE) --no-print-directory verdicts

verdicts: setup ## write the stored verdicts into the README and the docstrings of methods
	$(BIN)/python docs/pages.py
	$(BIN)/python docs/outcomes.py

bench: setup ## every benchmark, with its results in benchmarks/results/
	@missed=0; for script in loop_overhead data startup ema sampling vocabulary attempts losses tables views acquisition compress fixmatch; do \
	  $(ONE_THREAD) $(BIN)/python benchmarks/$$script.py || missed=1; done; exit $$missed

clean: ## remove what was built, and keep .venv and runs
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
