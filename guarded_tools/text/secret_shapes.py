r"""The shapes of secrets, as patterns of RE2: they see text that an attacker wrote, and RE2 takes linear time.

The one group of a pattern that matched is what is to be masked; a public prefix, or the name that a secret stands
behind, comes before it. RE2 cannot look around, so a pattern takes in the character before a token and the one behind
it, and :func:`places` goes on at the end of the *secret*: of two tokens with one character between them both are found.
What only counting tells, such as a digit somewhere, is looked at afterwards (``having``), where no other could begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

MASK = "***"

# White space as Python means it: RE2's own is that of ASCII alone.
_S = r" \t-\r\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_GAP = f"[{_S}]{{0,3}}"
_WORD = "[A-Za-z0-9_-]"
_LETTERS = r"\pL\pN_"  # never counted: RE2 would need megabytes for it
_ALONE = "(?:^|[^A-Za-z0-9])"
_APART = f"(?:^|[{_S}])"

_NAMES = (
    *("api[_-]?key", "access[_-]?key", "secret[_-]?key", "private[_-]?key", "account[_-]?key", "client[_-]?secret"),
    *("secret", "pass(?:word|wd|phrase)", "auth[_-]?token", "access[_-]?token", "refresh[_-]?token", "id[_-]?token"),
    *("session[_-]?token", "bearer[_-]?token", "token", "credentials?", "signature", "sig"),
)
_NAME = f"(?:{'|'.join(_NAMES)})"
_CAPITAL = f"(?:{'|'.join(f'(?-i:{name[0].upper()}){name[1:]}' for name in _NAMES)})"
# Where a name begins: not within a word, but at the capital of camelCase, and "password" anywhere (PGPASSWORD).
_NAMED = f"(?:(?:^|[^A-Za-z]){_NAME}|(?-i:[a-z]){_CAPITAL}|passw(?:or)?d)"
# Keys may be paths, as in ``log_values``: args.headers["X-Api-Key"], args.tokens.token[0].
SECRET_NAME = (
    rf"""(?i)(?:{_NAMED}|(?:^|[."'\[])(?:(?:proxy-)?authorization|(?:set-)?cookie))(?:["']?\]|\[[0-9*]{{1,9}}\])*\n?$"""
)


def _containing(one: str, others: str, both: str, least: int) -> str:
    """At least ``least`` characters of the class ``both``: of ``others``, and ``one`` among them."""
    first = (f"{others}{{{n}}}{one}{both}{{{least - 1 - n},}}" for n in range(least - 1))
    return f"(?:{'|'.join(first)}|{others}{{{least - 1},}}{one}{both}*)"


_BARE = rf"""[^{_S}"',;&)}}\]]"""
# What is no address behind a scheme's colon.
_UNSLASHED = rf"""(?:[^{_S}"',;&)}}\]/]{_BARE}{{2,}}|/[^{_S}"',;&)}}\]/]{_BARE}+)"""
# A quoted value ends with its quote, also where all of it was quoted once more, or where the text was cut off.
_QUOTED = "|".join(
    (
        r""""(?:[^"\\]|\\(?s:.))+"?""",
        r"""'(?:[^'\\]|\\(?s:.))+'?""",
        *(
            rf"{slashes}{quote}(?s:.)+?(?:{slashes}{quote}|$)"
            for slashes in (r"\\" * 3, r"\\" * 2, r"\\")
            for quote in "\"'"
        ),
    )
)
_NAMES_IT = rf"""\\{{0,3}}["']?{_GAP}"""
_ASSIGNED = (
    rf"""(?i){_NAMED}{_NAMES_IT}(?:(?:={_GAP}|:[{_S}]{{1,3}})({_QUOTED}|{_BARE}{{3,}})|:({_QUOTED}|{_UNSLASHED}))"""
)
_VALUE = rf"""[^{_S}"',;\\]"""
_DIGITED = _containing("[0-9]", rf"""[^{_S}"',;\\0-9]""", _VALUE, 8)
_AUTHORIZATION = (
    rf"""(?i)authorization{_NAMES_IT}[=:]{_GAP}\\{{0,3}}["']?(?:[A-Za-z]{{1,20}}[{_S}]{{1,3}})?({_DIGITED})"""
)
_COOKIE = rf"""(?i)cookie\\{{0,3}}["']?{_GAP}:{_GAP}\\{{0,3}}["']?([^{_S}"'=;,\\]+=[^"'\r\n\\]+)"""

# A password may hold an @ of its own: whoever reads such an address goes by the last one. But after the first may come
# another field, which a human has to see: where a quote or a bracket stands between two of them, the first one counts.
_ON = rf"""@[^{_S}/?#@"<>]*"""
_IN_ADDRESS = rf"""://[^{_S}/?#@:]*:([^{_S}/?#@]+(?:{_ON})*|(?:{_ON})+)@"""
# A token in a user's place. A name is short or has no digit; who else is meant stands behind the @, and stays.
_USER = "://([A-Za-z0-9_.~%+=-]{20,})(?::x-oauth-basic)?@"
_PWD = rf"""(?i)(?:^|[^A-Za-z])pwd{_GAP}[=:]{_GAP}["']?([^{_S}"';,&)}}\]/~$][^{_S}"';,&)}}\]]{{2,}})"""
_OPTION = (
    rf"""(?i){_APART}--(?:[a-z0-9]{{1,20}}-){{0,3}}{_NAME}[ \t]{{1,3}}"""
    rf"""("[^"]+"?|'[^']+'?|[^{_S}"';,&)}}\]-][^{_S}"';,&)}}\]]{{2,}})"""
)
# Not the numbers of a user and a group.
_LOGIN = _containing(rf"""[^{_S}"'0-9]""", "[0-9]", rf"""[^{_S}"']""", 3)
_CURL = rf"""{_APART}(?:-u|--(?:proxy-)?user)[ =]{{1,3}}["']?[^{_S}:"'/]+:(?:({_LOGIN})|([0-9]{{3,}})["'])"""
_JWT = rf"{_ALONE}eyJ({_WORD}{{8,}}\.{_WORD}{{8,}}(?:\.{_WORD}*)?)"
_PRIVATE_KEY = "(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.)*?(?:-----END [A-Z0-9 ]{0,60}-----|$))"


class SecretShape(NamedTuple):
    """What a kind of secret looks like.

    ``markers``: of which one occurs, in lower case, wherever the pattern fits. ``having``: a digit ("0"), or a digit
    and a capital ("0A"), without which it is no secret.
    """

    markers: tuple[str, ...]
    pattern: str
    having: str = ""
    mask: str = MASK


def _prefixed(prefix: str, rest: str, *markers: str, behind: str = "", having: str = "") -> SecretShape:
    return SecretShape(markers, f"{_ALONE}{prefix}({rest}){behind}", having)


SHAPES: tuple[SecretShape, ...] = (
    _prefixed(r"sk-(?:proj-|ant-|or-|svcacct-|admin-|lf-)?", rf"{_WORD}{{12,}}", "sk-"),
    _prefixed(r"[srp]k_(?:live_|test_|prod_)?", r"[A-Za-z0-9]{12,}", "sk_", "rk_", "pk_"),
    _prefixed("whsec_", r"[A-Za-z0-9+/=]{12,}", "whsec_"),
    _prefixed("gh[pousr]_", r"[A-Za-z0-9]{20,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _prefixed("github_pat_", rf"[\w]{{20,}}[{_LETTERS}]*", "github_pat_"),
    _prefixed("glpat-", rf"{_WORD}{{16,}}", "glpat-"),
    _prefixed("xox[abeoprs]-", rf"{_WORD}{{8,}}", "xox"),
    _prefixed("xapp-", rf"{_WORD}{{8,}}", "xapp-"),
    _prefixed("hooks.slack.com/services/", r"[A-Za-z0-9/]{8,}", "hooks.slack.com"),
    _prefixed("A[KS]IA", r"[A-Z0-9]{16}", "akia", "asia"),
    _prefixed("AIza", rf"{_WORD}{{30,}}", "aiza"),
    _prefixed(r"ya29\.", rf"{_WORD}{{16,}}", "ya29."),
    _prefixed("GOCSPX-", rf"{_WORD}{{16,}}", "gocspx-"),
    _prefixed("hf_", r"[A-Za-z0-9]{16,}", "hf_"),
    _prefixed("npm_", r"[A-Za-z0-9]{20,}", "npm_"),
    _prefixed("pypi-", rf"{_WORD}{{16,}}", "pypi-"),
    _prefixed(r"SG\.", rf"{_WORD}{{16,}}\.{_WORD}{{16,}}", "sg."),
    _prefixed("tvly-", rf"{_WORD}{{16,}}", "tvly-"),
    _prefixed("nvapi-", rf"{_WORD}{{20,}}", "nvapi-"),
    _prefixed("r8_", r"[A-Za-z0-9]{30,}", "r8_"),
    _prefixed(r"hv[sbr]\.", rf"{_WORD}{{20,}}", "hvs.", "hvb.", "hvr."),
    _prefixed("dckr_(?:pat|oat)_", rf"{_WORD}{{16,}}", "dckr_"),
    # Twilio's key and account: 32 hexadecimal digits behind two letters, and no word is like that.
    _prefixed("(?:SK|AC)", r"[0-9a-f]{32}", "sk", "ac", having="0", behind="(?:[^0-9A-Za-z]|$)"),
    _prefixed("AT[AC]TT3", rf"[\w=-]{{20,}}[{_LETTERS}=-]*", "atatt", "atctt"),
    _prefixed("sbp_", r"[a-f0-9]{30,}", "sbp_"),
    _prefixed("sb_secret_", rf"{_WORD}{{16,}}", "sb_secret_"),
    _prefixed("gl(?:sa|c)_", rf"[\w=+/]{{20,}}[{_LETTERS}=+/]*", "glsa_", "glc_"),
    _prefixed("sntry[su]_", rf"[\w=+/-]{{20,}}[{_LETTERS}=+/-]*", "sntry"),
    _prefixed("re_", r"[A-Za-z0-9]{6,12}_[A-Za-z0-9]{16,}", "re_", having="0A"),
    _prefixed("fw_", r"[A-Za-z0-9]{20,}", "fw_", having="0"),
    _prefixed("gl(?:rt|dt|ptt|ft|imt|agent|soat|cbt|oas|ffct)-", rf"{_WORD}{{16,}}", "gl"),
    _prefixed("secret_", r"[A-Za-z0-9]{40,}", "secret_", having="0"),
    _prefixed("figd_", rf"{_WORD}{{20,}}", "figd_"),
    _prefixed("pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{32,}", "pat"),
    _prefixed("1//0", rf"{_WORD}{{20,}}", "1//0"),
    SecretShape(("age-secret-key-",), "(?i)AGE-SECRET-KEY-(?:PQ-)?1([A-Z0-9]{20,})"),
    SecretShape(("accountkey=", "sharedaccesskey="), "(?i)(?:account|sharedaccess)key=([A-Za-z0-9+/]{20,}={0,2})"),
    _prefixed("lsv2_(?:pt|sk)_", rf"[\w]{{16,}}[{_LETTERS}]*", "lsv2_"),
    _prefixed("gsk_", r"[A-Za-z0-9]{16,}", "gsk_"),
    _prefixed("xai-", rf"{_WORD}{{16,}}", "xai-"),
    _prefixed("pplx-", rf"{_WORD}{{16,}}", "pplx-"),
    _prefixed("dop_v1_", r"[a-f0-9]{16,}", "dop_v1_"),
    _prefixed("dapi", r"[a-f0-9]{32}", "dapi"),
    _prefixed("shp(?:at|ca|pa|ss)_", r"[A-Fa-f0-9]{16,}", "shp"),
    _prefixed("lin_api_", r"[A-Za-z0-9]{16,}", "lin_api_"),
    _prefixed("ntn_", r"[A-Za-z0-9]{16,}", "ntn_"),
    _prefixed(r"[0-9]{8,10}:AA", rf"{_WORD}{{32,}}", ":aa"),
    SecretShape(("eyj",), _JWT),
    SecretShape(("-----begin",), _PRIVATE_KEY, mask=f"-----BEGIN PRIVATE KEY-----{MASK}"),
    SecretShape(
        ("bearer ", "basic "), rf"(?i)(?:^|[^{_LETTERS}])(?:bearer|basic)[{_S}]{{1,3}}([A-Za-z0-9._~+/=-]{{8,}})"
    ),
    SecretShape(("://",), _IN_ADDRESS),
    SecretShape(("://",), _USER, having="0"),
    SecretShape(("pwd",), _PWD),
    SecretShape(("--",), _OPTION),
    SecretShape(("-u ", "--user"), _CURL),
    SecretShape(("authorization",), _AUTHORIZATION),
    SecretShape(("cookie",), _COOKIE),
    SecretShape(("key", "token", "secret", "pass", "credential", "sig"), _ASSIGNED),
)

_HALVES = re.compile("[\ud800-\udfff]")


@cache
def compiled(pattern: str) -> Any:
    """Return one of these patterns, compiled when it is needed first."""
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def whole(text: str) -> str:
    """Return a text that RE2 can read, of the same length: there is no half of a pair in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text)
    return text


def places(shape: SecretShape, text: str) -> Iterator[tuple[int, int]]:
    """Yield where secrets of a shape stand in a text, in order and apart from each other."""
    data, pattern = whole(text).encode(), compiled(shape.pattern)
    plain = len(data) == len(text)
    at = done = known = 0
    while (match := pattern.search(data, at)) is not None:
        start, end = next(span for span in map(match.span, range(1, pattern.groups + 1)) if span != (-1, -1))
        at = max(at + 1, end - 1)  # what stands before the next one may be the last of this one
        if start >= done and _has(data[start:end], shape.having):
            first = start if plain else known + len(data[done:start].decode())
            known = end if plain else first + len(data[start:end].decode())
            done = end
            yield first, known


def _has(secret: bytes, kinds: str) -> bool:
    if "0" in kinds and secret.translate(None, b"0123456789") == secret:
        return False
    return "A" not in kinds or secret.lower() != secret
