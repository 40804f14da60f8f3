"""What ``make docs`` checks the built site with finds what is wrong, and nothing else."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_of_the_site", ROOT / "docs" / "site" / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other page.html").write_text("<h2 id='above'>Above</h2><a href='../index.html'>back</a>")
    (tmp_path / "site.css").write_text("a { background: url(data:image/png;base64,AA) }")

    def written(body):
        (tmp_path / "index.html").write_text(f"<html><body id='top'>{body}</body></html>")
        return tmp_path

    return written


def test_a_site_that_is_right(check, site):
    right = (
        "<link rel='stylesheet' href='site.css'><a href='#top'>up</a><a href='more/other%20page.html#above'>there</a>"
        "<a href='https://example.com/page'>outside</a><img src='data:image/png;base64,AA'>"
    )
    assert check.problems(site(right)) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<a href='gone.html'>x</a>", "index.html: leads nowhere: gone.html"),
        ("<a href='more'>x</a>", "index.html: leads nowhere: more"),
        ("<a href='#gone'>x</a>", "index.html: no such anchor: #gone"),
        ("<a href='more/other%20page.html#gone'>x</a>", "index.html: no such anchor: more/other%20page.html#gone"),
        ("<a href='http://example.com'>x</a>", "index.html: no address that one may follow: http://example.com"),
        ("<a href='https://example'>x</a>", "index.html: no address that one may follow: https://example"),
        ("<img src='gone.png'>", "index.html: is not there: gone.png"),
        (
            "<script src='https://cdn.example/x.js'></script>",
            "index.html: fetched from elsewhere: https://cdn.example/x.js",
        ),
        ("<link href='//fonts.example/css'>", "index.html: fetched from elsewhere: //fonts.example/css"),
    ],
)
def test_what_is_wrong_is_said(check, site, body, said):
    assert check.problems(site(body)) == [said]


def test_a_style_sheet_that_fetches(check, site):
    root = site("")
    (root / "site.css").write_text("@import 'https://fonts.example/a.css'; b { background: url(//cdn.example/b.png) }")
    assert check.problems(root) == [
        "site.css: fetched from elsewhere: https://fonts.example/a.css",
        "site.css: fetched from elsewhere: //cdn.example/b.png",
    ]
