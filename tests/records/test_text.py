import doctest

import pytest

from hf_ctkd.records import drawable, parameter_count, parameters_in_words, text, text_table, without_folder


def test_examples_in_docstrings():
    result = doctest.testmod(text)
    assert result.attempted > 0 and result.failed == 0


def test_a_folder_is_found_under_either_of_its_names(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    message = f"neither {tmp_path / 'link'}/a nor {real}/a"
    assert without_folder(message, tmp_path / "link", "org/x") == "neither org/x/a nor org/x/a"


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


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["1", "-", "-2.5", "1.2M"], True),
        (["+5", "12.5"], True),
        (["1", "unknown"], False),
        (["-", "-x"], False),
        (["1", ""], False),
    ],
)
def test_a_column_is_numeric_when_every_cell_is(cells, right):
    first = text_table(["a wide header"], [[cell] for cell in cells]).splitlines()[1]
    assert first.startswith(" ") == right


@pytest.mark.parametrize(
    ("parameters", "text"), [(None, "unknown"), (999, "999"), (78_000, "78k"), (22_700_000, "22.7M"), (1.5e9, "1.5B")]
)
def test_numbers_of_parameters_are_short(parameters, text):
    assert parameter_count(parameters and int(parameters)) == text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [(None, "unknown"), (0, "0"), (999_999, "999,999"), (1_000_000, "1 million"), (7_100_000_000, "7.1 billion")],
)
def test_parameters_in_words(parameters, words):
    assert parameters_in_words(parameters) == words
