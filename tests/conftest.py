"""What every test has: a state directory of its own, so that none reads or writes the user's; and the command."""

import json
from typing import NamedTuple

import pytest

from guarded_tools.cli.app import main


class Ran(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Runs a command of ``guarded-tools`` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def cli(*argv):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in argv])
        captured = capsys.readouterr()
        return Ran(ended.value.code or 0, captured.out, captured.err)

    return cli


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("GUARDED_TOOLS_STORE", raising=False)
