"""`hf-ctkd evaluate`: a finished student on labelled rows."""

from typing import Any

from accelerate import PartialState
from transformers.utils.logging import get_logger

from hf_ctkd.cli.arguments import EvaluateArguments, ParsedCommand
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.outputs import check_folder, claim_folder
from hf_ctkd.errors import DatasetError
from hf_ctkd.evaluation import EvaluationSettings, evaluate_student
from hf_ctkd.evaluation.columns import trained_columns

logger = get_logger(__name__)


def run(parsed: ParsedCommand[EvaluateArguments]) -> dict[str, Any] | None:
    """Evaluate, print, and only then write; gives the evaluation."""
    arguments, student = parsed.arguments, parsed.positionals["student"]
    _check(arguments, student)
    rows = Rows(arguments.dataset, arguments.dataset_config, seed=arguments.seed)
    split = arguments.split or rows.evaluation_split("") or _only_split(rows)
    options = load_options(arguments, token=arguments.token)
    trained = None if arguments.label_column is not None else trained_columns(student, token=options.token)
    evaluation = evaluate_student(
        student,
        rows.load(split, label_column=arguments.label_column if trained is None else trained.label),
        teacher=arguments.teacher,
        baseline=arguments.baseline,
        settings=EvaluationSettings(
            input_column=arguments.input_column,
            label_column=arguments.label_column,
            skip_bad_rows=arguments.skip_bad_rows,
            metrics=arguments.metrics,
            bootstrap_resamples=arguments.bootstrap_resamples,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
        ),
        options=options,
    )
    main_process = PartialState().is_main_process
    if main_process:
        print(evaluation)
        if arguments.output is not None:
            claim_folder(arguments.output, "--output", command="evaluate", overwrite=arguments.overwrite)
            folder = evaluation.save(arguments.output)
            print(f"\nRecord, tables and figures: {folder}")
    PartialState().destroy_process_group()
    return evaluation.to_dict() if main_process else None


def _check(arguments: EvaluateArguments, student: str) -> None:
    if arguments.output is not None:
        inputs = [("STUDENT", student), ("--dataset", arguments.dataset), ("--baseline", arguments.baseline)]
        check_folder(arguments.output, "--output", command="evaluate", overwrite=arguments.overwrite, inputs=inputs)


def _only_split(rows: Rows) -> str:
    """The single split of a data set without test and validation rows, which a line of the log names.

    Raises:
        DatasetError: if there are several.
    """
    names = rows.split_names
    if len(names) != 1:
        raise DatasetError(f"`--split` must name one of {', '.join(names)}; none of them is a test split.")
    logger.warning(
        f"There are no test rows: the student is evaluated on the split {names[0]}. If it was trained on these rows, "
        "the figures are too high: name others with `--dataset` or `--split`."
    )
    return names[0]
