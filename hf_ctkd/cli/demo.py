"""`hf-ctkd demo`: the main job on built-in data, with no network, no accelerator and no account."""

import argparse
import re
import time
from pathlib import Path

from hf_ctkd.cli.arguments import add_flag, new_parser
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import write_text

_MARKS = ("<!-- demo:begin -->", "<!-- demo:end -->")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The flags."""
    parser = new_parser(prog, "Do the whole job on built-in data: rank teachers, distill, publish to a folder.")
    parser.usage = f"{prog} [flags]"
    add_flag(parser, "folder", default="demo", help="where students and cards go (default: demo)")
    add_flag(
        parser,
        "modality",
        nargs="+",
        choices=("image", "text"),
        default=["image", "text"],
        help="what to run (default: both)",
    )
    add_flag(parser, "readme", help="also write the closing table into this file, between its demo marks")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run the demo and print what came out."""
    from hf_ctkd.demo.run import run_demo

    start = time.perf_counter()
    results = run_demo(arguments.folder, modalities=arguments.modality, say=print)
    for result in results:
        print(f"\n{result}")
    print()
    for result in results:
        print(f"{result.plan.modality} student   {result.folder}")
        print(f"  card          {result.folder / 'README.md'}")
        for figure in sorted((result.folder / "figures").glob("*.png")):
            print(f"  {figure.stem.replace('_', ' '):13} {figure}")
    print(f"\n{time.perf_counter() - start:.0f} seconds")
    if arguments.readme:
        _into_readme(Path(arguments.readme), "\n\n".join(str(result) for result in results))


def what_is_kept(arguments: argparse.Namespace) -> str:
    """What an interrupted run leaves behind."""
    return "Teachers trained so far and their outputs are kept. Run it again to go on."


def _into_readme(path: Path, table: str) -> None:
    begin, end = _MARKS
    text = path.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise InvalidArgumentError(
            f"`--readme` {path} must hold the marks {begin} and {end}; put them where the table goes."
        )
    block = f"{begin}\n```text\n{table}\n```\n{end}"
    write_text(path, re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.S))
