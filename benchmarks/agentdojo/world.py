"""A suite of AgentDojo: its environment, and its functions as tools of LangChain.

The functions run as AgentDojo's own runtime runs them, and answer the texts that its models are given. Injections stand
where the suite has places for them; what stands there is one word that no result holds otherwise, since an agent that
obeys needs not be persuaded. Unlike AgentDojo, which fills the places that the user's task will see, all are filled.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import yaml
from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
from agentdojo.functions_runtime import FunctionsRuntime
from agentdojo.strenum import StrEnum
from agentdojo.task_suite.load_suites import get_suites
from langchain_core.tools import StructuredTool

VERSION = "v1.2.2"
"""Of the benchmark: 97 user tasks and 35 injections."""

SUITES = ("workspace", "travel", "banking", "slack")

MARKER = "INJECTED-7f3a"
"""Stands where an attacker can write. One word: AgentDojo prints results as YAML, which folds longer texts."""


class World:
    """One environment at a time, and the tools that read and change it."""

    def __init__(self, suite: str) -> None:
        self.suite = get_suites(VERSION)[suite]
        self.environment: Any = None
        self._runtime = FunctionsRuntime(self.suite.tools)

    def enter(self, user_task: Any, *, injected: bool) -> None:
        """Begin anew, with the environment that the suite has for a user's task."""
        self.environment = user_task.init_environment(pickle.loads(_loaded(self.suite.name, injected)))

    def snapshot(self) -> Callable[[], Any]:
        """What gives copies of the environment as it is now: whoever looks at one may change it."""
        return partial(pickle.loads, pickle.dumps(self.environment))

    def tools(self) -> list[StructuredTool]:
        """The suite's functions, on whichever environment is there when they are called."""
        return list(self._tools())

    def _tools(self) -> Iterator[StructuredTool]:
        for function in self.suite.tools:

            def body(name: str = function.name, /, **args: Any) -> str:
                result, _ = self._runtime.run_function(self.environment, name, args, raise_on_error=True)
                return str(tool_result_to_str(result, _as_yaml))

            yield StructuredTool(
                name=function.name, description=function.description, args_schema=function.parameters, func=body
            )


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # told at run time
    """Writes what AgentDojo writes, but for where long lines are folded, in a tenth of the time."""


# AgentDojo teaches this to the slow one, which takes any text for one.
_Dumper.add_multi_representer(StrEnum, lambda dumper, value: dumper.represent_str(str(value.value)))
_as_yaml = partial(yaml.dump, Dumper=_Dumper)


@cache
def _loaded(suite: str, injected: bool) -> bytes:
    """An environment as the suite's files have it, pickled.

    Reading the files takes a second, and a deep copy several times as long as reading a pickle.
    """
    whole = get_suites(VERSION)[suite]
    places = whole.get_injection_vector_defaults() if injected else {}
    return pickle.dumps(whole.load_and_inject_default_environment(dict.fromkeys(places, MARKER)))
