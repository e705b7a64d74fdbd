import pytest

from hf_ctkd.testing.promise import expect, present


def test_a_broken_promise_is_named():
    expect(True, "must hold")
    with pytest.raises(AssertionError, match="must hold"):
        expect(False, "must hold")


def test_what_is_missing_is_named():
    assert present(0, "must be there") == 0
    with pytest.raises(AssertionError, match="must be there"):
        present(None, "must be there")
