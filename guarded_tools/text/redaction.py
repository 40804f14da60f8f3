"""Masking of secrets whose shape is known, wherever text leaves the process: errors, prompts, logs, the audit.

A shape is recognised by the prefix its issuer gives it, or by the name it stands behind. What has neither cannot be
told from other text and is left alone: masking is the second net, not the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
LONGEST_SECRET = 4_200
"""As many characters tell, from its beginning, whether something is a secret."""

_WORD = r"[A-Za-z0-9_\-]"
_NAMES = (
    r"(?:api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|account[_-]?key|client[_-]?secret|secret"
    r"|pass(?:word|wd|phrase)|auth[_-]?token|access[_-]?token|refresh[_-]?token|id[_-]?token|session[_-]?token"
    r"|bearer[_-]?token|token|credentials?|signature|sig)"
)
# Where a name begins: not within a word, but at the capital of camelCase, and "password" anywhere (PGPASSWORD).
_BEGIN = r"(?:(?<![A-Za-z])|(?-i:(?<=[a-z])(?=[A-Z]))|(?=passw))"
# Keys may be paths, as in ``log_values``: args.headers["X-Api-Key"], args.tokens.token[0].
_SECRET_NAME = re.compile(
    rf"""(?:{_BEGIN}{_NAMES}|(?:^|[."'\[])(?:(?:proxy-)?authorization|(?:set-)?cookie))(?:["']?\]|\[[0-9*]{{1,9}}\])*$""",
    re.IGNORECASE,
)
_IS = r"""\\{0,3}["']?\s{0,3}(?:=|:(?!//))\s{0,3}"""
# A quoted value ends with its quote, also where all of it was quoted once more, or where the text was cut off.
_ASSIGNED = re.compile(
    rf"""(?P<keep>{_BEGIN}{_NAMES}{_IS})"""
    r"""(?:"(?:[^"\\]|\\[\s\S]){1,4096}"?|'(?:[^'\\]|\\[\s\S]){1,4096}'?"""
    r"""|(?P<close>\\{1,3}["'])(?:(?!(?P=close))[\s\S]){1,4096}(?P=close)?|[^\s"',;&)}\]]{3,})""",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    rf"""(?P<keep>authorization{_IS}\\{{0,3}}["']?(?:[A-Za-z]{{1,20}}\s{{1,3}}(?=\S{{8}}))?)"""
    r"""(?=[^\s"',;\\]{0,200}[0-9])[^\s"',;\\]{8,}""",
    re.IGNORECASE,
)
_COOKIE = re.compile(
    r"""(?P<keep>cookie\\{0,3}["']?\s{0,3}:\s{0,3}\\{0,3}["']?)[^\s"'=;,\\]{1,256}=[^"'\r\n\\]{1,4096}""", re.IGNORECASE
)

# A password may hold an @ of its own: whoever reads such an address goes by the last one. But after the first may come
# another field, which a human has to see: where a quote or a bracket stands between two of them, the first one counts.
_ON = r"""@[^\s/?#@"<>]{0,256}"""
_IN_ADDRESS = re.compile(rf"""(?P<keep>://[^\s/?#@:]{{0,256}}:)(?:[^\s/?#@]{{1,1024}}|(?={_ON}@))(?:{_ON})*(?=@)""")


# A token in a user's place. A name is short or has no digit; who else is meant stands behind the @, and stays.
_USER = re.compile(r"(?P<keep>://)(?=[A-Za-z_.~%+=-]*+[0-9])[A-Za-z0-9_.~%+=-]{20,1024}(?=(?::x-oauth-basic)?@)")
_PWD = re.compile(
    r"""(?P<keep>(?<![A-Za-z])pwd\s{0,3}[=:]\s{0,3}["']?)(?![\s"'/~$])[^\s"';,&)}\]]{3,1024}""", re.IGNORECASE
)
_OPTION = re.compile(
    rf"""(?P<keep>(?<!\S)--(?:[a-z0-9]{{1,20}}-){{0,3}}{_NAMES}[ \t]{{1,3}})(?!-)"""
    r"""(?:"[^"]{1,1024}"?|'[^']{1,1024}'?|[^\s"';,&)}\]]{3,1024})""",
    re.IGNORECASE,
)
_CURL = re.compile(
    r"""(?P<keep>(?<!\S)(?:-u|--(?:proxy-)?user)[ =]{1,3}["']?[^\s:"'/]{1,256}:)(?![0-9]+(?!\S))[^\s"']{3,1024}"""
)

# Whether a dot follows is looked up once a run of letters, not anew from each place in it where a token might begin.
_JWT = re.compile(
    rf"(?<!{_WORD})(?={_WORD}{{11,}}+\.{_WORD}{{8}})(?P<keep>{_WORD}*?(?<![A-Za-z0-9])eyJ)"
    rf"{_WORD}{{8,}}+\.{_WORD}{{8,}}+(?:\.{_WORD}*+)?"
)


def _prefixed(prefix: str, rest: str) -> tuple[re.Pattern[str], str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?P<keep>{prefix}){rest}"), rf"\g<keep>{MASK}"


# Each pattern runs only where its marker (lower case) occurs, so that text without secrets costs a few substring
# searches. None backtracks over the same characters twice: they see text that an attacker wrote.
_SHAPES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (marker, *shape)
    for markers, shape in (
        (("sk-",), _prefixed(r"sk-(?:proj-|ant-|or-|svcacct-|admin-|lf-)?", rf"{_WORD}{{12,}}")),
        (("sk_", "rk_", "pk_"), _prefixed(r"[srp]k_(?:live_|test_|prod_)?", r"[A-Za-z0-9]{12,}")),
        (("whsec_",), _prefixed("whsec_", r"[A-Za-z0-9+/=]{12,}")),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _prefixed("gh[pousr]_", r"[A-Za-z0-9]{20,}")),
        (("github_pat_",), _prefixed("github_pat_", r"\w{20,}")),
        (("glpat-",), _prefixed("glpat-", rf"{_WORD}{{16,}}")),
        (("xox",), _prefixed("xox[abeoprs]-", rf"{_WORD}{{8,}}")),
        (("xapp-",), _prefixed("xapp-", rf"{_WORD}{{8,}}")),
        (("hooks.slack.com",), _prefixed("hooks.slack.com/services/", r"[A-Za-z0-9/]{8,}")),
        (("akia", "asia"), _prefixed("A[KS]IA", r"[A-Z0-9]{16}")),
        (("aiza",), _prefixed("AIza", rf"{_WORD}{{30,}}")),
        (("ya29.",), _prefixed(r"ya29\.", rf"{_WORD}{{16,}}")),
        (("gocspx-",), _prefixed("GOCSPX-", rf"{_WORD}{{16,}}")),
        (("hf_",), _prefixed("hf_", r"[A-Za-z0-9]{16,}")),
        (("npm_",), _prefixed("npm_", r"[A-Za-z0-9]{20,}")),
        (("pypi-",), _prefixed("pypi-", rf"{_WORD}{{16,}}")),
        (("sg.",), _prefixed(r"SG\.", rf"{_WORD}{{16,}}\.{_WORD}{{16,}}")),
        (("tvly-",), _prefixed("tvly-", rf"{_WORD}{{16,}}")),
        (("nvapi-",), _prefixed("nvapi-", rf"{_WORD}{{20,}}")),
        (("r8_",), _prefixed("r8_", r"[A-Za-z0-9]{30,}")),
        (("hvs.", "hvb.", "hvr."), _prefixed(r"hv[sbr]\.", rf"{_WORD}{{20,}}")),
        (("dckr_",), _prefixed("dckr_(?:pat|oat)_", rf"{_WORD}{{16,}}")),
        # Twilio's key and account: 32 hexadecimal digits behind two letters, and no word is like that.
        (("sk", "ac"), _prefixed("(?:SK|AC)", r"(?=[0-9a-f]*[0-9])[0-9a-f]{32}(?![0-9A-Za-z])")),
        (("atatt", "atctt"), _prefixed("AT[AC]TT3", r"[\w=\-]{20,}")),
        (("sbp_",), _prefixed("sbp_", r"[a-f0-9]{30,}")),
        (("sb_secret_",), _prefixed("sb_secret_", rf"{_WORD}{{16,}}")),
        (("glsa_", "glc_"), _prefixed("gl(?:sa|c)_", r"[\w=+/]{20,}")),
        (("sntry",), _prefixed("sntry[su]_", r"[\w=+/\-]{20,}")),
        (("re_",), _prefixed("re_", r"(?=\w*[0-9])(?=\w*[A-Z])[A-Za-z0-9]{6,12}_[A-Za-z0-9]{16,}")),
        (("fw_",), _prefixed("fw_", r"(?=\w*[0-9])[A-Za-z0-9]{20,}")),
        (("gl",), _prefixed("gl(?:rt|dt|ptt|ft|imt|agent|soat|cbt|oas|ffct)-", rf"{_WORD}{{16,}}")),
        (("secret_",), _prefixed("secret_", r"(?=\w*[0-9])[A-Za-z0-9]{40,}")),
        (("figd_",), _prefixed("figd_", rf"{_WORD}{{20,}}")),
        (("pat",), _prefixed("pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{32,}")),
        (("1//0",), _prefixed("1//0", rf"{_WORD}{{20,}}")),
        (
            ("age-secret-key-",),
            (re.compile(r"(?P<keep>AGE-SECRET-KEY-(?:PQ-)?1)[A-Z0-9]{20,}", re.IGNORECASE), rf"\g<keep>{MASK}"),
        ),
        (
            ("accountkey=", "sharedaccesskey="),
            (
                re.compile(r"(?P<keep>(?:account|sharedaccess)key=)[A-Za-z0-9+/]{20,}={0,2}", re.IGNORECASE),
                rf"\g<keep>{MASK}",
            ),
        ),
        (("lsv2_",), _prefixed("lsv2_(?:pt|sk)_", r"\w{16,}")),
        (("gsk_",), _prefixed("gsk_", r"[A-Za-z0-9]{16,}")),
        (("xai-",), _prefixed("xai-", rf"{_WORD}{{16,}}")),
        (("pplx-",), _prefixed("pplx-", rf"{_WORD}{{16,}}")),
        (("dop_v1_",), _prefixed("dop_v1_", r"[a-f0-9]{16,}")),
        (("dapi",), _prefixed("dapi", r"[a-f0-9]{32}")),
        (("shp",), _prefixed("shp(?:at|ca|pa|ss)_", r"[A-Fa-f0-9]{16,}")),
        (("lin_api_",), _prefixed("lin_api_", r"[A-Za-z0-9]{16,}")),
        (("ntn_",), _prefixed("ntn_", r"[A-Za-z0-9]{16,}")),
        ((":aa",), _prefixed(r"[0-9]{8,10}:AA", rf"{_WORD}{{32,}}")),
        (("eyj",), (_JWT, rf"\g<keep>{MASK}")),
        (
            ("-----begin",),
            (
                re.compile(
                    r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
                    r"(?:(?!-----END)[\s\S])*(?:-----END \1-----)?"
                ),
                f"-----BEGIN PRIVATE KEY-----{MASK}",
            ),
        ),
        (
            ("bearer ", "basic "),
            (
                re.compile(r"(?P<keep>\b(?:bearer|basic)\s{1,3})[A-Za-z0-9._~+/=\-]{8,}", re.IGNORECASE),
                rf"\g<keep>{MASK}",
            ),
        ),
        (("://",), (_IN_ADDRESS, rf"\g<keep>{MASK}")),
        (("://",), (_USER, rf"\g<keep>{MASK}")),
        (("pwd",), (_PWD, rf"\g<keep>{MASK}")),
        (("--",), (_OPTION, rf"\g<keep>{MASK}")),
        (("-u ", "--user"), (_CURL, rf"\g<keep>{MASK}")),
        (("authorization",), (_AUTHORIZATION, rf"\g<keep>{MASK}")),
        (("cookie",), (_COOKIE, rf"\g<keep>{MASK}")),
        (("key", "token", "secret", "pass", "credential", "sig"), (_ASSIGNED, rf"\g<keep>{MASK}")),
    )
    for marker in markers
)

# One search for all of them is the fastest for what is masked on every call, such as ids; not for a page of text.
_MARKERS = re.compile("|".join(re.escape(marker) for marker, _, _ in _SHAPES))
_SHORT = 500


def mask(text: str) -> str:
    """Return ``text`` with every secret of a known shape replaced by ``***``; a public prefix or name stays."""
    low = text.lower()
    if len(low) <= _SHORT and not _MARKERS.search(low):
        return text
    for marker, pattern, replacement in _SHAPES:
        if marker in low:
            text = pattern.sub(replacement, text)
    return text


_QUOTE = re.compile(r"""\\{0,3}["']""")


def secrets(text: str) -> list[tuple[int, int]]:
    """Return where secrets of a known shape stand, as what :func:`mask` replaces: without public prefixes and names.

    Places may overlap, and come in no order.
    """
    low = text.lower()
    if len(low) <= _SHORT and not _MARKERS.search(low):
        return []
    found = []
    for marker, pattern, _ in _SHAPES:
        if marker in low:
            kept = "keep" if "keep" in pattern.groupindex else None
            found += [
                _unquoted(text, match.end(kept) if kept else match.start(), match.end())
                for match in pattern.finditer(text)
            ]
    return found


def _unquoted(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave the quotes around a secret where they are: a text of JSON stays one."""
    quote = _QUOTE.match(text, start, end)
    if quote is None:
        return start, end
    closed = text.endswith(quote[0], quote.end(), end)
    return quote.end(), end - len(quote[0]) if closed else end


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name, or at this path, is a secret whatever it looks like."""
    return _SECRET_NAME.search(name) is not None


def mask_json(value: Any) -> Any:
    """Return a copy of a JSON value with secrets masked, also those that only the name of their key gives away."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {
            mask(str(key)): MASK if item is not None and is_secret_name(str(key)) else mask_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_json(item) for item in value]
    return value


_PLACE = re.compile(
    r"""://(?:[^\s/?#"'<>]{0,1024}@)?(?P<url>\[[0-9a-fA-F:.%]{2,64}\]|[^\s/?#@:"'<>\\,;]{1,253})"""
    r"""|(?P<mail>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[^\W\d_]{2,24})(?![\w-])"""
    r"""|(?<![\w.-])(?P<host>(?:[a-z0-9-]{1,63}\.){1,8}(?:[a-z]{2}|com|net|org|info|biz|dev|app|cloud|online|site|top|shop|xyz))"""
    r"""(?![\w-])|(?<![\w.])(?P<ip>\d{1,3}(?:\.\d{1,3}){3})(?![\w.])"""
)


def destinations(text: str) -> list[str]:
    """List the hosts and mail addresses that a text names, each once: what a human has to see also of a secret."""
    return list(dict.fromkeys(match[str(match.lastgroup)] for match in _PLACE.finditer(text)))
