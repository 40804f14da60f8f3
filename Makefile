# Everything runs in .venv; nothing is installed outside this folder but the caches of pip and uv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup setup-mcp2 demo demo-gateway gateway-others langgraph-pages test test-mcp2 lowest check bench agentdojo notebooks docs pictures dist matrix clean

setup: .venv/.ready

# The second generation of MCP, which cannot stand beside the first.
setup-mcp2: .venv-mcp2/.ready

# An environment is made in two stages, .usable and .ready: what a user would have, which is all that the demo waits for, and
# then what our tests need.
.venv/.usable: EXTRAS := agent,adapters
.venv/.ready: EXTRAS := dev,agentdojo
.venv-mcp2/.usable: EXTRAS := agent,mcp
.venv-mcp2/.ready: EXTRAS := test,mcp

# uv is several times faster; where it cannot be had, pip does the same.
install = $*/bin/uv pip install --quiet $(1) --python $*/bin/python -e '.[$(EXTRAS)]' \
  || $*/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'

.venv/.usable .venv-mcp2/.usable: %/.usable: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "guarded_tools needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $* || { echo "python venv module is missing (Debian: apt-get install python3-venv)"; exit 1; }
	$*/bin/python -m pip install --quiet --disable-pip-version-check uv || true
	$(call install)
	touch $@

# Tests import nearly all of it, in several processes at once: compiled beforehand. The demo compiles what it imports.
.venv/.ready .venv-mcp2/.ready: %/.ready: %/.usable
	$(call install,--compile-bytecode)
	touch $@

# MCP=2: the same job on the second generation.
MCP ?= 1
DEMO := $(or $(patsubst 1,.venv,$(filter 1,$(MCP))),$(patsubst 2,.venv-mcp2,$(filter 2,$(MCP))),$(error MCP is 1 or 2, not $(MCP)))

demo: export PYTHONDONTWRITEBYTECODE =
demo: $(DEMO)/.usable
	$(DEMO)/bin/guarded-tools demo $(ARGS)

# A gateway with two clients, one of which is refused.
demo-gateway: export PYTHONDONTWRITEBYTECODE =
demo-gateway: .venv-mcp2/.usable
	.venv-mcp2/bin/python docs/examples/gateway_demo.py

# The gateway with clients, servers and a conformance suite that nobody here wrote. Needs npm.
gateway-others: setup setup-mcp2 .gateway-others/.ready
	.venv-mcp2/bin/python -m tests.gateway.others $(ARGS)

.gateway-others/.ready: tests/gateway/others/package.json
	mkdir -p .gateway-others
	cp $< .gateway-others/
	npm install --prefix .gateway-others --no-audit --no-fund
	touch $@

# Agent Chat UI and Agent Inbox, built as of these commits, and driven by Debian's Chromium. Needs git, npm and some minutes. Their
# font comes from elsewhere when they are built; here it is whatever the browser has.
PAGES ?= https://github.com/langchain-ai
CHAT_UI := fdc87e65307581b02898d33c62b3f285e56bd85b
INBOX := f38301b9d0bec1f5191eaf1946f4fb6a6d6cfe0a
cloned = git clone --quiet $(PAGES)/$(1) .langgraph-pages/$(1) && cd .langgraph-pages/$(1) && git checkout --quiet $(2) \
  && sed -i -e '/next\/font/d' -e 's/Inter({/Object({/' src/app/layout.tsx && npm pkg delete packageManager

langgraph-pages: setup .langgraph-pages/.ready
	$(BIN)/python -m tests.langgraph_server.pages $(ARGS)

.langgraph-pages/.ready: export NEXT_TELEMETRY_DISABLED = 1
.langgraph-pages/.ready:
	rm -rf .langgraph-pages && mkdir .langgraph-pages
	$(call cloned,agent-chat-ui,$(CHAT_UI)) && npx --yes pnpm@10 install --frozen-lockfile && npx --yes pnpm@10 build
	$(call cloned,agent-inbox,$(INBOX)) && npx --yes yarn@1 install --frozen-lockfile --ignore-engines && npx --yes yarn@1 build
	touch $@

# Three at a time, for on two cores a third of the time is spent waiting for programs that tests start; then what must have
# the machine to itself. 5 is pytest's word for "ARGS select none of these". ARGS are for the first environment alone.
# Where Python may not keep what it compiled, each worker and each program would compile all of it anew.
test: export PYTHONDONTWRITEBYTECODE =
test: setup
	$(BIN)/python -m compileall -q guarded_tools tests docs benchmarks
	$(BIN)/python -m pytest -n 3 --dist worksteal -m 'not serial' $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m serial $(ARGS) || [ $$? -eq 5 ]
	$(if $(ARGS),,$(MAKE) test-mcp2)

# What touches MCP.
MCP_TESTS := tests/mcp_session tests/servers tests/pictify tests/adapters tests/gateway tests/langgraph_server tests/tools/test_pinned.py \
  tests/notebooks tests/cli/test_demo.py tests/cli/test_author.py tests/authoring/test_path.py \
  tests/test_documentation.py::test_code_blocks_run

test-mcp2: setup-mcp2
	@echo "Once more with the second generation of MCP, in .venv-mcp2: $(or $(ARGS),$(MCP_TESTS))"
	.venv-mcp2/bin/mypy --config-file .ci/mypy-mcp2.ini
	.venv-mcp2/bin/python -m pytest -n 3 --dist worksteal -m 'not serial' $(or $(ARGS),$(MCP_TESTS))
	.venv-mcp2/bin/python -m pytest -m serial $(or $(ARGS),$(MCP_TESTS)) || [ $$? -eq 5 ]

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
	  --ignore-glob '*/test_answer_schemas*' tests/adapters tests/approval tests/pipeline $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python tests/typing

bench: setup setup-mcp2
	$(BIN)/python -m benchmarks

# Four suites of attacks, each under every policy: benchmarks/agentdojo/README.md. ARGS="--suite slack" for one.
agentdojo: setup
	$(BIN)/python -m benchmarks.agentdojo $(ARGS)

notebooks: setup
	$(BIN)/python notebooks/execute.py

# The site, in build/site: open its index.html, no server is needed. What it is built with stands apart from our environments.
.venv-docs/.ready: docs/site/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv-docs/.ready
	.venv-docs/bin/mkdocs build --config-file .ci/mkdocs.yml --strict  # --quiet would count no warnings
	.venv-docs/bin/python docs/site/check.py build/site

# The wheel and the source distribution of HEAD, checked and tried in clean environments: CONTRIBUTING.md, "A release".
.venv-dist/.ready: .ci/release/requirements.txt
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

dist: .venv-dist/.ready
	PYTHONPATH=.ci PATH="$(CURDIR)/.venv-dist/bin:$$PATH" .venv-dist/bin/python -m release.dist $(ARGS)

# Tests in a fresh environment for each Python, lowest and newest releases and generation of MCP; half an hour to an hour.
# ARGS="3.12 JupyterLab" runs what begins so.
matrix: setup
	PYTHONPATH=.ci PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m release.matrix $(ARGS)

# The demo, recorded in a terminal: docs/images. What is on the page of the same folder is made by its tests.
pictures: setup .venv-docs/.ready
	.venv-docs/bin/python docs/site/record.py $(abspath $(BIN)/python) docs/images

clean:
	rm -rf build dist .venv .venv-dist .venv-docs .venv-lowest .venv-mcp2 .gateway-others .langgraph-pages .mypy_cache .ruff_cache .hypothesis
