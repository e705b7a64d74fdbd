"""What the scripts of the guides print, for their pages: `python -m docs.generate.outputs` runs them and writes it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.generate.code import ROOT

GUIDES = ROOT / "docs" / "guides"
OUTPUTS = GUIDES / "outputs"
PREPARE = "prepare"
IN_ORDER = (
    "choose_a_teacher",
    "distil_images",
    "evaluate_a_student",
    "distil_texts",
    "few_labels",
    "lora",
    "several_teachers",
    "targets",
)
"""The scripts after `prepare`, in an order in which each finds what it reads."""
_LOG = re.compile(r"^\{'\w+': '.*\}$")
_SECONDS = 900


def run(name: str, folder: Path, cache: Path) -> str:
    """Run one script of the guides, and give what it prints without the trainer's log and the folder's own path.

    Args:
        name: of the script, without its ending.
        folder: in which it runs; empty before `prepare`.
        cache: folder of what can be computed again.

    Raises:
        RuntimeError: if the script fails, with the end of what it wrote on stderr.
    """
    # One thread: two that share a core with other work wait for each other.
    own = {"PYTHONPATH": str(ROOT), "HF_CTKD_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, GUIDES / f"{name}.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **own},
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name}.py failed:\n{done.stderr[-3000:]}")
    lines = done.stdout.replace(f"{folder.resolve()}/", "").splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip() and not _LOG.match(line))


def block(name: str) -> str:
    """A fenced block with what a script printed when this was last written.

    Args:
        name: of the script, without its ending.
    """
    return f"```text\n{(OUTPUTS / f'{name}.txt').read_text(encoding='utf-8').strip()}\n```"


def main() -> None:
    """Run all scripts in one new folder, and write what each printed."""
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        for name in (PREPARE, *IN_ORDER):
            printed = run(name, Path(folder), Path(cache))
            if printed:
                (OUTPUTS / f"{name}.txt").write_text(f"{printed}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
