"""`hf-ctkd predict`: labels and scores of a student for files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
from datasets import Dataset, Image
from PIL import Image as PILImage

from hf_ctkd.cli.arguments import ParsedCommand, PredictArguments
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.outputs import check_new_file, claim_new_file
from hf_ctkd.data.columns import find_inputs
from hf_ctkd.data.images import UNDECODABLE
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.evaluation import predict
from hf_ctkd.evaluation.columns import TrainedColumns, trained_columns
from hf_ctkd.records import write_bytes

_TABLES = (".csv", ".parquet", ".json", ".jsonl")
_OUTPUTS = (".csv", ".parquet")


def run(parsed: ParsedCommand[PredictArguments]) -> dict[str, object]:
    """Read all files, predict, and only then write."""
    arguments, output = parsed.arguments, Path(parsed.arguments.output)
    if output.suffix not in _OUTPUTS:
        raise InvalidArgumentError(f"`--output` {arguments.output!r} must end in {' or '.join(_OUTPUTS)}.")
    if arguments.batch_size < 1:
        raise InvalidArgumentError(f"`--batch_size` must be 1 or more, got {arguments.batch_size}.")
    check_new_file(output, "--output", overwrite=arguments.overwrite)
    student, options = parsed.positionals["student"], load_options(arguments, token=arguments.token)
    rows = _rows_of(parsed.repeated, arguments.input_column, lambda: trained_columns(student, token=options.token))
    predictions = predict(
        student,
        rows.remove_columns(["file", "row"]),
        input_column=rows.column_names[2:],  # in the order in which a pair is read
        all_scores=arguments.all_scores,
        batch_size=arguments.batch_size,
        options=options,
    )
    table = datasets.concatenate_datasets([rows.select_columns(["file", "row"]), predictions], axis=1)
    claim_new_file(output, "--output", overwrite=arguments.overwrite)
    _write(table, output)
    print(f"Predictions for {len(table):,} rows: {output}")
    return {"output": str(output), "rows": len(table)}


def _rows_of(
    files: Sequence[str], input_column: Sequence[str] | None, trained: Callable[[], TrainedColumns | None]
) -> Dataset:
    """One row for each image, line or row of a table, with its file and its number there, from 0.

    Args:
        files: their names.
        input_column: of tables; None for the columns that the student was trained on.
        trained: looks these up.

    Raises:
        DatasetError: naming the file that cannot be read, or files of different kinds.
        InvalidArgumentError: if columns are named for files that have none.
    """
    paths = [Path(name) for name in files]
    for path in paths:
        if not path.is_file():
            what = "is a folder: name the files in it" if path.is_dir() else "does not exist. Check the spelling"
            raise DatasetError(f"`FILES`: {path} {what}.")
    kinds = {"table" if path.suffix in _TABLES else "text" if path.suffix == ".txt" else "image" for path in paths}
    if len(kinds) > 1:
        raise DatasetError(f"`FILES` must be of one kind, got {' and '.join(sorted(kinds))} files. Predict each alone.")
    if input_column is not None and kinds != {"table"}:
        raise InvalidArgumentError(
            f"`--input_column` names columns of tables, but `FILES` are {kinds.pop()} files. Leave it out."
        )
    if kinds == {"image"}:
        return _images(paths)
    if kinds == {"text"}:
        parts = [_lines(path) for path in paths]
    else:
        columns = trained() if input_column is None else None
        parts = [_table(path, input_column, columns) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.features != parts[0].features:
            raise DatasetError(f"`FILES`: {path} has other columns than {paths[0]}. Predict each alone.")
    return datasets.concatenate_datasets(parts)


def _images(paths: Sequence[Path]) -> Dataset:
    for path in paths:
        try:
            with PILImage.open(path) as image:
                image.verify()
        except UNDECODABLE as error:
            raise DatasetError(
                f"`FILES`: {path} is no image that can be read. Name images, .txt files or tables "
                f"({', '.join(_TABLES)})."
            ) from error
    names = [str(path) for path in paths]
    rows = Dataset.from_dict({"file": names, "row": [0] * len(names), "image": names})
    return rows.cast_column("image", Image())


def _lines(path: Path) -> Dataset:
    try:
        # Not `str.splitlines`, which also cuts at separators such as U+2028. Some editors write a byte order mark.
        with path.open(encoding="utf-8-sig") as file:
            lines = [line.removesuffix("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"`FILES`: {path} cannot be read as UTF-8 text: {error}. Check the file.") from error
    if not lines:
        raise DatasetError(f"`FILES`: {path} is empty. Write one text on each line.")
    empty = next((number for number, line in enumerate(lines) if not line.strip()), None)
    if empty is not None:
        raise DatasetError(f"`FILES`: line {empty + 1} of {path} is empty. Write one text on each line.")
    return _numbered(Dataset.from_dict({"text": lines}), path)


def _table(path: Path, input_column: Sequence[str] | None, trained: TrainedColumns | None) -> Dataset:
    rows = Rows(str(path), flag="FILES").load("train")
    columns = find_inputs(rows.features, input_column if trained is None else trained.inputs_in(rows.features))
    return _numbered(rows.select_columns(list(columns)), path)


def _numbered(rows: Dataset, path: Path) -> Dataset:
    clash = {"file", "row"} & set(rows.column_names)
    if clash:
        raise DatasetError(f"`FILES`: {path} has its input in {min(clash)!r}, a name of the output. Rename it.")
    numbers = Dataset.from_dict({"file": [str(path)] * len(rows), "row": list(range(len(rows)))})
    return datasets.concatenate_datasets([numbers, rows], axis=1)


def _write(table: Dataset, output: Path) -> None:
    content = io.BytesIO()
    if output.suffix == ".csv":
        table.to_csv(content)
    else:
        table.to_parquet(content)
    write_bytes(output, content.getvalue())
