"""Text stands out from what it stands on, in the light and in the dark, as the style sheet has both."""

import itertools
import re
from pathlib import Path

import pytest

from guarded_tools.web import page

CSS = (Path(page.__file__).parent / "static" / "style.css").read_text()
LEAST = 4.5  # what WCAG 2.2 asks for text, 1.4.3


def luminance(colour):
    digits = colour.removeprefix("#")
    wide = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(wide[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_it_is_computed_as_it_is_defined():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_on_every_ground(theme):
    named = [dict(re.findall(r"--(\w+): (#\w+);", root)) for root in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)]
    assert len(named) == 2
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    texts = set(re.findall(r"(?<![-\w])color: var\(--(\w+)\)", rules))
    grounds = set(re.findall(r"background(?:-color)?: var\(--(\w+)\)", rules))
    assert {"text", "quiet", "link", "bad"} <= texts
    assert grounds == {"page", "box", "button"}
    # No colour of text or ground is written beside the two tables.
    assert not re.search(r"(?<!-)(?:color|background(?:-color)?): *(?:#|rgb|hsl)", rules)
    found = {
        (text, ground): round(contrast(named[theme][text], named[theme][ground]), 2)
        for text, ground in itertools.product(texts, grounds)
    }
    assert {pair: ratio for pair, ratio in found.items() if ratio < LEAST} == {}
