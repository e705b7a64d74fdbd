import doctest

import pytest
from accelerate import Accelerator

from hf_ctkd.errors import DatasetError
from hf_ctkd.teachers import on_all, on_main, processes


def fail():
    raise DatasetError("row 3")


def test_examples():
    assert doctest.testmod(processes).failed == 0


def test_alone_the_work_is_simply_done():
    assert on_main(Accelerator(), lambda: 3) == 3
    assert on_all(Accelerator(), lambda: 3) == [3]
    for together in (on_main, on_all):
        with pytest.raises(DatasetError, match="row 3"):
            together(Accelerator(), fail)
        with pytest.raises(ZeroDivisionError):
            together(Accelerator(), lambda: 1 / 0)
