"""The source of a first agent: a server's tools behind the guard, a person at the terminal, a model that can be named.

It runs on both generations of MCP, for the guard opens the server itself. A key that stands in the server's command or
address is not written down: its place is taken by a variable of the environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from guarded_tools.authoring.first.model import VARIABLE
from guarded_tools.mcp_session import Server, StdioServer

_SOURCE: Final = '''"""An agent whose tools stand behind a guard: python agent.py "what it is to do".

`guarded-tools init` wrote this beside policy.yaml and cases.yaml; all three are yours to change. policy.yaml says what
may run. Where it wants a human to decide, you are asked in this terminal.
"""

{imports}
from pathlib import Path

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model

from guarded_tools import GuardError, TerminalApprover, guarded_tools
from guarded_tools.secrets import mask

POLICY = Path(__file__).with_name("policy.yaml")
# provider:name of a chat model that can call tools.
MODEL = os.environ.get("{variable}") or {model}
TASK = "Say which tools you have and what each of them is for. Call none of them."
{needed}

def servers():
    """Say how the server is reached, as MCP clients write it down."""
    return {servers}


def work(model, task):
    """Let an agent work on a task with the guarded tools; return its last words."""
    with guarded_tools(servers(), policy=POLICY, approver=TerminalApprover(), session="agent") as tools:
        agent = create_agent(model, list(tools), middleware=[tools.guard.middleware()])
        result = agent.invoke({{"messages": [("user", task)]}})
    return result["messages"][-1].text


def main():
    try:
        model = init_chat_model(MODEL)
    except Exception as error:  # each provider says in its own way which package or key is missing
        told = mask(str(error))
        sys.exit(f"error: the model {{MODEL}} cannot be used ({variable}=provider:name names another): {{told}}")
    try:
        print(work(model, " ".join(sys.argv[1:]) or TASK))
    except GuardError as error:
        sys.exit(f"error: {{error}}")


if __name__ == "__main__":
    main()
'''

_NEEDED: Final = '''

def needed(name):
    """Read a variable of the environment that has to be set."""
    return os.environ.get(name) or sys.exit(f"error: set the environment variable {name} first")

'''


class FirstAgent(NamedTuple):
    """The source of an agent, and the variables that it needs in whose place something secret stood."""

    source: str
    variables: tuple[str, ...]


def agent_source(
    name: str, server: Server, model: str, *, given: Mapping[str, str] | None = None, entry: Sequence[str] = ()
) -> FirstAgent:
    """Write an agent for a server that is called ``name``.

    ``given`` says which variable of the environment holds a value of the server's ``env`` or ``headers``, by its name
    there. ``entry`` is the file of an MCP client, and the way into it, where the server is described already: the agent
    reads it there.
    """
    variables: list[str] = []
    if entry:
        path, *way = entry
        described = f"json.loads(Path({_literal(path)}).read_text()){''.join(f'[{_literal(key)}]' for key in way)}"
    else:
        described = _described(server, dict(given or {}), variables)
    needs = "needed(" in described
    source = _SOURCE.format(
        imports="\n".join(f"import {module}" for module in (*(["json"] if entry else []), "os", "sys")),
        variable=VARIABLE,
        model=_literal(model),
        needed=_NEEDED if needs else "",
        servers=f"{{{_literal(name)}: {described}}}",
    )
    return FirstAgent(source, tuple(variables))


def _described(server: Server, given: Mapping[str, str], variables: list[str]) -> str:
    """Write a server as MCP clients do, as Python. What is secret in it becomes a variable, which is noted."""
    secrets = tuple(filter(None, server.secrets()))

    def text(value: str, variable: str) -> str:
        if not any(secret in value for secret in secrets):
            return _literal(value)
        variables.append(variable)
        return f"needed({_literal(variable)})"

    if isinstance(server, StdioServer):
        args = ", ".join(text(arg, f"SERVER_ARGUMENT_{place}") for place, arg in enumerate(server.args, 1))
        told = f'"command": {_literal(server.command)}, "args": [{args}]'
        env = ", ".join(f"{_literal(name)}: needed({_literal(given.get(name, name))})" for name in server.env)
        return f'{{{told}, "env": {{{env}}}}}' if env else f"{{{told}}}"
    told = f'"url": {text(server.url, "SERVER_URL")}' + (', "transport": "sse"' if server.sse else "")
    headers = ", ".join(
        f'{_literal(name)}: "Bearer " + needed({_literal(given[name])})' for name in server.headers if name in given
    )
    return f'{{{told}, "headers": {{{headers}}}}}' if headers else f"{{{told}}}"


def _literal(text: str) -> str:
    """Write a text as Python that reads back as itself."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)
