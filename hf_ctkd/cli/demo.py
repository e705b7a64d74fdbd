"""`hf-ctkd demo`: the main job on built-in data, with no network, no accelerator and no account."""

import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hf_ctkd.cli.arguments import DemoArguments, ParsedCommand
from hf_ctkd.cli.outputs import claim_folder
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import write_text

if TYPE_CHECKING:
    from hf_ctkd.demo.run import DemoResult

Modality = Literal["image", "text"]
"""Of `--modality`; `HfArgumentParser` takes no list of literals, so its choices are checked as strings."""

_MARKS = ("<!-- demo:begin -->", "<!-- demo:end -->")


def run(parsed: ParsedCommand[DemoArguments]) -> dict[str, Any]:
    """Run the demo and print its results."""
    from hf_ctkd.demo.pretrained import INSTALL, encoder_folder
    from hf_ctkd.demo.run import REPORT, run_demo

    arguments = parsed.arguments
    claim_folder(arguments.folder, "--folder", command="demo", overwrite=arguments.overwrite)
    if arguments.readme:
        _check_marks(Path(arguments.readme))
    start = time.perf_counter()
    modalities = cast(list[Modality], arguments.modality)
    results = run_demo(arguments.folder, modalities=modalities, report=print, progress=not arguments.quiet)
    for result in results:
        print(f"\n{result}")
    print()
    for result in results:
        print(f"{result.plan.name} student   {result.folder}")
        print(f"  card          {result.folder / 'README.md'}")
        for figure in sorted((result.folder / "figures").glob("*.png")):
            print(f"  {figure.stem.replace('_', ' '):13} {figure}")
    if "text" in arguments.modality and encoder_folder() is None:
        print(f"\nFor a part on a pretrained student and teacher (90 MB): {INSTALL}")
    print(f"\n{_cache_note({folder for result in results for folder in result.model_folders})}")
    print(f"\n{time.perf_counter() - start:.0f} seconds. All of it on one page: {Path(arguments.folder) / REPORT}")
    if arguments.readme:
        _into_readme(Path(arguments.readme).resolve(), "\n\n".join(str(result) for result in results))
    return {"page": str(Path(arguments.folder) / REPORT), "parts": [_as_json(result) for result in results]}


def _as_json(result: "DemoResult") -> dict[str, Any]:
    students = [asdict(student) for student in result.students]
    return {"name": result.plan.name, "folder": str(result.folder), "students": students}


def _cache_note(folders: Iterable[Path]) -> str:
    """Where the teachers of the demo are kept, and how to be rid of them."""
    folders = sorted(folders)
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return (
        f"Teachers are kept in {' and '.join(map(str, folders))} ({megabytes:.1f} MB) for the next run. Delete them "
        "to free the space, or set `HF_CTKD_CACHE` to keep them elsewhere."
    )


def _check_marks(path: Path) -> None:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not all(mark in text for mark in _MARKS):
        raise InvalidArgumentError(
            f"`--readme` {path} must be a file with the marks {' and '.join(_MARKS)}. Put them where the table goes."
        )


def _into_readme(path: Path, table: str) -> None:
    begin, end = _MARKS
    text = path.read_text(encoding="utf-8")
    block = f"{begin}\n```text\n{table}\n```\n{end}"
    write_text(path, re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.S))
