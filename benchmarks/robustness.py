"""Bad inputs and kills: a generated campaign against the command line.

    python -m benchmarks.robustness [--inputs 2000] [--kills 60] [--seed 0] [--workers 2] [--limit 60] [--write]

Every bad input is drawn from the seed and its number: a flag with a wrong value, a damaged record, data file, YAML
file, teacher or student, or an output that would replace a file. It is given to `hf_ctkd.cli.main.main` in a process of
its own with a time limit. Every kill stops `select`, `distill` or the writing of a card by SIGKILL at a random moment;
the command is then run again, and its result compared with that of a run that was not stopped. With `--write` the
counts go into RESULTS.md. The process that starts the others imports everything once and forks, so that a case takes as
long as its work.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before the libraries read it; who imports this file keeps an environment of their own
    os.environ |= {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }

import torch
from datasets import ClassLabel, Dataset, Features, Value
from safetensors.numpy import load_file
from transformers import BertConfig, BertForSequenceClassification

import hf_ctkd.cli.distill
import hf_ctkd.cli.evaluate
import hf_ctkd.cli.export
import hf_ctkd.cli.generic_teacher
import hf_ctkd.cli.index
import hf_ctkd.cli.parsing
import hf_ctkd.cli.predict
import hf_ctkd.cli.publish
import hf_ctkd.cli.report
import hf_ctkd.cli.select
import hf_ctkd.cli.targets  # noqa: F401 (imported before the forks, as those above)
from benchmarks.results_file import put
from hf_ctkd.cards import write_card
from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.main import main
from hf_ctkd.demo.architectures import wordpiece_tokenizer
from hf_ctkd.errors import CTKDError, resolve_name
from hf_ctkd.records import DistillationRecord, TeacherRanking
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.training.files import newest_checkpoint

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- robustness:begin -->", "<!-- robustness:end -->"
TEXTS = [f"the {color} {thing} number {n}" for n in range(6) for color in ("red", "green") for thing in ("cat", "dog")]
QUICK = ["--use_cpu", "--disable_tqdm=true", "--max_steps=2", "--bootstrap_resamples=10", "--save_strategy=no"]
VALUES = (
    *(
        "-1",
        "0",
        "1",
        "1e30",
        "nan",
        "-inf",
        "1.5",
        "99999999999999999999",
        "",
        " ",
        "nonsense",
        "None",
        "true",
        "auto",
    ),
    *("{}", "[]", "[1]", '{"a": 1}', "{bad", "/nonexistent/x", "/dev/null", "../..", "steps", "org/name", "a" * 5000),
    *("wandb", "\N{SNOWMAN}", "a\x01b", "%s%n", "$(reboot)", "demo:digits", "demo:nothing", "math:pi", "os:system"),
)
NUMBERS = ("-1", "0", "1e30", "nan", "inf", "-inf", "-0.0", "1.5", "1", "7", "99999999999999999999", "1e-300", "0x10")
BUDGETS = (
    "10",
    "10m",
    "5gb",
    "-1m",
    "nanm",
    "1e3rows",
    "0rows",
    "1rows",
    "9" * 400 + "rows",
    "9" * 400 + "h",
    "\u0663m",
)
SLOW = (
    "torch_compile",
    "max_steps",
    "num_train_epochs",
    "dataloader_num_workers",
    "resume_from_checkpoint",
    "push_to_hub",
    "scheduler",
    "processes",
)
"""Flags whose valid values take longer than the time limit, or that need what a case does not have."""
OUTCOMES = (
    "done",
    "refused in one line",
    "still running",
    "traceback",
    "not one line",
    "died",
    "file lost",
    "wrong result",
)
BAD = OUTCOMES[3:]


# ---- the shelf: rows, a teacher, a ranking and a student, made once -------------------------------------------------


@dataclass(frozen=True)
class Shelf:
    """What every case starts from; no case may change it.

    Args:
        folder: holds `rows`, `rows.csv`, `teacher`, `student` (a finished one), `ranking.json` and `index`.
    """

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def select(self, *words: object, dataset: object = None, teachers: Sequence[object] = ()) -> list[str]:
        rows = self / "rows" if dataset is None else dataset
        named = ["--teachers", *(teachers or [self / "teacher"])]
        return [*map(str, ["select", "--dataset", rows, *named, "--max_rows", 16, *words])]

    def distill(self, *words: object, dataset: object = None, student: object = None) -> list[str]:
        rows = self / "rows" if dataset is None else dataset
        taught = [] if "--ranking" in words else ["--teachers", self / "teacher"]
        start = self / "teacher" if student is None else student
        return [*map(str, ["distill", "--dataset", rows, "--student", start, *taught, *QUICK, *words])]


def make_shelf(folder: Path) -> None:
    """Write the shelf; in a process of its own, since threads of pyarrow do not survive a fork."""
    labels = ["cat" if "cat" in text else "dog" for text in TEXTS]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["cat", "dog"])})
    rows = Dataset.from_dict({"text": TEXTS, "label": labels}, features=features)
    (folder / "rows").mkdir()
    rows.to_parquet(folder / "rows" / "train.parquet")
    others = {"text": [f"{text} again" for text in TEXTS], "label": labels}
    Dataset.from_dict(others, features=features).to_parquet(folder / "rows" / "test.parquet")
    Dataset.from_dict({"text": TEXTS, "label": labels}).to_csv(folder / "rows.csv")
    rows.to_json(folder / "rows.jsonl")
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(TEXTS, vocabulary=60, length=16)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=16, num_labels=2, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    os.chdir(folder)
    shelf = Shelf(folder)
    build = ["index", "build", "--zoo", "student", "--index", "index"]
    for words in (shelf.select(), shelf.distill("--ranking", "ranking.json"), build):
        if main(words) != 0:
            raise SystemExit("The shelf cannot be made.")


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file, and target of every link, in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def is_lost(before: dict[str, str], folder: Path) -> bool:
    """Whether a file is gone or changed; new ones are none of others', such as the vectors stored beside an index."""
    after = digests(folder)
    return any(after.get(name) != value for name, value in before.items())


# ---- bad inputs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A bad input.

    Args:
        words: of the command line.
        refused: whether there is no way to do what it asks, so that success would be wrong.
        same: whether the scores of the shelf's teacher must be those of an undisturbed run.
    """

    words: list[str]
    refused: bool = False
    same: bool = False


Generator = Callable[[random.Random, Shelf, Path], Case]


def wrong_flag(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """One or two flags of a command with values of another kind."""
    name = rng.choice(["select", "select", "distill", "distill", *_RUNS])
    words = {"select": shelf.select, "distill": shelf.distill}.get(name, lambda: _RUNS[name](shelf))()
    command = words[0]
    if command == "publish":
        shutil.copytree(shelf / "student", here / "student")
    types = _flags(command)
    names = [flag for flag in types if not flag.startswith(SLOW)]
    chosen = rng.sample(names, rng.choice([1, 1, 1, 2]))
    return Case([*words, *(f"--{flag}={_wrong_value(rng, flag, types[flag])}" for flag in chosen)])


def _wrong_value(rng: random.Random, flag: str, kind: str) -> str:
    if flag == "budget" and rng.random() < 0.7:
        return rng.choice(BUDGETS)
    return rng.choice(NUMBERS if rng.random() < 0.7 and re.search("int|float", kind) else VALUES)


_RUNS: dict[str, Callable[[Shelf], list[str]]] = {
    "generic-teacher": lambda shelf: [
        *("generic-teacher", "train", "--dataset", str(shelf / "rows"), "--teacher", str(shelf / "teacher"), *QUICK)
    ],
    "publish": lambda shelf: ["publish", "student", "me/student"],
    "evaluate": lambda shelf: [
        *("evaluate", str(shelf / "student"), "--dataset", str(shelf / "rows"), "--bootstrap_resamples", "10")
    ],
    "predict": lambda shelf: [
        *("predict", str(shelf / "student"), str(shelf / "rows.csv"), "--output", "predictions.csv")
    ],
    "export": lambda shelf: ["export", str(shelf / "student")],
    "report": lambda shelf: ["report", str(shelf / "ranking.json")],
    "targets": lambda shelf: [
        *("targets", "--dataset", str(shelf / "rows"), "--teachers", str(shelf / "teacher"), "--quiet")
    ],
    "index search": lambda shelf: ["index", "search", "--index", str(shelf / "index"), "--label_names", "cat", "dog"],
    "index build": lambda shelf: ["index", "build", "--zoo", str(shelf / "student")],
    "index push": lambda shelf: ["index", "push", "--index", str(shelf / "index"), "--repo_id", "me/teachers"],
    "index pull": lambda shelf: ["index", "pull", "--repo_id", "me/teachers"],
}
"""Commands beside `select` and `distill`, as they work with right values, or as far as they get without a network."""


def damaged_record(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """A ranking or a student's record with a field deleted, of another type, or cut off."""
    if rng.random() < 0.5:
        shutil.copy(shelf / "ranking.json", here / "ranking.json")
        refused = _damage_json(rng, here / "ranking.json")
        report = ["report", "ranking.json", "--student", str(shelf / "student")]
        return Case(rng.choice([report, shelf.distill("--ranking", "ranking.json")]), refused)
    shutil.copytree(shelf / "student", here / "student")
    _damage_json(rng, here / "student" / rng.choice(["distillation.json", "ranking.json", "config.json"]))
    return Case(["publish", "student", "me/student"], refused=True)


def damaged_data(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """A data file that is cut off, of random bytes, of another format, a pointer of Git LFS, or odd in its content."""
    name = rng.choice(["rows.csv", "rows.jsonl", "rows/train.parquet"])
    path = here / Path(name).name
    content = (shelf / name).read_bytes()
    odd = {
        "cut": content[: rng.randrange(1, len(content))],
        "flipped": _flip(rng, content),
        "random": rng.randbytes(200),
        "empty": b"",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
        "nested": b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b', "label": 1}',
        "rows": "\n".join(["text,label", *(rng.choice(_ODD_ROWS) for _ in range(8))]).encode(),
        "columns": b"a,b\n1,2\n3,4\n",
    }
    kind = rng.choice(sorted(odd))
    path.write_bytes(odd[kind])
    words = ["--skip_bad_rows"] if rng.random() < 0.5 else []
    refused = kind in ("random", "empty", "pointer", "nested", "columns")
    draw = rng.random()
    if draw < 0.2:
        student = str(shelf / "student")
        return Case(["evaluate", student, "--dataset", path.name, "--bootstrap_resamples=10", *words], refused)
    if draw < 0.4:  # which reads any column of texts
        output = ["--output", "predictions.csv"]
        return Case(["predict", str(shelf / "student"), path.name, *output], refused and kind != "columns")
    make = shelf.select if draw < 0.8 else shelf.distill
    return Case(make(*words, dataset=path.name), refused)


_ODD_ROWS = (
    "a cat,cat",
    "a dog,dog",
    ",cat",
    "a cat,",
    '"unclosed',
    "x" * 3000 + ",dog",
    "\N{SNOWMAN},\N{SNOWMAN}",
    "1,1",
    ",,,",
)


def damaged_teacher(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """A teacher with a damaged file beside a sound one, whose scores may not change."""
    folder = _damaged_model(rng, shelf, here / "zoo" / "damaged")
    return Case(shelf.select(teachers=[folder, shelf / "teacher"]), same=True)


def damaged_student(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """The same as the checkpoint that a student starts from, or as a student that is evaluated or predicts."""
    folder = _damaged_model(rng, shelf, here / "start")
    if rng.random() < 0.5:
        return Case(shelf.distill(student=folder))
    name = rng.choice(["evaluate", "predict"])
    command, _, *words = _RUNS[name](shelf)
    return Case([command, str(folder), *words])


def flags_in_yaml(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """A file of `--config` with unknown keys, values of another type, or no YAML at all."""
    names = [name for name in _flags("distill") if not name.startswith(SLOW)]
    lines = [f"{rng.choice([*names, 'nonsense'])}: {rng.choice(_YAML_VALUES)}" for _ in range(rng.randint(1, 3))]
    text = rng.choice(["\n".join(lines), "\n".join(lines), "[1, 2", "- a\n- b", "a: &x [*x]", "\x00", "a: b: c"])
    (here / "flags.yaml").write_text(text, encoding="utf-8")
    return Case(shelf.distill("--config", "flags.yaml"))


_YAML_VALUES = (
    "-1",
    "nan",
    ".inf",
    "[1, 2]",
    "{a: 1}",
    "null",
    "true",
    "'x'",
    "1e-4",
    "2020-01-01",
    "!!binary aGVq",
    "[[1]]",
)


def foreign_output(rng: random.Random, shelf: Shelf, here: Path) -> Case:
    """An output that would replace files of others."""
    (here / "mine.txt").write_text("mine")
    (here / "link").symlink_to("mine.txt")
    (here / "folder").mkdir()
    (here / "folder" / rng.choice(["config.json", "README.md", "train.parquet", "notes"])).write_text("mine")
    shutil.copytree(shelf / "teacher", here / "teacher")
    if rng.random() < 0.4:
        output = rng.choice(["mine.txt", "link", "folder", "/dev/null", "teacher/config.json"])
        words = rng.choice([shelf.select(), *(_RUNS[name](shelf) for name in ("predict", "export", "report"))])
        return Case([*words, "--output", output], refused=True)
    if rng.random() < 0.4:
        output = rng.choice(["folder", "teacher", "mine.txt", "link", "/dev/null", "."])
        words = _RUNS[rng.choice(["evaluate", "targets"])](shelf)
        return Case([*words, "--output", output], refused=True)
    output = rng.choice(["folder", "teacher", "mine.txt", "link", "/dev/null", "."])
    return Case(shelf.distill("--output_dir", output, student="teacher"), refused=True)


GENERATORS: dict[str, tuple[int, Generator]] = {
    "flag of a command": (40, wrong_flag),
    "record": (15, damaged_record),
    "data file": (15, damaged_data),
    "teacher": (12, damaged_teacher),
    "student": (6, damaged_student),
    "YAML file of flags": (6, flags_in_yaml),
    "output over files of others": (6, foreign_output),
}
"""Kind of input -> how many of a hundred, and what draws one."""


def _flags(command: str) -> dict[str, str]:
    """The flags of a command with their types."""
    kinds = [COMMANDS[command].arguments]
    training = COMMANDS[command].training
    kinds += [] if training is None else [resolve_name(training.config, "config")]
    fields = sorted((field.name, str(field.type)) for kind in kinds for field in dataclasses.fields(kind) if field.init)
    return dict(fields)


def _flip(rng: random.Random, content: bytes) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _damage_json(rng: random.Random, path: Path) -> bool:
    """Damage a JSON file in place; gives whether it can no longer be read as what it was."""
    text = path.read_text()
    if rng.random() < 0.3:
        path.write_bytes(
            rng.choice([text.encode()[: len(text) // 2], b"", b"[" * 100000, b"\xff\xfe", b"null", b"[1]"])
        )
        return True
    values = json.loads(text)
    place: Any = values
    key = rng.choice(list(place))
    while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
        place = place[key]
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    if rng.random() < 0.3:
        del place[key]
    else:
        place[key] = rng.choice([None, -1, 1e308, "x", "", [], {}, [[1]], True, "/etc/passwd", 2**70, {"a": 1}])
    path.write_text(json.dumps(values))
    return False


def _damaged_model(rng: random.Random, shelf: Shelf, folder: Path) -> Path:
    shutil.copytree(shelf / "teacher", folder)
    path = folder / rng.choice(
        ["config.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    )
    if rng.random() < 0.15:
        path.unlink()
    elif path.suffix == ".json" and rng.random() < 0.7:
        _damage_json(rng, path)
    else:
        content = path.read_bytes()
        path.write_bytes(
            rng.choice([_flip(rng, content), content[: rng.randrange(len(content))], b"", rng.randbytes(64)])
        )
    return folder


# ---- running one and judging it -------------------------------------------------------------------------------------


@dataclass
class Running:
    """A child process at work.

    Args:
        pid: of the process.
        here: its working folder, which also holds its output.
        started: when.
        finish: what is done with its exit code (None when it was stopped at the limit) and its duration.
    """

    pid: int
    here: Path
    started: float
    finish: Callable[[int | None, float], None]


def start(here: Path, work: Callable[[], int], finish: Callable[[int | None, float], None]) -> Running:
    """Fork a process that works in a folder and writes stdout and stderr to `.stderr` there."""
    pid = os.fork()
    if pid:
        return Running(pid, here, time.monotonic(), finish)
    code = 99
    try:
        os.setsid()
        os.chdir(here)
        output = os.open(here.parent / f"{here.name}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = work()
    except BaseException:  # noqa: BLE001 (a traceback is what is counted)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_all(processes: Iterator[Running], *, workers: int, limit: float) -> None:
    """Keep so many processes running until all have ended; those over the limit are killed."""
    running: list[Running] = []
    while True:
        while len(running) < workers and (process := next(processes, None)) is not None:
            running.append(process)
        if not running:
            return
        for process in list(running):
            ended, status = os.waitpid(process.pid, os.WNOHANG)
            seconds = time.monotonic() - process.started
            if not ended and seconds < limit:
                continue
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
            running.remove(process)
            process.finish(os.waitstatus_to_exitcode(status) if ended else None, seconds)
        time.sleep(0.01)


def judge(case: Case, code: int | None, log: str, here: Path, lost: bool, reference: TeacherRanking) -> str:
    """Which of `OUTCOMES` a case had."""
    if "Traceback (most recent call last)" in log or code == 99:
        return "traceback"
    if lost:
        return "file lost"
    if code is None:
        return "still running"
    if code < 0:
        return "died"
    if code == 0:
        return "wrong result" if case.refused or not _plausible(case, here, reference) else "done"
    lines = [line for line in log.strip().splitlines() if line.startswith("hf-ctkd")]
    return "refused in one line" if len(lines) == 1 and log.strip().endswith(lines[0]) else "not one line"


def _plausible(case: Case, here: Path, reference: TeacherRanking) -> bool:
    """Whether the outputs of a command that succeeded can be read and hold numbers that can be."""
    try:
        for path in here.rglob("*.json"):
            if path.name == "ranking.json" and case.words[0] == "select":
                return _sound_ranking(TeacherRanking.load(path), reference if case.same else None)
        for path in here.rglob("distillation.json"):
            results = DistillationRecord.load(path).results
            if not all(math.isfinite(value.value) for value in results.values()):
                return False
            weights = load_file(path.parent / "model.safetensors")
            return all(bool((abs(tensor) < math.inf).all()) for tensor in weights.values() if tensor.dtype.kind == "f")
    except (CTKDError, OSError, ValueError):
        return False
    return True


def _sound_ranking(ranking: TeacherRanking, reference: TeacherRanking | None) -> bool:
    if not all(math.isfinite(score) for teacher in ranking.scored for score in teacher.scores.values()):
        return False
    if reference is None:
        return bool(ranking.scored)
    sound = reference.scored[0]
    again = [teacher for teacher in ranking.scored if teacher.candidate.model_id == sound.candidate.model_id]
    names = set(sound.scores) - {"random"}  # which is drawn by the teacher's place
    return len(again) == 1 and all(math.isclose(again[0].scores[n], sound.scores[n], rel_tol=1e-5) for n in names)


def bad_inputs(
    shelf: Shelf, folder: Path, count: int, seed: int, report: Callable[[str, str, str], None]
) -> Iterator[Running]:
    """Start one process after another, each with a bad input."""
    shelf_before, reference = digests(shelf.folder), TeacherRanking.load(shelf / "ranking.json")
    kinds = [kind for kind, (weight, _) in GENERATORS.items() for _ in range(weight)]
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind = rng.choice(kinds)
        here = folder / f"case-{number}"
        here.mkdir()
        case = GENERATORS[kind][1](rng, shelf, here)
        before = digests(here)

        def finish(
            code: int | None,
            seconds: float,
            here: Path = here,
            case: Case = case,
            before: dict[str, str] = before,
            kind: str = kind,
        ) -> None:
            path = here.parent / f"{here.name}.log"
            log = path.read_text(errors="replace") if path.exists() else ""
            lost = is_lost(shelf_before, shelf.folder)
            if case.words[0] != "publish":  # which writes its card into the folder that it is given
                lost = lost or is_lost(before, here)
            outcome = judge(case, code, log, here, lost, reference)
            report(kind, outcome, f"{' '.join(case.words)[:1500]}\n{log[-1500:]}")
            shutil.rmtree(here, ignore_errors=True)
            path.unlink(missing_ok=True)

        yield start(here, lambda words=case.words: main(words), finish)


# ---- kills ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A command that is killed.

    Args:
        work: runs it in the present folder; True as its argument where it may resume.
        result: what it made, as values that can be compared; raises if it is damaged.
    """

    work: Callable[[bool], int]
    result: Callable[[Path], object]


def jobs(shelf: Shelf, cache: Path) -> dict[str, Job]:
    """The commands that are killed."""

    def select(again: bool) -> int:
        return main(shelf.select("--cache_dir", Path.cwd() / "cache"))

    def distill(again: bool) -> int:
        resume = ["--resume_from_checkpoint", "true"] if again and newest_checkpoint("student") else []
        words = ["--max_steps=6", "--save_strategy=steps", "--save_steps=1", "--cache_dir", cache, *resume]
        return main(shelf.distill(*words))

    def card(again: bool) -> int:
        write_card("student")
        return 0

    def ranking(here: Path) -> object:
        loaded = TeacherRanking.load(here / "ranking.json")
        return [(teacher.candidate, dict(teacher.scores), teacher.rows) for teacher in loaded.teachers]

    def student(here: Path) -> object:
        record = DistillationRecord.load(here / "student" / "distillation.json")
        weights = load_file(here / "student" / "model.safetensors")
        return (
            {name: tensor.tobytes() for name, tensor in weights.items()},
            dict(record.results),
            record.training["steps"],
        )

    def text(here: Path) -> object:
        return (here / "student" / "README.md").read_text(), student(here)

    return {"select": Job(select, ranking), "distill": Job(distill, student), "card": Job(card, text)}


def kills(
    shelf: Shelf, folder: Path, count: int, seed: int, report: Callable[[str, str, str], None], limit: float
) -> None:
    """Stop a command at a random moment, over an earlier result in half of the cases, and run it again."""
    for number in range(count):
        rng = random.Random(f"kill-{seed}-{number}")
        name = rng.choice(["select", "distill", "distill", "card"])
        job = jobs(shelf, folder / "cache")[name]
        whole = folder / f"whole-{name}"
        if not whole.exists():
            _prepare(whole, shelf, name)
            seconds = _run(whole, lambda job=job: job.work(False), limit)
            (whole / "seconds").write_text(str(seconds))
        expected, seconds = job.result(whole), float((whole / "seconds").read_text())
        here = folder / f"kill-{number}"
        _prepare(here, shelf, name)
        earlier = name == "card" or rng.random() < 0.5
        if earlier and name != "card":
            _run(here, lambda job=job: job.work(False), limit)
        _run(here, lambda job=job: job.work(False), rng.uniform(0.0, 1.1 * seconds))
        outcome, detail = "equal", ""
        try:
            if earlier:
                job.result(here)  # the earlier result, or the new one, whole
            _run(here, lambda job=job: job.work(True), limit)
            detail = (folder / f"{here.name}.log").read_text(errors="replace")[-1500:]
            if job.result(here) != expected:
                outcome = "wrong result"
        except (CTKDError, OSError, ValueError, KeyError) as error:
            outcome, detail = "file lost", f"{error!r}\n{detail}"
        if "Traceback (most recent call last)" in detail:
            outcome = "traceback"
        report(name, outcome, detail)
        if outcome == "equal":
            shutil.rmtree(here, ignore_errors=True)


def _prepare(here: Path, shelf: Shelf, name: str) -> None:
    here.mkdir()
    if name == "card":
        shutil.copytree(shelf / "student", here / "student")


def _run(here: Path, work: Callable[[], int], limit: float) -> float:
    """Run work in a process and a folder until it ends or the limit, when it is killed; gives the seconds."""
    durations: list[float] = []
    run_all(iter([start(here, work, lambda code, seconds: durations.append(seconds))]), workers=1, limit=limit)
    return durations[0]


# ---- the table ------------------------------------------------------------------------------------------------------


def table(inputs: Counter, stopped: Counter, arguments: argparse.Namespace, seconds: float) -> str:
    """The section of RESULTS.md."""
    kinds = sorted({kind for kind, _ in inputs})
    lines = [
        "## Bad inputs and kills",
        "",
        f"Written by `python -m benchmarks.robustness --inputs {arguments.inputs} --kills {arguments.kills} --seed "
        f"{arguments.seed} --write` in {seconds:.0f} s, with {arguments.workers} processes; torch {torch.__version__}.",
        "*Refused in one line* is an error of one line on stderr; *done* is a value that can be used after all, with",
        f"sound outputs; *still running* was stopped after {arguments.limit:.0f} s. All others are defects.",
        "",
        f"| bad input | cases | {' | '.join(OUTCOMES)} |",
        f"|---|---|{'---|' * len(OUTCOMES)}",
    ]
    for kind in [*kinds, "all"]:
        counts = [sum(n for (k, o), n in inputs.items() if o == outcome and kind in (k, "all")) for outcome in OUTCOMES]
        lines.append(f"| {kind} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    outcomes = ("equal", "traceback", "file lost", "wrong result")
    lines += [
        "",
        "Each was stopped by SIGKILL at a random moment, half of them over an earlier result, and run again; `card`",
    ]
    lines += [
        "is the part of `publish` that writes files. *Equal* is a result equal to that of a run that was not stopped."
    ]
    lines += ["", f"| killed | cases | {' | '.join(outcomes)} |", f"|---|---|{'---|' * len(outcomes)}"]
    for kind in [*sorted({kind for kind, _ in stopped}), "all"]:
        counts = [
            sum(n for (k, o), n in stopped.items() if o == outcome and kind in (k, "all")) for outcome in outcomes
        ]
        lines.append(f"| {kind} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    """Run the campaign; gives the number of defects."""
    began = time.monotonic()
    torch.set_num_threads(1)
    _ = TeacherSelector  # imported before the forks
    inputs: Counter = Counter()
    stopped: Counter = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_CTKD_CACHE"] = str(folder / "cache")
        os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
        (folder / "shelf").mkdir()
        _run(folder / "shelf", lambda: make_shelf(folder / "shelf") or 0, 600)
        shelf = Shelf(folder / "shelf")

        def count(counter: Counter, good: Sequence[str]) -> Callable[[str, str, str], None]:
            def report(kind: str, outcome: str, detail: str) -> None:
                counter[kind, outcome] += 1
                if arguments.log:
                    with open(arguments.log, "a", encoding="utf-8") as file:
                        file.write(f"--- {kind}: {outcome}\n{detail}\n\n")
                if outcome not in good:
                    print(f"--- {kind}: {outcome}\n{detail}\n", flush=True)

            return report

        report = count(inputs, [outcome for outcome in OUTCOMES if outcome not in BAD])
        cases = bad_inputs(shelf, folder, arguments.inputs, arguments.seed, report)
        run_all(cases, workers=arguments.workers, limit=arguments.limit)
        kills(shelf, folder, arguments.kills, arguments.seed, count(stopped, ["equal"]), arguments.limit)
    section = table(inputs, stopped, arguments, time.monotonic() - began)
    print(section)
    if arguments.write:
        put(f"{BEGIN}\n{section}\n{END}", BEGIN, END, RESULTS)
    return sum(n for (_, outcome), n in [*inputs.items(), *stopped.items()] if outcome in BAD)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of one process")
    parser.add_argument("--log", help="file that gets every case, not the defects alone")
    parser.add_argument("--write", action="store_true", help="put the counts into RESULTS.md")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(1 if run(parse()) else 0)
