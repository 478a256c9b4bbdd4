.PHONY: check format lint types test docs slow audit coverage

check: lint types test docs

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .
	lint-imports

types:
	mypy

test:
	pytest

docs:
	mkdocs build --strict

slow:  # minutes long; figures are in docs/robustness.md
	pytest -n 0 -m slow -s

audit:  # needs pip-audit and the network
	pip-audit --strict --no-deps --disable-pip -r constraints.txt

coverage:
	pytest --cov --cov-report=term
