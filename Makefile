# Everything runs in .venv; nothing is installed outside this folder but the caches of pip and uv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup setup-mcp2 demo test lowest check bench notebooks clean

setup: .venv/.ready

# uv is several times faster; where it cannot be had, pip does the same.
.venv/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "guarded_tools needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv .venv || { echo "python venv module is missing (Debian: apt-get install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# The second generation of MCP, which cannot stand beside the first.
setup-mcp2: .venv-mcp2/.ready

.venv-mcp2/.ready: pyproject.toml .venv/.ready
	$(PYTHON) -m venv .venv-mcp2
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-mcp2/bin/python -e '.[test,mcp]' \
	  || .venv-mcp2/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,mcp]'
	touch $@

demo: setup
	$(BIN)/guarded-tools demo $(ARGS)

# Three at a time, for on two cores a third of the time is spent waiting for programs that tests start; then what must have
# the machine to itself. 5 is pytest's word for "ARGS select none of these".
# Programs are started by the hundred: where Python may not keep what it compiled, each would compile all of it anew.
test: setup
	$(BIN)/python -m compileall -q guarded_tools tests docs benchmarks
	$(BIN)/python -m pytest -n 3 --dist worksteal -m 'not serial' $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m serial $(ARGS) || [ $$? -eq 5 ]

# The rooms that touch other libraries, with the lowest releases that pyproject.toml allows. What asks for newer ones than
# we do is left out, and the tests that need it.
NEWER := deepagents langgraph-supervisor langgraph-swarm langgraph-cli mypy pyright ruff

.venv-lowest/.ready: pyproject.toml .venv/.ready
	$(PYTHON) -m venv .venv-lowest
	printf '%s\n' $(NEWER) > .venv-lowest/newer.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-lowest/bin/python --resolution lowest-direct \
	  --excludes .venv-lowest/newer.txt -e '.[dev]'
	touch $@

lowest: .venv-lowest/.ready
	.venv-lowest/bin/python -m compileall -q guarded_tools tests
	.venv-lowest/bin/python -m pytest -n 3 --dist worksteal -m 'not serial' --ignore tests/adapters/test_sub_agents.py \
	  tests/adapters tests/approval tests/pipeline $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python tests/typing

bench: setup
	$(BIN)/python -m benchmarks

notebooks: setup
	$(BIN)/python notebooks/execute.py

clean:
	rm -rf .venv .venv-lowest .venv-mcp2 .mypy_cache .ruff_cache .hypothesis
