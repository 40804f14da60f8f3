"""What every test has: a state directory of its own, so that none reads or writes the user's."""

import pytest


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("GUARDED_TOOLS_STORE", raising=False)
