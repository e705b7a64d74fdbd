"""A Space that searches an index of teachers by the names of classes. See README.md."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hf_ctkd.errors import CTKDError, InvalidArgumentError
from hf_ctkd.index import TeacherFilter, TeacherIndex, encoder_named
from hf_ctkd.index.table import HEADER, table_row

INDEX = os.environ.get("TEACHER_INDEX", "teachers-index")
"""A folder that `hf-ctkd index build` wrote, or the id of a data set that `hf-ctkd index push` pushed."""
ENCODER = os.environ.get("TEACHER_ENCODER", "spelling")
ANY = "any"
MOST_NAMES, LONGEST_NAME, MOST_TEACHERS = 500, 100, 100
"""Bounds to what a visitor may ask for."""
SHOWN_NAMES = 8


def load_index(source: str, encoder: str = ENCODER) -> TeacherIndex:
    """The index in a folder, or else of a data set on the Hub."""
    if Path(source).is_dir():
        return TeacherIndex.load(source, encoder=encoder_named(encoder))
    return TeacherIndex.from_hub(source, encoder=encoder_named(encoder))


def names_in(text: str) -> list[str]:
    """Names of classes from what a visitor typed: one a line, or separated by commas or semicolons."""
    names = [" ".join(name.split()) for name in re.split(r"[\n,;]", text)]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise InvalidArgumentError("Type the names of your classes, such as: cat, dog, traffic light.")
    if len(names) > MOST_NAMES or max(map(len, names)) > LONGEST_NAME:
        raise InvalidArgumentError(
            f"At most {MOST_NAMES} names of at most {LONGEST_NAME} characters. Type the most telling ones."
        )
    return names


def find(
    index: TeacherIndex, text: str, task: str = ANY, license: str = ANY, max_millions: float = 0, count: float = 20
) -> list[list[str]]:
    """One line a teacher, best first, with the columns of `HEADER`; 0 millions for no bound on the size."""
    conditions = TeacherFilter(
        task=None if task == ANY else task,
        license=None if license == ANY else license,
        max_parameters=1e6 * max_millions if max_millions else None,
    )
    k = min(int(count), MOST_TEACHERS)
    return [
        table_row(teacher, cost, names=SHOWN_NAMES)
        for teacher, cost in index.search_with_costs(names_in(text), conditions, k=k)
    ]


def command_for(lines: Sequence[Sequence[str]]) -> str:
    """The command that ranks the first of these teachers on the visitor's own rows."""
    teachers = " ".join(line[1] for line in lines[:5] if re.fullmatch(r"[\w./-]+", line[1]))
    return f"hf-ctkd select --dataset DATASET --teachers {teachers}" if teachers else ""


def choices(index: TeacherIndex, field: str, most: int = 30) -> list[str]:
    """The most frequent values of a field, for a menu."""
    counts: dict[str, int] = {}
    for teacher in index.teachers:
        value = {"task": teacher.task, "license": teacher.license}[field]
        if value:
            counts[value] = counts.get(value, 0) + 1
    return [ANY, *sorted(counts, key=lambda value: (-counts[value], value))[:most]]


def app(index: TeacherIndex):  # noqa: ANN201 (gradio is imported here alone, so that the rest is tested without it)
    """The page."""
    import gradio as gr

    def answer(text: str, task: str, license: str, max_millions: float, count: float) -> tuple[list[list[str]], str]:
        try:
            lines = find(index, text, task, license, max_millions, count)
        except CTKDError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return lines, command_for(lines)

    with gr.Blocks(title="Which teacher?") as page:
        gr.Markdown(
            "# Which teacher knows classes like yours?\n"
            f"{len(index):,} models, searched by the names of their classes; nothing is downloaded. Cost 0 means "
            "the same classes, 1 unrelated ones. Rank the best on your own rows before you distil from one."
        )
        names = gr.Textbox(label="Names of your classes, by line or comma", lines=4, value="cat, dog, cow")
        with gr.Row():
            task = gr.Dropdown(choices(index, "task"), value=ANY, label="task")
            license = gr.Dropdown(choices(index, "license"), value=ANY, label="licence")
            size = gr.Number(0, label="largest size in millions of parameters, 0 for any", minimum=0)
            count = gr.Slider(5, MOST_TEACHERS, value=20, step=5, label="teachers")
        button = gr.Button("Search", variant="primary")
        # `str` columns: the default may render what a name holds as Markdown or HTML.
        table = gr.Dataframe(headers=list(HEADER), datatype=["str"] * len(HEADER), wrap=True, interactive=False)
        command = gr.Code(label="Next: rank them on your rows", language="shell")
        inputs = [names, task, license, size, count]
        gr.on([button.click, names.submit], answer, inputs, [table, command])
    return page


if __name__ == "__main__":
    app(load_index(INDEX)).launch()
