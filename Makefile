.PHONY: check format lint types test coverage

check: lint types test

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

coverage:
	pytest --cov --cov-report=term
