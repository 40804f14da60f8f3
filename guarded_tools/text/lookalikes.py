"""Words that read as other words: which of a text's letters are not what they look like, said in a sentence each.

A name or an address can be spelt with letters that look like others: Cyrillic ``расе`` for ``pace``, a division slash
in a host, full-width or mathematical letters, a one-dot leader for a dot. None of them is invisible, so
:mod:`~guarded_tools.text.visible` shows them as they are; a human who decides is told of them here.

What is told, of each word once:

- letters of two alphabets in one word, and a word of a script that nobody writes today (Lisu, Gothic, Deseret);
- a word of Cyrillic, Greek or Armenian letters each of which looks like a Latin one;
- a stand-in: a character that is no letter of any script but reads as ASCII (full-width, mathematical, circled letters;
  slashes, dots, colons and hyphens of other blocks), wherever it touches ASCII;
- in what may be an address or is one word alone, also what is ordinary in prose: typographic dashes and quotes, and
  letters of every other script, by their Unicode names.

Not told: ASCII that looks like other ASCII (``l`` and ``1``, ``rn`` and ``m``). Prose in its own script is left alone,
but for those of its words that could be read as Latin ones. The tables follow what glyphs of common fonts look like;
Unicode's TR 39 has the idea.
"""

# ruff: noqa: RUF001, RUF002 - letters that look like others are its subject

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from guarded_tools.text.visible import INVISIBLE, plain

_WORD: Final = re.compile(r"[^\W\d_]+")
_LOOKED_AT: Final = 100_000
_MOST: Final = 5
_LONGEST: Final = 60
_NAMED: Final = 3

_TWINS: Final[dict[str, dict[str, str]]] = {
    script: dict(zip(letters, latin, strict=True))
    for script, letters, latin in (
        ("CYRILLIC", "асеорхуѕіјһԁԛԝӏѵкгьпзАВСЕНІЈКМОРЅТХУҮԜԚԌѴЗЬӀ", "aceopxysijhdqwlvkrbn3ABCEHIJKMOPSTXYYWQGV3bI"),
        ("GREEK", "αγικνορστυχωηςϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ayikvopotuxwnscjABEZHIKMNOPTYXCJ"),
        ("ARMENIAN", "օոսցզյհքաՕՍՏԼՈ", "onugqjhpwOUSLN"),
    )
}
_READS_AS: Final[dict[str, str]] = {
    char: reading
    for reading, chars in {
        "/": "∕⁄╱⧸⟋〳",
        "\\": "∖⧵⟍",
        ".": "․‧∙⋅ꓸ܂。｡",
        ":": "∶ː˸꞉։᛬",
        "-": "‐‑‒−˗⁃➖",
        "'": "ʹʼˈʻʽˊˋ′",
        ",": "‚、،",
        "!": "ǃ",
        "|": "ǀ∣│",
        "*": "⁎∗",
        "~": "∼⁓",
        "<": "‹˂",
        ">": "›˃",
        "=": "꞊",
    }.items()
    for char in chars
}
_IN_PROSE: Final = frozenset("‘’“”«»–—…·•™©®°ªº¹²³№¼½¾´¨¸¯ʼ")
_EASTERN: Final = frozenset("、。，．：；！？（）｛｝［］～｡､")
_BESIDE_LATIN: Final = frozenset(
    {"HANGUL", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "CJK", "IDEOGRAPHIC"}
)
_SCRIPTS: Final = _BESIDE_LATIN | {
    *("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "ETHIOPIC", "MONGOLIAN", "TIBETAN"),
    *("DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA"),
    *("THAI", "LAO", "MYANMAR", "KHMER"),
}
_PHONETIC: Final = re.compile("[\u0250-\u02af\u1d00-\u1dbf\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f]")


def remarks(text: str) -> list[str]:
    """Say what a reader of a text should know of its words; a sentence each, the last one counts what is left out."""
    found = list(dict.fromkeys(_found(text[:_LOOKED_AT])))
    if len(found) > _MOST:
        found[_MOST - 1 :] = [f"and {len(found) - _MOST + 1:,} more words that may read as others"]
    if len(text) > _LOOKED_AT and not text.isascii():
        found.append(f"only the first {_LOOKED_AT:,} characters were looked at for words that read as others")
    return found


def _found(text: str) -> Iterator[str]:
    if text.isascii():
        return
    tokens = dict.fromkeys(text.split())
    for token in tokens:
        if not token.isascii():
            yield from _of_token(token, name=len(tokens) == 1)


def _of_token(token: str, *, name: bool) -> Iterator[str]:
    address = _is_address(token)
    told = set[str]()
    for match in _WORD.finditer(token):
        word = match[0]
        if word.isascii():
            continue
        remark = _of_word(word, alone=address or name)
        if remark:
            told.update(word)
            yield remark
    odd = [char for at, char in enumerate(token) if char not in told and _is_odd(token, at, address=address, name=name)]
    if odd:
        yield f"{_reading(token)}: {_names(odd)}"


def _is_address(token: str) -> bool:
    """Whether a dot, a slash, an @ and the like stand inside a word, not only at its end as in prose."""
    inner = "".join(_READS_AS.get(char) or unicodedata.normalize("NFKC", char) for char in token[:_LOOKED_AT])
    return re.search(r"\w[./:@_\\]+\w|//", inner) is not None


def _of_word(word: str, *, alone: bool) -> str:
    if any(_reads_as(char) or not char.isalpha() for char in word):
        return ""  # told by its characters
    scripts = {script(char) for char in word}
    plain = scripts - _BESIDE_LATIN if "LATIN" in scripts else scripts
    if len(plain) > 1 and not plain <= _BESIDE_LATIN:
        return f"{_cut(word)} mixes {' and '.join(one.title() for one in sorted(plain))} letters"
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in word):
        return f"right to left: {word[:_LONGEST]}" if not INVISIBLE & set(word) else ""
    [only] = plain if len(plain) == 1 else [""]
    twins = _TWINS.get(only, {})
    if twins and (alone or len(word) > 1) and all(char in twins for char in word):
        latin = "".join(twins[char] for char in word)
        return f"{_cut(word)} is written in {only.title()} letters; it is not {_cut(latin)}"
    if only and only not in _SCRIPTS:
        return f"{_cut(word)} is written in {only.title()} letters"
    return ""


def _is_odd(token: str, at: int, *, address: bool, name: bool) -> bool:
    """Whether the character has to be named: alone it reads as something else, or it stands in an address."""
    char = token[at]
    if char.isascii():
        return False
    if char in _IN_PROSE:
        return address or (name and 0 < at < len(token) - 1)
    if _PHONETIC.match(char):
        return True
    if _reads_as(char):
        near = token[max(at - 1, 0) : at] + token[at + 1 : at + 2]
        beside = [one.isascii() or bool(_reads_as(one)) for one in near]
        return char.isalnum() or (all(beside) and len(near) > 1 if char in _EASTERN else any(beside))
    return (address and char.isalpha()) or (char.isdecimal() and any(one.isascii() for one in token))


@lru_cache(maxsize=4096)
def script(char: str) -> str:
    """Name the script of a letter, by the first word of its Unicode name that says one."""
    words = unicodedata.name(char, "UNKNOWN").split(" ")
    return words[1] if words[0] in ("HALFWIDTH", "FULLWIDTH", "MODIFIER") and len(words) > 1 else words[0]


@lru_cache(maxsize=4096)
def _reads_as(char: str) -> str:
    """What ASCII a character reads as that is no letter of a script of its own; ``""`` where it reads as itself."""
    if char in _READS_AS:
        return _READS_AS[char]
    symbol = re.search(r"D LATIN CAPITAL LETTER ([A-Z])$", unicodedata.name(char, ""))  # white on a black square
    normal = symbol[1] if symbol else unicodedata.normalize("NFKC", char)
    return normal if normal != char and normal.isascii() and normal.strip() else ""


def _reading(token: str) -> str:
    """A token, and what it could be read as."""
    twins = {char: latin for table in _TWINS.values() for char, latin in table.items()}
    reading = "".join(_reads_as(char) or twins.get(char, char) for char in token)
    return f"{_cut(token)} is not {_cut(reading)}" if reading.isascii() else _cut(token)


def _names(chars: list[str]) -> str:
    each = list(dict.fromkeys(chars))
    said = [f"{_cut(char)} is {unicodedata.name(char, 'no known character')}" for char in each[:_NAMED]]
    return ", ".join(said) + (f", and {len(each) - _NAMED} more" if len(each) > _NAMED else "")


def _cut(text: str) -> str:
    return plain(text) if len(text) <= _LONGEST else f"{plain(text[:_LONGEST])}…"
