"""Events as LangChain custom events."""

from __future__ import annotations

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from guarded_tools.telemetry.events import AwaitedObserver, Observer, as_dict
from guarded_tools.values import AuditEvent


def observer(name: str) -> Observer:
    """Make the observer that :func:`guarded_tools.telemetry.to_langchain` promises."""
    return _Dispatching(name)


class _Dispatching(AwaitedObserver):
    """Hands events to the callbacks of the run. Those that are coroutines LangChain runs elsewhere, and waits."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, event: AuditEvent) -> None:
        config = _run()
        if config is not None:
            dispatch_custom_event(self._name, as_dict(event), config=config)

    async def aobserve(self, event: AuditEvent) -> None:
        config = _run()
        if config is not None:
            await adispatch_custom_event(self._name, as_dict(event), config=config)


def _run() -> RunnableConfig | None:
    """The config of the run that this is in, if its callbacks can be told of anything."""
    config = var_child_runnable_config.get()
    callbacks = None if config is None else config.get("callbacks")
    return config if getattr(callbacks, "parent_run_id", None) is not None else None
