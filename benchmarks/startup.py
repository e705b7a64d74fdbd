"""How long `import hf_ctkd` and `--help` of every command take, each in a fresh process.

python -m benchmarks.startup            # writes the table into benchmarks/RESULTS.md
python -m benchmarks.startup --print    # prints it only
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hf_ctkd.cli.arguments import COMMANDS

RESULTS = Path(__file__).parent / "RESULTS.md"
MARKS = ("<!-- startup:begin -->", "<!-- startup:end -->")
REPEATS = 5


def measured(words: Sequence[str]) -> tuple[float, float]:
    """Median seconds on the clock and of the processor."""
    clock, processor = [], []
    for _ in range(REPEATS):
        before, start = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        clock.append(time.perf_counter() - start)
        spent = (after.children_user - before.children_user) + (after.children_system - before.children_system)
        processor.append(spent)
    return statistics.median(clock), statistics.median(processor)


def table() -> str:
    """The measurements as Markdown."""
    cases = {"`python -c pass`": ["-c", "pass"], "`import hf_ctkd`": ["-c", "import hf_ctkd"]}
    cases["`hf-ctkd --help`"] = ["-m", "hf_ctkd", "--help"]
    for name in COMMANDS:
        cases[f"`hf-ctkd {name} --help`"] = ["-m", "hf_ctkd", name, "--help"]
    lines = ["| | clock | processor |", "|---|---|---|"]
    for name, words in cases.items():
        clock, processor = measured(words)
        lines.append(f"| {name} | {clock:.2f} s | {processor:.2f} s |")
    load = os.getloadavg()[0]
    lines.append(
        f"\nMedian of {REPEATS} fresh processes on Python {sys.version.split()[0]} with {os.cpu_count()} cores; load "
        f"average {load:.1f}, so read the processor's time on a busy machine."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="write nothing")
    only_print = parser.parse_args().print
    text = table()
    print(text)
    if not only_print:
        begin, end = MARKS
        block = f"{begin}\n{text}\n{end}"
        RESULTS.write_text(
            re.sub(f"{begin}.*?{end}", lambda _: block, RESULTS.read_text(encoding="utf-8"), flags=re.DOTALL),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
