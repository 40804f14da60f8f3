from __future__ import annotations

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
