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
LEAST_CONTRAST = 4.5
IMAGES = Path(__file__).parent.parent / "docs" / "images"


# The least contrast of any text in an element with its background, as WCAG counts it, with what is see-through.
CONTRAST = """(root) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const backgrounds = [];
    let opacity = 1;
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
      backgrounds.unshift(getComputedStyle(at).backgroundColor);
      opacity *= getComputedStyle(at).opacity;
    }
    const behind = over(["white", ...backgrounds]);
    const [r, g, b] = over([`rgb(${behind.slice(0, 3)})`, getComputedStyle(element).color]);
    const seen = [r, g, b].map((c, i) => c * opacity + behind[i] * (1 - opacity));
    const [dark, bright] = [light(seen), light(behind)].sort((a, b) => a - b);
    found.push([(bright + .05) / (dark + .05), texts.currentNode.data.trim()]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


def unreadable(shown):
    """The texts in some elements that stand out from what is behind them by less than 4.5:1."""
    return [found for one in shown.all() for found in one.evaluate(CONTRAST) if found[0] < LEAST_CONTRAST]


def picture(page, name, **options):
    """Draw a picture of the documentation anew, where GUARDED_TOOLS_SCREENSHOTS is set."""
    if os.environ.get("GUARDED_TOOLS_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png", **options)
