import pytest

from hf_ctkd.records import drawable


def test_an_ordinary_name_stays():
    assert drawable("google/vit-base") == "google/vit-base"


def test_mathematics_is_not_set():
    assert drawable("a $x$") == r"a \$x\$"


def test_long_names_lose_their_middle():
    assert drawable("x" * 30 + "y" * 30, 11) == "xxxxx…yyyyy"


@pytest.mark.parametrize(("name", "shown"), [("a狗", "a?"), ("狗狗a", "class 3"), ("", "")])
def test_characters_that_the_font_lacks(name, shown):
    assert drawable(name, otherwise="class 3") == shown


def test_one_line():
    assert drawable("a\n\tb") == "a b"
