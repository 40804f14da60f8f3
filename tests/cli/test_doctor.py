"""``guarded-tools doctor``: what it prints and how it exits; what it finds is tested in tests/doctor."""

from __future__ import annotations

import shlex

import pytest

from guarded_tools import open_store


def test_nothing_is_wrong_and_nothing_is_made(cli, tmp_path):
    ran = cli("doctor", "--state", tmp_path / "it's new", "--policy", "standard")
    assert (ran.code, ran.err) == (0, "")
    assert "is not there yet; the first guard makes it" in ran.out
    assert "policy: standard: fine, " in ran.out
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_comes_with_its_cause_and_a_command_and_exit_1(cli, tmp_path):
    state = tmp_path / "it's mine"
    open_store(f"disk://{state}").close()
    (state / "counters" / "cache.db").unlink()
    ran = cli("doctor", "--state", state)
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("wrong    counters: "))
    assert "the database is gone" in lines[place]
    command = lines[place + 1].partition("→ ")[2]
    assert lines[-1] == "1 thing wrong, 1 warning."  # there is no terminal
    assert cli(*shlex.split(command)[1:]).code == 0
    assert cli("doctor", "--state", state).code == 0


def test_as_json_it_is_a_list_of_levels_causes_and_commands(cli, tmp_path):
    (tmp_path / "policy.json").write_text('{"version": "1"')
    ran = cli("doctor", "--state", tmp_path / "state", "--policy", "policy.json", "--json")
    assert ran.code == 1
    (policy,) = (one for one in ran.json if one["about"] == "policy")
    assert (policy["level"], policy["next"]) == ("wrong", "guarded-tools validate policy.json")
    assert "not JSON" in policy["said"]
    assert all(list(one) == ["level", "about", "said", "next"] for one in ran.json)


@pytest.mark.parametrize("store", ["disk://relative", "nonsense://x"])
def test_a_store_that_is_none_is_said_in_a_line(cli, tmp_path, store):
    ran = cli("doctor", "--store", store, "--state", tmp_path)
    assert ran.code == 1
    assert "wrong " in ran.out
    assert "Traceback" not in ran.out + ran.err
