"""The flags of every command, as dataclasses that `transformers.HfArgumentParser` reads. Needs no torch.

A command's arguments are one flat dataclass. It inherits from the groups under which `--help` lists its flags.
"""

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from hf_ctkd.errors import InvalidArgumentError

Arguments = TypeVar("Arguments")


def flag(
    help: str,  # noqa: A002 (as argparse calls it)
    default: Any = MISSING,  # noqa: ANN401 (of the field's type)
    metavar: str | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:  # noqa: ANN401 (as `dataclasses.field`)
    """A field of a dataclass of arguments.

    Args:
        help: what the flag is for; after its name in `--help`.
        default: a list is copied; without a default the flag is required.
        metavar: what stands for its value in `--help`.
        choices: values that it may have.
    """
    metadata: dict[str, Any] = {"help": help.replace("%", "%%")}
    metadata |= {} if metavar is None else {"metavar": metavar}
    metadata |= {} if choices is None else {"choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class PrintingArguments:
    """What is shown; every command has these."""

    _argument_group_name = "printing"

    quiet: bool = flag("show no progress", False)
    json: bool = flag(
        "print one JSON object with what came of it, and nothing else; all other words go to standard error", False
    )


@dataclass(kw_only=True)
class RowArguments:
    """Which rows."""

    _argument_group_name = "rows"

    dataset: str = flag(
        "id on the Hub, a folder or file (images in folders named by class, parquet, csv, json, `save_to_disk`), or "
        "demo:NAME for built-in rows, such as demo:digits"
    )
    dataset_config: str | None = flag("configuration of a data set that has several", None)
    split: str = flag("rows to score or train on; rows without a label are distilled on, but not scored on", "train")
    labels: int = flag("rows that keep their label; for demo:NAME only", 50)


@dataclass(kw_only=True)
class OutputArguments:
    """What may be replaced."""

    _argument_group_name = "output"

    overwrite: bool = flag("write over files that this command did not write before", False)


@dataclass(kw_only=True)
class TokenArguments:
    """Who asks the Hub; commands that train have `hub_token` of `transformers.TrainingArguments` instead."""

    _argument_group_name = "access to the Hub"

    token: str | None = flag("access token of the Hub; the stored login or $HF_TOKEN if not given", None)


@dataclass(kw_only=True)
class HoldOutArguments:
    """Which rows students are evaluated on."""

    _argument_group_name = "rows"

    eval_split: str | None = flag(
        "rows to evaluate on; the test or else the validation rows if not given, or else a part of the training rows "
        "that is held out",
        None,
    )
    train_val_split: float = flag(
        "share of the labelled training rows that is held out where there are no rows to evaluate on; 0 for none", 0.2
    )


@dataclass(kw_only=True)
class EvaluationArguments(HoldOutArguments):
    """Which rows to evaluate on."""

    _argument_group_name = "rows"

    allow_overlap: bool = flag("also evaluate on rows that are trained on, instead of refusing them", False)


@dataclass(kw_only=True)
class ColumnArguments:
    """Which columns of the rows."""

    _argument_group_name = "rows"

    input_column: list[str] | None = flag(
        "column of images or texts, or two columns of texts that are read as a pair; chosen by types and usual names "
        "if not given",
        None,
        metavar="COLUMN",
    )
    label_column: str | None = flag("column of labels; chosen by its type if not given", None)
    skip_bad_rows: bool = flag("leave out rows that cannot be read, and classes with one row", False)


@dataclass(kw_only=True)
class LoadingArguments:
    """What may be loaded."""

    _argument_group_name = "loading models"

    allow_pickle: bool = flag("also load pickle weights, which run code when loaded", False)
    trust_remote_code: bool = flag("run model code that a repository brings along", False)
    max_bytes: float | None = flag("largest download of one teacher, in bytes, such as 2e9", None)
    timeout: float | None = flag(
        "most seconds to load and try one teacher in a process of its own, such as 300; no limit if not given", None
    )


@dataclass(kw_only=True)
class TeacherLoadingArguments(LoadingArguments):
    """How teachers are loaded, of which some get their classes from the rows."""

    _argument_group_name = "loading models"

    zero_shot_template: str = flag(
        "text of a class, with {} for its name, for teachers such as CLIP and SigLIP", "a photo of {}", "TEXT"
    )


@dataclass(kw_only=True)
class CandidateArguments:
    """Which teachers are ranked."""

    _argument_group_name = "candidates"

    teachers: list[str] = flag(
        "ids (org/name@revision) or folders; random:NAME is the same model with random weights",
        [],
        metavar="ID_OR_FOLDER",
    )
    zoo: str | None = flag(
        "a folder of models that `save_pretrained` wrote; the tag random-weights on a card makes one a control",
        None,
        metavar="FOLDER",
    )
    index: str | None = flag(
        "an index that `hf-ctkd index` wrote: teachers with the nearest class names are candidates", None, "FOLDER"
    )
    encoder: str = flag(
        "how names are compared with those of the index: spelling, wordllama, or a sentence encoder", "spelling"
    )
    task: str | None = flag("search the Hub, or the index, for this task, such as image-classification", None)
    search: str | None = flag("search the Hub for models whose name contains these words", None)
    author: str | None = flag("search the Hub for models of this user or organisation", None)
    limit: int = flag("most results of the search: most downloaded, or nearest by the index, first", 50)
    max_parameters: float | None = flag("largest number of parameters on the Hub, such as 300e6", None)
    license: str | None = flag("licence that a model on the Hub must have, such as apache-2.0", None)
    language: str | None = flag("language tag that a model of the search must have, such as en", None)


@dataclass(kw_only=True)
class ScoreArguments:
    """How teachers are scored."""

    _argument_group_name = "scores"

    metric: str = flag("orders the ranking: a name, or package.module:Class", "information_gain")
    student: str | None = flag(
        "checkpoint that your student will start from, scored like a teacher: the line below which no teacher knows "
        "more; random:NAME for one that starts with random weights",
        None,
        metavar="ID_OR_FOLDER",
    )
    metrics: list[str] = flag("further metrics in the table; a default set if not given", [])
    committee: int | None = flag("also choose up to this many teachers that complement each other", None)
    max_rows: int = flag("most labelled rows to score on", 2000)
    batch_size: int = flag("rows per forward pass; halved where memory is too small", 64)
    teacher_workers: int = flag("processes that read and preprocess rows while a teacher runs; 0 for none", 0)
    seed: int = flag("seed of the draw of rows and of the random control", 0)
    cache_dir: str | None = flag("folder of outputs and scores; $HF_CTKD_CACHE or huggingface_hub's assets", None)
    processes: int = flag("processes of this machine that score teachers", 1)
    scheduler: str | None = flag(
        "address of a Dask cluster that scores them instead; its workers must reach the folder of outputs and scores",
        None,
        metavar="ADDRESS",
    )
    budget: list[str] = flag(
        "what may be spent, such as 10m (or s, h), 5GB (or MB) of downloads, 20000rows run through teachers; the most "
        "promising teachers then get more rows than others",
        [],
        metavar="LIMIT",
    )
    delete_downloads: bool = flag(
        "delete the files of a teacher from huggingface_hub's cache once it is scored, unless they were there before",
        False,
    )
    dry_run: bool = flag(
        "list the candidates with the bytes that their download takes, and which of them --budget allows, and end",
        False,
    )
    output: str = flag("file to write", "ranking.json")


@dataclass(kw_only=True)
class SelectArguments(
    OutputArguments,
    PrintingArguments,
    ScoreArguments,
    TokenArguments,
    TeacherLoadingArguments,
    CandidateArguments,
    ColumnArguments,
    HoldOutArguments,
    RowArguments,
):
    """Arguments of `hf-ctkd select`."""


@dataclass(kw_only=True)
class TeacherArguments:
    """Which teachers."""

    _argument_group_name = "teachers"

    ranking: str | None = flag("file that `hf-ctkd select` wrote: its best teachers are used", None, metavar="FILE")
    top: int = flag("how many of the ranking's best to distill from", 1)
    committee: bool = flag("distill from the committee of the ranking instead, see `hf-ctkd select`", False)
    teachers: list[str] = flag(
        "ids or folders instead; random:NAME is the same model with random weights", [], metavar="ID_OR_FOLDER"
    )


@dataclass(kw_only=True)
class StudentArguments(TeacherArguments):
    """Which student, from which teachers."""

    _argument_group_name = "student"

    student: str = flag("checkpoint that the student starts from", metavar="ID_OR_FOLDER")
    roles: list[str] = flag(
        "part of each teacher in a committee, in their order, for the card: foundation, complementary, ...",
        [],
        metavar="ROLE",
    )


@dataclass(kw_only=True)
class LossArguments:
    """Which loss."""

    _argument_group_name = "method"

    loss: str | None = flag(
        "name of a loss (`--help-all` lists them), or package.module:Class; row_transport for classifiers and that of "
        "their task for other students if not given; none for a student of `distill` that learns from the labels alone",
        None,
    )
    loss_settings: str | None = flag("arguments of the loss, such as '{\"epsilon\": 0.2}'", None, metavar="JSON")


@dataclass(kw_only=True)
class MethodArguments(LossArguments):
    """How the student is taught."""

    _argument_group_name = "method"

    baseline: bool = flag(
        "also train the same student on the labels alone, with the same seed and as many steps, and record it", False
    )


@dataclass(kw_only=True)
class DistillArguments(
    OutputArguments,
    PrintingArguments,
    MethodArguments,
    TeacherLoadingArguments,
    StudentArguments,
    EvaluationArguments,
    RowArguments,
):
    """Arguments of `hf-ctkd distill`, beside those of `DistillationConfig`."""


@dataclass(kw_only=True)
class TargetsOutputArguments:
    """Where soft targets go."""

    _argument_group_name = "output"

    output: str = flag("folder that `datasets.load_from_disk` reads, or a file that ends in .parquet", "targets")
    column: str = flag("name of the new column", "soft_targets")
    student: str | None = flag(
        "pretrained checkpoint that the student will start from, whose layers are read in place of pixels or words",
        None,
        metavar="ID_OR_FOLDER",
    )
    push_to_hub: str | None = flag("also push them to this data set of yours on the Hub", None, metavar="OWNER/NAME")
    public: bool = flag("show it to everyone; an existing data set must already be public", False)
    batch_size: int = flag("rows per forward pass; halved where memory is too small", 64)
    seed: int = flag("seed of the folds of the probes, and of built-in rows", 0)
    cache_dir: str | None = flag("folder of outputs; $HF_CTKD_CACHE or huggingface_hub's assets", None)


@dataclass(kw_only=True)
class TargetsArguments(
    OutputArguments,
    PrintingArguments,
    TargetsOutputArguments,
    LossArguments,
    TokenArguments,
    TeacherLoadingArguments,
    TeacherArguments,
    ColumnArguments,
    RowArguments,
):
    """Arguments of `hf-ctkd targets`."""


@dataclass(kw_only=True)
class PoolArguments:
    """Which teacher, for which students."""

    _argument_group_name = "teacher and students"

    teacher: str = flag("checkpoint that the teacher starts from", metavar="ID_OR_FOLDER")
    pool: str | None = flag(
        "the students, as `StudentPool.save` writes them; without it the teacher is trained plainly",
        None,
        metavar="FILE.json",
    )
    students: int = flag("also write this many students of the pool, to be distilled", 0)
    students_from_branches: bool = flag(
        "these start from the weights of their branches, all but the first stage; else from random weights", False
    )
    student_parameters: float | None = flag("most parameters of these; the largest that fit are taken", None)
    student_latency_ms: float | None = flag("most milliseconds of these for one row on this CPU", None)


@dataclass(kw_only=True)
class GenericTeacherArguments(
    OutputArguments, PrintingArguments, LoadingArguments, PoolArguments, EvaluationArguments, RowArguments
):
    """Arguments of `hf-ctkd generic-teacher train`, beside those of `GenericTeacherConfig`."""


@dataclass(kw_only=True)
class IndexFileArguments:
    """Which index."""

    _argument_group_name = "index"

    index: str = flag("folder of the index; made by build and pull", "teachers-index", "FOLDER")
    repo_id: str | None = flag("data set on the Hub, owner/name, that push and pull use", None)
    public: bool = flag("push it for everyone to see; an existing repository must already be public", False)


@dataclass(kw_only=True)
class IndexContentArguments:
    """Which teachers."""

    _argument_group_name = "teachers that build lists, and that search may return"

    task: str | None = flag("the Hub's tag of their task, such as image-classification", None)
    license: str | None = flag("their licence, such as apache-2.0", None)
    language: str | None = flag("a language tag of theirs, such as en", None)
    author: str | None = flag("user or organisation on the Hub; for build only", None)
    search: str | None = flag("words that their name contains; for build only", None)
    limit: int | None = flag("most teachers that build lists, most downloaded first; all if not given", None)
    zoo: str | None = flag("a folder of models that build lists instead of the Hub", None, "FOLDER")
    max_parameters: float | None = flag("their largest number of parameters, such as 300e6; for search only", None)
    min_downloads: int | None = flag("their fewest downloads of the last 30 days; for search only", None)
    gated: bool = flag("also those whose author must grant access first; for search only", False)


@dataclass(kw_only=True)
class IndexSearchArguments:
    """What search looks for."""

    _argument_group_name = "classes that search looks for"

    label_names: list[str] = flag("their names, such as cat dog 'traffic light'", [], metavar="NAME")
    dataset: str | None = flag("a data set that has them instead, see `hf-ctkd select`", None)
    dataset_config: str | None = flag("configuration of a data set that has several", None)
    split: str = flag("rows of the data set", "train")
    label_column: str | None = flag("column of labels; chosen by its type if not given", None)
    encoder: str = flag(
        "how names are compared: spelling, wordllama, or the id or folder of a sentence encoder", "spelling"
    )
    k: int = flag("most teachers to list", 50)


@dataclass(kw_only=True)
class IndexArguments(
    PrintingArguments, TokenArguments, IndexSearchArguments, IndexContentArguments, IndexFileArguments
):
    """Arguments of `hf-ctkd index`."""


@dataclass(kw_only=True)
class ReportArguments(OutputArguments, PrintingArguments):
    """Arguments of `hf-ctkd report`, after the ranking."""

    _argument_group_name = "output"

    student: str | None = flag(
        "folder that `hf-ctkd distill` wrote: adds its results and the map between the classes", None, metavar="FOLDER"
    )
    output: str = flag("page to write", "report.html", metavar="FILE")


@dataclass(kw_only=True)
class JudgedRowArguments:
    """Which labelled rows."""

    _argument_group_name = "rows"

    dataset: str = flag("id on the Hub, folder or file with labelled rows, or demo:NAME, see `hf-ctkd select`")
    dataset_config: str | None = flag("configuration of a data set that has several", None)
    split: str | None = flag("rows to evaluate on; the test or else the validation rows if not given", None)
    input_column: list[str] | None = flag(
        "column of images or texts, or two columns of texts that are read as a pair; those that the student was "
        "trained on if not given, or chosen by types and usual names where its record does not tell",
        None,
        metavar="COLUMN",
    )
    label_column: str | None = flag(
        "column of labels; that which the student was trained on if not given, or chosen by its type where its record "
        "does not tell",
        None,
    )
    skip_bad_rows: bool = flag("leave out rows that cannot be read", False)


@dataclass(kw_only=True)
class ComparedArguments:
    """Which models beside the student."""

    _argument_group_name = "compared with"

    teacher: str | None = flag(
        "its teacher: metrics where it has the same classes, size and speed in any case", None, "ID_OR_FOLDER"
    )
    baseline: str | None = flag(
        "such as the same student trained without a teacher, for the gain with its interval", None, "ID_OR_FOLDER"
    )


@dataclass(kw_only=True)
class ResultArguments:
    """What is computed and where it goes."""

    _argument_group_name = "results"

    metrics: list[str] = flag("names; those of the student's task if not given", [])
    bootstrap_resamples: int = flag("resamples of the rows for 95 % intervals; 0 for none", 1000)
    output: str | None = flag("folder for the record, tables and figures", None, "FOLDER")
    batch_size: int = flag("rows per forward pass; halved where memory is too small", 64)
    seed: int = flag("seed of the bootstrap and of the halves that temperatures are fitted to", 0)


@dataclass(kw_only=True)
class EvaluateArguments(
    OutputArguments,
    PrintingArguments,
    ResultArguments,
    TokenArguments,
    LoadingArguments,
    ComparedArguments,
    JudgedRowArguments,
):
    """Arguments of `hf-ctkd evaluate`, after the student."""


@dataclass(kw_only=True)
class PredictionArguments:
    """What is predicted and where it goes."""

    _argument_group_name = "predictions"

    output: str = flag("file to write, which ends in .csv or .parquet", metavar="FILE")
    all_scores: bool = flag("also write the probability of every class", False)
    input_column: list[str] | None = flag(
        "column of texts or images in tables, or two columns of texts; those that the student was trained on if not "
        "given, or chosen by types and usual names where its record does not tell",
        None,
        metavar="COLUMN",
    )
    batch_size: int = flag("rows per forward pass; halved where memory is too small", 64)


@dataclass(kw_only=True)
class PredictArguments(OutputArguments, PrintingArguments, TokenArguments, LoadingArguments, PredictionArguments):
    """Arguments of `hf-ctkd predict`, after the student and the files."""


@dataclass(kw_only=True)
class ExportFileArguments:
    """Where the exported student goes."""

    _argument_group_name = "output"

    output: str = flag("file to write, which ends in .onnx", "student.onnx", "FILE")


@dataclass(kw_only=True)
class ExportArguments(OutputArguments, PrintingArguments, TokenArguments, LoadingArguments, ExportFileArguments):
    """Arguments of `hf-ctkd export`, after the student."""


@dataclass(kw_only=True)
class PublishArguments(PrintingArguments, TokenArguments):
    """Arguments of `hf-ctkd publish`, after the folder and the repository."""

    public: bool = flag("show it to everyone; an existing repository must already be public", False)
    commit_message: str | None = flag("first line of the commit", None)
    overwrite_card: bool = flag("replace a README.md that was written by someone else", False)


@dataclass(kw_only=True)
class DemoArguments(OutputArguments, PrintingArguments):
    """Arguments of `hf-ctkd demo`."""

    folder: str = flag("where students and cards go", "demo")
    modality: list[str] = flag("which halves to run: image, text or both", ["image", "text"], choices=("image", "text"))
    readme: str | None = flag(
        "also write the closing table into this file, between the lines `demo:begin` and `demo:end`", None
    )


@dataclass(frozen=True)
class TrainingFlags:
    """The trainer's configuration of a command: each of its fields is a flag too.

    Args:
        config: its class, as `package.module:Class`, imported when it is needed.
        output_dir: default of this field.
    """

    config: str
    output_dir: str


@dataclass(frozen=True)
class Command:
    """A command of `hf-ctkd`; `hf_ctkd.cli.<name>`, with `_` for `-`, has its `run(parsed)`.

    That gives what `--json` prints, None on a process that prints nothing.

    Args:
        summary: what it does, in a few words.
        arguments: its flags.
        positionals: what comes before the flags: name -> help.
        training: the trainer's configuration, if it trains.
        repeated: name of the last positional if it may have several values.
    """

    summary: str
    arguments: type
    positionals: Mapping[str, str] = field(default_factory=dict)
    training: TrainingFlags | None = None
    repeated: str | None = None

    def usage(self, name: str) -> str:
        """The first line of its help."""
        words = [f"{name.upper()}..." if name == self.repeated else name.upper() for name in self.positionals]
        return " ".join(["hf-ctkd", name, *words, "[flags]"])


@dataclass(frozen=True)
class ParsedCommand(Generic[Arguments]):
    """A command line, parsed.

    Args:
        arguments: the command's own arguments.
        words: what was typed, with the values of `--config` in its place; the same without the file.
        positionals: by name.
        training: values for the fields of the trainer's configuration, if the command trains.
        repeated: values of the positional that may have several.
    """

    arguments: Arguments
    words: tuple[str, ...]
    positionals: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()


COMMANDS = {
    "index": Command(
        "list the teachers of the Hub once, and search them by the names of your classes",
        IndexArguments,
        {"action": "build, search, push or pull"},
    ),
    "select": Command("rank teachers for your data set, by how much they know of it", SelectArguments),
    "report": Command(
        "write a ranking as one HTML page",
        ReportArguments,
        {"ranking": "file that `hf-ctkd select` wrote"},
    ),
    "distill": Command(
        "train a student on your data set with the best teachers of a ranking",
        DistillArguments,
        training=TrainingFlags("hf_ctkd.training:DistillationConfig", "student"),
    ),
    "targets": Command("write the teachers' soft targets as a column, for any other trainer", TargetsArguments),
    "generic-teacher": Command(
        "train one teacher for a whole pool of student architectures",
        GenericTeacherArguments,
        {"action": "train"},
        TrainingFlags("hf_ctkd.generic:GenericTeacherConfig", "generic-teacher"),
    ),
    "evaluate": Command(
        "metrics, errors, calibration and speed of a student",
        EvaluateArguments,
        {"student": "folder, or id on the Hub, of a trained student"},
    ),
    "predict": Command(
        "labels and scores of a student for files",
        PredictArguments,
        {
            "student": "folder, or id on the Hub, of a trained student",
            "files": "images; a .txt file with a text a line; or tables: .csv, .parquet, .json, .jsonl",
        },
        repeated="files",
    ),
    "export": Command(
        "a student as an ONNX file, compared with the original",
        ExportArguments,
        {"student": "folder, or id on the Hub, of a trained student"},
    ),
    "publish": Command(
        "write the student's card and push it to the Hub",
        PublishArguments,
        {
            "folder": "folder that `hf-ctkd distill` wrote",
            "repo_id": "owner/name on the Hub; made if it does not exist",
        },
    ),
    "demo": Command("rank teachers, distill and write cards on built-in data, without a network", DemoArguments),
}


def is_required(argument: Field) -> bool:
    """Whether a field of a dataclass has no default."""
    return argument.default is MISSING and argument.default_factory is MISSING


def given(arguments: object, names: Iterable[str]) -> list[str]:
    """Those of some flags whose values are not their defaults.

    Args:
        arguments: of a command.
        names: of the flags.
    """
    fields_by_name = {argument.name: argument for argument in fields(arguments)}  # type: ignore[arg-type]
    return [name for name in names if vars(arguments)[name] != _default(fields_by_name[name])]


def _default(argument: Field) -> object:
    return argument.default if argument.default_factory is MISSING else argument.default_factory()


def whole_bytes(value: float | None) -> int | None:
    """The value of `--max_bytes` as a whole number.

    Raises:
        InvalidArgumentError: if it is negative or not finite.
    """
    if value is None:
        return None
    if not 0 <= value < math.inf:
        raise InvalidArgumentError(f"`--max_bytes` must be 0 or more, and finite, got {value}.")
    return int(value)


def check_writable(folder: Path | str, flag: str) -> None:
    """Make a folder, and refuse one that cannot be written before any work is done.

    Raises:
        InvalidArgumentError: naming the flag.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgumentError(
            f"`{flag}`: {folder} cannot be written ({error.strerror}). Choose a folder of your own."
        ) from error
