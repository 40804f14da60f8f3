"""What people install: the built wheel, outside of the source tree."""

import os
import subprocess
from pathlib import Path

import pytest

import guarded_tools
from tests import forked

ROOT = Path(__file__).parent.parent


def run(*command, cwd, site):
    return subprocess.run(
        [forked.PYTHON, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site), "GUARDED_TOOLS_HOME": str(cwd / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # What pip calls of the build backend, in this environment: pip would fetch it, and install it for this one wheel.
    build = [forked.PYTHON, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    pip = [forked.PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, timeout=300)
    return folder / "site"


def test_the_wheel_is_what_runs(site, tmp_path):
    where = run("-c", "import guarded_tools; print(guarded_tools.__file__)", cwd=tmp_path, site=site)
    assert where.stdout.startswith(str(site))
    version = run("-m", "guarded_tools.cli", "--version", cwd=tmp_path, site=site)
    assert version.stdout == f"guarded-tools {guarded_tools.__version__}\n"
    assert (site / "guarded_tools" / "py.typed").exists()


def test_it_carries_its_data(site, tmp_path):
    for preset in ("standard", "supervised", "read_only"):
        shown = run("-m", "guarded_tools.cli", "preset", preset, cwd=tmp_path, site=site)
        assert shown.returncode == 0
        (tmp_path / f"{preset}.json").write_text(shown.stdout)
    checked = run("-m", "guarded_tools.cli", "validate", "standard.json", "supervised.json", cwd=tmp_path, site=site)
    assert checked.returncode == 0, checked.stderr
    assert run("-m", "guarded_tools.cli", "schema", cwd=tmp_path, site=site).stdout.startswith("{")
    guide = run("-m", "guarded_tools.cli", "guide", cwd=tmp_path, site=site)
    assert guide.stdout == (ROOT / "docs" / "agents-guide.md").read_text(encoding="utf-8")


def test_the_demo_runs_from_it(site, tmp_path):
    shown = run("-m", "guarded_tools.cli", "demo", "--yes", cwd=tmp_path, site=site)
    assert shown.returncode == 0, shown.stdout + shown.stderr
