from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore


@pytest.fixture
def make_guard(tmp_path: Path) -> Callable[..., Guard]:
    """Make a guard over a store in memory; ``store=`` and all else a guard takes may be given."""

    def make(policy: Any, **options: Any) -> Guard:
        options.setdefault("store", MemoryStore())
        return Guard(Policy.model_validate(policy), audit=tmp_path / "audit.jsonl", **options)

    return make
