# Netra's words. A bare Python 3.11 is enough: what else is needed goes into .venv and node_modules.
.DEFAULT_GOAL := help
.PHONY: run test test-e2e check messages types test-slow test-alone bench scale chaos help install install-dev lock

# Where the machine has no npm of its own, the one in .venv is found after everything else.
export PATH := $(PATH):$(CURDIR)/.venv/bin

run: install ## Start Netra here and print the address to open (PORT=8000)
	@.venv/bin/python manage.py up

# One pytest worker a processor, each with databases and sites of its own.
PYTEST = .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test: install-dev ## Run unit and integration tests and one stack with a browser; ARGS="-k stop" chooses some
	npm test --silent
	$(PYTEST) -m "not e2e and not slow" $(ARGS)

test-e2e: install-dev ## Run the other end-to-end tests: page, wire, limits, faults, servers, nginx, chaos in short
	$(PYTEST) -m "e2e and not slow" $(ARGS)

test-slow: install-dev ## Run the tests that take too long for both
	$(PYTEST) -m "slow and not alone" $(ARGS)

test-alone: install-dev ## Run the tests that need the machine for themselves, one after the other
	.venv/bin/python -m pytest -m alone $(ARGS)

# Production's settings: nothing is served or signed with them, but they must load and pass Django's deployment checks.
check: export SECRET_KEY = only-for-make-check-which-signs-nothing-with-this-long-key
check: export NETRA_HTTPS = on
check: export ALLOWED_HOSTS = netra.example
check: export ALLOWED_ORIGINS = https://netra.example
check: export DATABASE_URL = sqlite:///.venv/check.sqlite3
check: export REDIS_URL = redis://127.0.0.1:6379/0
check: install-dev ## Check style, types, migrations and the settings of production
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict chat agents netra
	.venv/bin/python manage.py makemigrations --check --dry-run
	.venv/bin/python manage.py check --deploy --fail-level WARNING
	npm run --silent check
	@.venv/bin/python -m pip freeze --disable-pip-version-check > .venv/audited.txt
	@.venv/bin/pip-audit -r .venv/audited.txt --no-deps --disable-pip --timeout 5 --progress-spinner off 2> .venv/audit.log; \
	  failed=$$?; grep -v '^WARNING' .venv/audit.log | tail -n 1; \
	  if grep -qE 'requests\.exceptions|may be blocking' .venv/audit.log; then \
	    echo "NOT compared with known vulnerabilities: pypi.org does not answer."; \
	  else exit $$failed; fi

messages: install-dev ## Bring the catalogues of the pages' and mails' texts up to date, and compile them
	.venv/bin/python -m tools.messages

types: install-dev ## Write the types of frames that the page's scripts are checked with
	npm run --silent types

bench: install-dev ## Measure its loads beside a bare relay (ROUNDS=3; KEEP=1 writes them to docs/benchmarks)
	.venv/bin/python tools/bench.py --rounds $(or $(ROUNDS),3) $(if $(KEEP),--keep)

scale: install-dev ## Measure how far one process of each kind goes (KEEP=1 puts it into docs/scale.md)
	.venv/bin/python tools/scale.py $(if $(KEEP),--keep) $(if $(NOTE),--note "$(NOTE)")

chaos: install-dev ## Kill, freeze and cut off its processes at random, and look for what was lost (RUNS=1000 SEED=7)
	.venv/bin/python -m tools.chaos --runs $(or $(RUNS),1000) $(if $(SEED),--seed $(SEED))

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed node_modules/installed

install-dev: .venv/installed-dev node_modules/installed tests/interop/node_modules/installed

lock: install-dev ## Lock what requirements*.txt need, with hashes (UPGRADE=1 takes the newest versions)
	$(call LOCK,requirements)
	$(call LOCK,requirements-npm)
	$(call LOCK,requirements-dev) --constraints requirements.lock

PIP_INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r
# --universal: one file for Linux and macOS on every processor. An existing lock keeps its versions.
LOCK = .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --quiet \
  --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --output-file $(1).lock $(1).txt

NPM_CI = npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error

.venv/installed: requirements.lock | .venv/bin/pip
	$(PIP_INSTALL) requirements.lock
	@touch $@

.venv/installed-dev: requirements-dev.lock requirements.lock | .venv/bin/pip
	$(PIP_INSTALL) requirements-dev.lock
	@touch $@ .venv/installed

.venv/bin/pip:
	@for python in python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    $$python -m venv .venv && exit 0; rm -rf .venv; exit 1; \
	  fi; \
	done; echo "Netra needs Python 3.11 on the PATH, as python3.11 or python3; none was found." >&2; exit 1

node_modules/installed: package.json package-lock.json | .venv/bin/pip
	@command -v npm >/dev/null || $(PIP_INSTALL) requirements-npm.lock
	$(NPM_CI)
	@touch $@

tests/interop/node_modules/installed: tests/interop/package.json tests/interop/package-lock.json | node_modules/installed
	$(NPM_CI) --prefix tests/interop
	@touch $@
