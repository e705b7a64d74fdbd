import subprocess
import sys

import pytest

from hf_ctkd import __version__


@pytest.mark.parametrize(("word", "code"), [("--version", 0), ("rank", 2)])
def test_the_package_runs_as_its_command(word, code):
    done = subprocess.run([sys.executable, "-m", "hf_ctkd", word], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (f"hf_ctkd {__version__}" if code == 0 else "there is no command 'rank'") in done.stdout + done.stderr
