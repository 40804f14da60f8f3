"""What ``make dist`` refuses to publish, and what it does not."""

import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from release import contents, dist
from release.extras import PROOFS
from release.pages import allowed, blocks

ROOT = Path(__file__).parents[2]
PACKAGE = {"guarded_tools/__init__.py", "guarded_tools/testing.py", "guarded_tools/py.typed"}


@pytest.fixture
def wheel(tmp_path):
    def written(**more):
        path = tmp_path / "guarded_tools-1-py3-none-any.whl"
        files = dict.fromkeys(PACKAGE, "") | {"guarded_tools-1.dist-info/METADATA": "Name: guarded-tools"} | more
        with zipfile.ZipFile(path, "w") as zipped:
            for name, text in files.items():
                zipped.writestr(name, text)
        return contents.wheel_files(path)

    return written


def test_a_wheel_of_the_package_and_nothing_else(wheel):
    assert contents.problems(wheel(), PACKAGE) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("tests/test_guard.py", "", "tests/test_guard.py is for tests"),
        ("guarded_tools/policy/tests/cases.json", "", "guarded_tools/policy/tests/cases.json is for tests"),
        ("guarded_tools/faulty_sandbox.py", "", "guarded_tools/faulty_sandbox.py is for tests"),
        ("guarded_tools/conftest.py", "", "guarded_tools/conftest.py is for tests"),
        ("guarded_tools/more.py", "def f():\n    import pytest", "guarded_tools/more.py imports pytest"),
        ("guarded_tools/more.py", "from unittest.mock import patch", "guarded_tools/more.py imports unittest"),
    ],
)
def test_a_wheel_with_tests_or_faults_inside_is_refused_even_if_they_are_committed(wheel, name, text, problem):
    assert set(contents.problems(wheel(**{name: text}), PACKAGE | {name})) == {problem}


def test_what_is_in_no_commit_and_what_is_missing(wheel):
    assert contents.problems(wheel(**{"guarded_tools/mine.py": ""}), PACKAGE | {"guarded_tools/schema.json"}) == [
        "guarded_tools/mine.py is in no commit",
        "guarded_tools/schema.json is missing",
    ]


def test_a_source_distribution_holds_what_its_links_lead_to(tmp_path):
    path = tmp_path / "guarded_tools-1.tar.gz"
    link = tarfile.TarInfo("guarded_tools-1/guarded_tools/guide.md")
    link.type, link.linkname = tarfile.SYMTYPE, "../docs/guide.md"
    with tarfile.open(path, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("guarded_tools-1/README.md"), io.BytesIO())
        packed.addfile(link)
    found = contents.problems(contents.sdist_files(path), {"guarded_tools/guide.md"}, {"README.md", "docs/guide.md"})
    assert found == ["docs/guide.md is missing"]


def test_the_package_as_it_is_has_no_tests_inside():
    names = [path for path in (ROOT / "guarded_tools").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in names}
    assert contents.problems(files, files.keys()) == []


def test_every_extra_of_users_is_tried():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras.keys() - dist.for_work_on_it() == PROOFS.keys()


def test_which_blocks_of_the_readme_an_extra_has_to_run():
    code = blocks(ROOT / "README.md")
    first, second = (allowed(code, extras) for extras in dist.GENERATIONS)
    assert {*first, *second} == {*code}
    assert 0 < len(allowed(code, frozenset())) < len(allowed(code, frozenset({"agent"}))) < len(first)
    assert not [block for block in first if "langchain.mcp" in block]


def test_publishing_is_written_and_in_force_nowhere():
    assert not list((ROOT / ".github").glob("**/*publish*"))
    text = (ROOT / ".ci" / "publish.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}  # who it is, and no token of ours
    assert not re.search(r"secrets\.|password|api-token", text)
