"""The counters of a state directory are in that directory, whatever characters its name has, by every road."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools import Guard, Policy, StoreError, ToolCall, ToolDenied, open_store
from guarded_tools.stores import open_stop_button
from guarded_tools.stores.disk.address import DiskAddress, disk_path, disk_url
from guarded_tools.stores.disk.store import DiskStore

NAMES = [
    "what",
    "what?",
    "what?why",
    "a#b",
    "50%",
    "%41",
    "with space",
    "~nosuchuser",
    "$HOME",
    "${HOME}x",
    "naïve\n",
    "?",
]
POLICY = Policy.model_validate({"version": "1", "default": "deny", "tools": {"send": {"rate_limit": "1/hour"}}})


def sends(guard):
    """How many calls of a limit of one run, of three; any other refusal is an error."""
    ran = []
    for _ in range(3):
        with contextlib.suppress(ToolDenied):
            guard.call(ToolCall("send", {}, "s"), ran.append)
    assert guard.store.usage("session:s")[0].used == 1
    guard.store.close()
    guard.audit.close()
    return len(ran)


@pytest.mark.parametrize("name", NAMES)
def test_every_road_leads_into_the_directory_that_was_named(tmp_path, monkeypatch, cli, name):
    home = tmp_path / name
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    assert sends(Guard(POLICY, state=home)) == 1
    assert (home / "counters" / "cache.db").exists()
    assert (home / "audit.jsonl").exists()
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(home))
    assert sends(Guard(POLICY)) == 0
    assert sends(Guard(POLICY, store=disk_url(home))) == 0
    for options in (["--state", home], ["--store", disk_url(home)]):
        ran = cli("status", "--json", *options)
        assert '"used": 1' in ran.out, ran
    assert cli("audit", "verify").code == 0
    assert cli("halt", "--reason", "x", "--store", disk_url(home)).code == 0
    assert [halted.scope for halted in open_stop_button(disk_url(home)).halts()] == ["global"]
    cli("resume", "--state", home)
    assert cli("reset", "--confirm", "--store", disk_url(home)).code == 0
    assert sends(Guard(POLICY, state=home)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["~nosuchuser", "a?b", "$HOME"])
def test_a_relative_directory_too(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert sends(Guard(POLICY, state=name)) == 1
    assert (tmp_path / name / "counters" / "cache.db").exists()
    DiskStore(name).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_a_url_brings_back_any_path(raw):
    path = os.fsdecode(b"/" + raw.replace(b"/", b"-"))
    assert str(disk_path(disk_url(path))) == os.path.abspath(path)  # noqa: PTH100 - without a Path in between


def test_what_a_url_says():
    assert DiskAddress.parse("disk:///a b#c?durability=power") == DiskAddress(disk_path("disk:///a%20b%23c"), "power")
    assert disk_path("redis://localhost") is None


@pytest.mark.parametrize(
    "url", ["disk:///x?why", "disk:///x?durabilty=power", "disk://x", "disk:///x%00y", "disk:///x??"]
)
def test_a_url_that_says_something_else_is_refused(url):
    with pytest.raises(StoreError, match=r"%3F|absolute path|zero byte"):
        open_store(url)
