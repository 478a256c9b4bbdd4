.PHONY: check format lint types test docs

check: lint types test docs

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest

docs:
	mkdocs build --strict
