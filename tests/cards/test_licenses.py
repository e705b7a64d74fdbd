import doctest

import pytest

from hf_ctkd.cards import licenses
from hf_ctkd.cards.licenses import Restriction, most_restrictive, restriction


def test_examples():
    result = doctest.testmod(licenses)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_order_of_kinds():
    ordered = ["mit", "mpl-2.0", "gpl-3.0", "llama3", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "other"]
    assert [restriction(license) for license in ordered] == sorted(Restriction)
    assert restriction(None) is Restriction.UNKNOWN


def test_no_identifier_stands_in_two_kinds():
    names = [name for kind in licenses._BY_RESTRICTION.values() for name in kind.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("found", "license", "models"),
    [
        ([("a", "mit"), ("b", "gpl-3.0"), ("c", "apache-2.0")], "gpl-3.0", ("b",)),
        ([("a", "Apache-2.0 "), ("b", "apache-2.0")], "apache-2.0", ("a", "b")),
        ([("a", "cc-by-nc-4.0"), ("b", None), ("c", "my-own")], None, ("b",)),
        ([("a", "unknown"), ("b", "")], None, ("a", "b")),
        ([("a", "my-own"), ("b", "cc-by-nc-4.0")], "my-own", ("a",)),
    ],
)
def test_the_most_restrictive_binds(found, license, models):
    binding = most_restrictive(found)
    assert binding.license == license
    assert binding.models == models


def test_no_statement_is_said_as_such():
    binding = most_restrictive([("a", None)])
    assert binding.name == "not stated: ask the authors"
    assert binding.meaning == "without a licence, no use is permitted"
    assert not binding.known


def test_nothing_binds_what_was_made_from_nothing():
    assert most_restrictive([]) is None


def test_a_model_that_is_student_and_teacher_is_named_once():
    assert most_restrictive([("org/model", None), ("org/model", None)]).models == ("org/model",)
