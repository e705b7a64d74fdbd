import pytest

from hf_ctkd.index.names import is_informative, plain_name


@pytest.mark.parametrize(
    ("name", "plain"),
    [("n02123045_tabbyCat", "tabby cat"), ("Persian_cat", "persian cat"), ("road-sign/stop", "road sign stop"),
     ("  big   DOG ", "big dog"), ("_", "_")],
)  # fmt: skip
def test_names_are_compared_without_codes_separators_and_capitals(name, plain):
    assert plain_name(name) == plain


def test_numbered_names_say_nothing():
    assert not any(map(is_informative, ("LABEL_0", "class 3", "12", "", " ")))
    assert all(map(is_informative, ("label maker", "7-eleven", "cat")))
