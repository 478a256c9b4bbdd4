.PHONY: check format lint types test slow audit

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

slow:  # minutes long; figures are in docs/robustness.md
	pytest -n 0 -m slow -s

audit:  # needs pip-audit and the network
	pip-audit --strict --no-deps --disable-pip -r constraints.txt
