"""Pages of the reference: every public name of the library, by folder, and every command."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import hf_ctkd
from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.help import help_text

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = {
    "selection": "Choose teachers",
    "hub": "The Hub and folders",
    "index": "Index of teachers",
    "training": "Train",
    "evaluation": "Evaluate and predict",
    "losses": "Losses",
    "metrics": "Metrics",
    "costs": "Label costs",
    "tasks": "Kinds of student",
    "teachers": "Teachers and their outputs",
    "probes": "Linear probes",
    "generic": "Generic teachers",
    "cards": "Cards and publishing",
    "records": "Records",
    "ot": "Optimal transport",
    "data": "Rows",
    "types": "Types",
    "errors": "Errors",
    "testing": "Contracts for your own methods",
}
"""Module of `hf_ctkd` -> title of its page; `mkdocs.yml` has its place in the navigation."""


def public_names(module: str) -> list[str]:
    """What a module offers: its `__all__`, or for a file without one its own classes and functions.

    Args:
        module: a key of `FOLDERS`.
    """
    loaded = import_module(f"hf_ctkd.{module}")
    exported = vars(loaded).get("__all__")
    return sorted(exported, key=str.lower) if exported is not None else _defined(Path(str(loaded.__file__)))


def _defined(source: Path) -> list[str]:
    body = ast.parse(source.read_text(encoding="utf-8")).body
    names = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]


def page(module: str) -> str:
    """The page of a module, in Markdown.

    Args:
        module: a key of `FOLDERS`.
    """
    blocks = [f"::: hf_ctkd.{module}.{name}" for name in public_names(module)]
    summary = (import_module(f"hf_ctkd.{module}").__doc__ or "").partition("\n\n")[0]
    return "\n\n".join([f"# {FOLDERS[module]}", f"`hf_ctkd.{module}`. {summary}", *blocks]) + "\n"


def pages() -> dict[str, str]:
    """Path in the site -> Markdown of every page of the reference."""
    folders = {f"reference/{module}.md": page(module) for module in FOLDERS}
    return {**folders, "reference/overview.md": overview(), "reference/commands.md": commands()}


def overview() -> str:
    """The first page of the reference: what `import hf_ctkd` offers, each with its first sentence."""
    lines = ["# Reference", "", "Names that `hf_ctkd` itself offers; each folder's page has the rest.", ""]
    lines += ["| name | what it is |", "|---|---|"]
    folders = {name: module for module in FOLDERS for name in public_names(module)}
    for name in hf_ctkd.__all__:
        if name == "__version__":
            lines.append("| `__version__` | The version of the library. |")
            continue
        address = f"{folders[name]}.md#hf_ctkd.{folders[name]}.{name}"
        lines.append(f"| [`{name}`]({address}) | {first_sentence(getattr(hf_ctkd, name))} |")
    return "\n".join(lines) + "\n"


def first_sentence(documented: object) -> str:
    """The first paragraph of a docstring, fit for a cell of a table."""
    return in_cell((inspect.getdoc(documented) or "").partition("\n\n")[0])


def in_cell(text: str) -> str:
    """A text on one line, its bars escaped; within code, Markdown takes a bar and its backslash as they stand."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("|", "\\|") for number, part in enumerate(parts))


def commands() -> str:
    """The help of every command."""
    blocks = [f"## {name}\n\n```text\n{help_text(name, command).strip()}\n```" for name, command in COMMANDS.items()]
    introduction = (
        "`hf-ctkd COMMAND --help` prints these pages. Commands that train also take every flag of "
        "`transformers.TrainingArguments`, which `--help-all` lists, and `--config file.yaml` reads flags from a file."
    )
    return "\n\n".join(["# Commands", introduction, *blocks]) + "\n"
