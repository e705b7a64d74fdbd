"""`py.typed` holds from outside: a small program of a user passes mypy, and its mistakes do not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typed"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_program_is_checked_against_our_types(tmp_path):
    pytest.importorskip("mypy")
    # Not this repository's settings, but those of a strict user; what other libraries lack is not our matter.
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports"]
    command += ["--config-file", "", "--cache-dir", str(tmp_path), "--disable-error-code", "no-untyped-call"]
    root = FOLDER.parents[1]
    done = subprocess.run(
        [*command, FOLDER / "program.py", FOLDER / "wrong.py"], cwd=root, capture_output=True, text=True, timeout=580
    )
    noticed = re.findall(r"wrong.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    lines = enumerate((FOLDER / "wrong.py").read_text().splitlines(), start=1)
    expected = [(str(number), line.rpartition("# ")[2]) for number, line in lines if "  # " in line]
    assert noticed == expected, done.stdout
    assert "program.py" not in done.stdout, done.stdout
