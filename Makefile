# Everything a newcomer or a developer starts. Any make from 3.81 on; recipes are POSIX sh.

.DEFAULT_GOAL := help
.PHONY: help run test check bench psql image lock clean

# What would make .venv read other code than its own, or leave it without compiled files.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH

venv = sh deploy/venv.sh
# Three keep two cores busy: for a third of its time a test waits.
WORKERS = 3

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s  %s\n", $$1, $$2}' Makefile
	@echo '  ARGS="..." is passed on, as in: make test ARGS="-k lane". PYTHON=... chooses the Python for a new .venv.'

run: ## Start the server with a PostgreSQL and models of its own on http://127.0.0.1:8080/
	@$(venv) laptop && exec .venv/bin/tandem serve $(ARGS)

test: ## Run the tests
	@$(venv) dev && exec .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: ## Check style, types, imports, docstrings and sizes
	@$(venv) dev && exec sh .ci/check

bench: ## Measure the server against a plain pass-through
	@$(venv) dev && exec .venv/bin/python -m bench $(ARGS)

psql: ## Open psql on the embedded PostgreSQL
	@$(venv) laptop && exec .venv/bin/tandem psql $(ARGS)

image: ## Build the container's image with Docker
	@docker build --tag tandem --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)" --build-arg REVISION="$$(git rev-parse HEAD)" $(ARGS) .

lock: ## Resolve the dependencies anew into deploy/locks (ARGS=--upgrade for newer versions)
	@sh deploy/lock.sh $(ARGS)

clean: ## Remove .venv and every cache
	@rm -rf .venv build tandem.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find app tests bench deploy -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
