"""Predictions of a student for rows without labels."""

from pathlib import Path

import datasets
import numpy as np
from accelerate import Accelerator

from hf_ctkd.data import TargetRows
from hf_ctkd.data.columns import InputColumn, find_inputs
from hf_ctkd.data.rows import require_rows
from hf_ctkd.evaluation.columns import trained_columns
from hf_ctkd.evaluation.decisions import Decisions
from hf_ctkd.evaluation.models import TrainedModel, modality_of
from hf_ctkd.teachers import LoadOptions

SCORE_PREFIX = "score_"


def predict(
    student: str | Path,
    dataset: datasets.Dataset,
    *,
    input_column: InputColumn | None = None,
    all_scores: bool = False,
    batch_size: int = 64,
    options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
) -> datasets.Dataset:
    """Label and score of every row, in the order of the rows.

    Use it for many rows that need no labels. For single rows `transformers.pipeline` opens the student as well, and
    for the metrics of labelled rows use `evaluate_student`.

    Args:
        student: folder or id on the Hub, with a head for one class a row, several, or a number.
        dataset: one split with raw images or texts.
        input_column: column of images or texts, or two columns of texts; when None, those that the student was trained
            on, and for one without a record of that chosen by types and usual names.
        all_scores: also a column `score_CLASS` for the probability of every class.
        batch_size: rows of a forward pass, 1 or more; halved where memory is too small.
        options: how to fetch and load the student: safetensors only and no remote code unless they say so.

    Returns:
        Columns `label` (the class; several have "; " between them) and `score` (its probability, or that of the
        likeliest class of several). A student that estimates a number gives `score` alone.

    Raises:
        InvalidArgumentError: a student that cannot be loaded or has no head.
        DatasetError: rows that cannot be read.

    Example:
        >>> predictions = predict("image-student", flowers["test"])  # doctest: +SKIP
        >>> predictions[0]  # doctest: +SKIP
        {'label': 'daisy', 'score': 0.97}
    """
    require_rows(dataset)
    if input_column is None:
        trained = trained_columns(student, token=options.token)
        input_column = None if trained is None else trained.inputs_in(dataset.features)
    columns = find_inputs(dataset.features, input_column)
    accelerator = Accelerator()
    modality = modality_of(dataset.features, columns)
    model = TrainedModel(student, modality, "student", accelerator=accelerator, options=options)
    # A column of this name cannot hold the inputs too, and labels are not read.
    rows = TargetRows.with_raw_labels(
        dataset.select_columns(list(columns)), model.label_space, label_column="", input_column=columns, prediction=True
    )
    decisions = Decisions.of(model.logits(rows, batch_size=batch_size), model.problem, model.label_space.names)
    values: dict[str, list | np.ndarray] = {} if model.problem == "regression" else {"label": list(decisions.labels)}
    values["score"] = decisions.scores
    if all_scores and model.problem != "regression":
        names = model.label_space.names
        values |= {f"{SCORE_PREFIX}{name}": decisions.all_scores[:, number] for number, name in enumerate(names)}
    return datasets.Dataset.from_dict(values)
