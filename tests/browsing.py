"""What tests in a real browser share: Debian's Chromium, driven by Playwright, and the pictures that they draw."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
MARKS = [
    pytest.mark.serial,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.may_block("Playwright runs an event loop of its own in the thread of the test"),
]
IMAGES = Path(__file__).parent.parent / "docs" / "images"


def picture(page, name, **options):
    """Draw a picture of the documentation anew, where GUARDED_TOOLS_SCREENSHOTS is set."""
    if os.environ.get("GUARDED_TOOLS_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png", **options)
