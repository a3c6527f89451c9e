# make demo | test | lint | bench | quality. Needs Python >= 3.11 and nothing else; everything goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
DEMO := out/demo

.PHONY: demo test lint bench quality clean

.venv/installed: pyproject.toml constraints.txt
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]' >&2
	@touch $@

demo: .venv/installed
	@$(BIN)/genarena compare digits --out $(DEMO)

test: .venv/installed
	@$(BIN)/python -m pytest -n 2 --dist worksteal

.venv/docs: .venv/installed
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]' >&2
	@touch $@

lint: .venv/docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed
	@$(BIN)/python benchmarks/speed.py

quality: .venv/installed
	@$(BIN)/python benchmarks/quality.py
	@$(BIN)/python benchmarks/kill.py

clean:
	rm -rf .venv out
