"""Events as LangChain custom events."""

from __future__ import annotations

from langchain_core.callbacks import dispatch_custom_event
from langchain_core.runnables.config import var_child_runnable_config

from guarded_tools.telemetry.events import Observer, as_dict
from guarded_tools.values import AuditEvent


def observer(name: str) -> Observer:
    """Make the observer that :func:`guarded_tools.telemetry.to_langchain` promises."""

    def observe(event: AuditEvent) -> None:
        config = var_child_runnable_config.get()
        if config is not None and getattr(config.get("callbacks"), "parent_run_id", None) is not None:
            dispatch_custom_event(name, as_dict(event), config=config)

    return observe
