"""Every Python block of the README and the docs runs as printed, page by page, in a process and state of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What a page may take for granted: a chat model (here a scripted one, that just answers).
PRELUDE = """
from langchain_core.language_models import GenericFakeChatModel
class Model(GenericFakeChatModel):
    def bind_tools(self, tools, **kwargs):
        return self
model = Model(messages=iter(["done"] * 100))
"""


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_readme_has_code():
    assert len(blocks(ROOT / "README.md")) >= 3


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(page, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n\n".join([PRELUDE, *blocks(page)]))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"GUARDED_TOOLS_HOME": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
