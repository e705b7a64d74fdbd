import doctest

import pytest
import yaml

from hf_ctkd.cards import markdown
from hf_ctkd.cards.markdown import escape, fence, listing, number, plain, setting, slug, table, with_interval
from hf_ctkd.records import Confidence


def test_examples():
    result = doctest.testmod(markdown)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_line_without_control_characters():
    assert plain("a\nb\r\n c\t\u202ed\ud800\x00") == "a b c d"
    assert plain("می‌خواهم") == "می‌خواهم", "scripts that need a joiner keep it"
    assert plain("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("`x`", r"\`x\`"),
        ("![x](http://y)", r"!\[x\](http\://y)"),
        ("_emphasis_ and snake_case", r"\_emphasis\_ and snake_case"),
        ("# heading", r"\# heading"),
        ("heading ##", r"heading \##"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("a &lt; b", "a &amp;lt; b"),
        ("$x$", r"\$x\$"),
        ("www.example.org", r"www\.example.org"),
        ("resnet-18.a1_in1k", "resnet-18.a1_in1k"),
    ],
)
def test_names_are_shown_as_they_are(name, shown):
    assert escape(name) == shown


def test_a_fence_is_longer_than_any_run_of_backticks_within():
    block = fence("a\n````\n# not a heading\n````\nb\x00", "bash")
    assert block.startswith("`````bash\n")
    assert block.endswith("\n`````")
    assert block.splitlines()[-2] == "b"


def test_a_table_has_a_dash_where_nothing_is_known():
    assert table(["a", "b"], [["1", ""]]) == "| a | b |\n| --- | --- |\n| 1 | - |"


def test_a_listing_says_how_many_more():
    assert listing(["a", "b|"]) == r"a, b\|"
    assert listing([str(i) for i in range(12)]).endswith("9 and 2 more")


def test_an_interval_without_a_width_is_none():
    assert with_interval(Confidence(0.0, 0.0, 0.0), sign=True) == "+0.000"


def test_numbers():
    assert [number(v) for v in (0.91234, -3.0, 1.2e6, 2e-5, 0.0, None)] == [
        "0.912",
        "-3.000",
        "1.20e+06",
        "2.00e-05",
        "0.000",
        "-",
    ]
    assert number(0.1, sign=True) == "+0.100" and number(-2.04e-08) == "0.000"


def test_settings_of_any_type():
    assert setting({"a": [1, None]}) == r'{"a": \[1, null\]}'
    assert setting(object).startswith('"&lt;class')
    assert setting("text") == "text"


def test_a_slug_needs_no_quotes_in_yaml():
    for name in ("My Metric: {x}", "../..", "", "狗", "a\nb: c"):
        assert isinstance(yaml.safe_load(f"key: {slug(name)}")["key"], str)
    assert slug("F1 (macro)") == "f1-macro"
