"""Writes the pages of the site into `build/docs`, from which MkDocs builds it: `python -m docs.generate`.

A line `<!-- fill: NAME -->` of a page in `docs/` is replaced by what `docs.generate.fills` has under that name, a line
`<!-- code: PATH -->` by that file, `<!-- code: PATH#NAME -->` by one function or class of it, and
`<!-- output: NAME -->` by what the guide's script of that name printed (`docs.generate.outputs`). The pages are plain
Markdown before the site's generator sees them, so that it can be exchanged.
"""

import re
import shutil

from docs.generate import code, fills, outputs, reference

TARGET = code.ROOT / "build" / "docs"
_WRITERS = {"fill": fills.fill, "code": code.block, "output": outputs.block}
_MARK = re.compile(rf"^<!-- ({'|'.join(_WRITERS)}): (\S+) -->$", re.MULTILINE)
_COPIED = {".css", ".svg", ".png"}


def filled(markdown: str) -> str:
    """A page with its marked places filled.

    Args:
        markdown: the page as it is in `docs/`.
    """
    return _MARK.sub(lambda mark: _WRITERS[mark[1]](mark[2]), markdown)


def pages() -> dict[str, str]:
    """Path in the site -> Markdown of every page."""
    source = code.ROOT / "docs"
    written = {str(path.relative_to(source)): filled(path.read_text(encoding="utf-8")) for path in source.rglob("*.md")}
    results = (code.ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    _, _, tables = results.partition("\n")  # its title speaks of the folder that it lies in
    return {**written, **reference.pages(), "results.md": f"# Results\n{tables}"}


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    for name, text in pages().items():
        (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / name).write_text(text, encoding="utf-8")
    for path in (code.ROOT / "docs").iterdir():
        if path.suffix in _COPIED:
            shutil.copy(path, TARGET / path.name)
    shutil.copytree(code.ROOT / "benchmarks" / "figures", TARGET / "figures")


if __name__ == "__main__":
    main()
