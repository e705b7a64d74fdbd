"""Tries every architecture and writes the table of `docs/supported_models.md`: `python -m tests.breadth`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import datasets  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from breadth.architectures import Architecture, classifiers, encoders  # noqa: E402
from breadth.checks import check_student, check_teacher  # noqa: E402
from tiny_models import image_processor, save, tiny_bert, tiny_resnet, word_tokenizer  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES  # noqa: E402

_NO_TIME = "not tried: time"
ENCODERS = "\n\n## Encoders without a head"
PAGE = ROOT / "docs" / "supported_models.md"
INTRODUCTION = """# Supported models

Every architecture that the Auto classes of transformers {version} know was tried with a tiny model of random weights,
built from its configuration. `python -m tests.breadth` writes this page; `make test-breadth` runs the same checks.

- **Teacher**: it loads from a folder; features are `[rows, width]`, finite, and the same in every run and every batch;
  the head gives the logits from the features; layers of all depths are read.
- **Student**: it trains three steps with the default loss, is saved, and predicts the same when it is opened with the
  Auto classes alone.

`no` is a refusal or a failure, with its reason; `not tried` needs a library that was not installed, could not be built
as small as this, or did not fit the time of the run.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no further architecture after so long")
    parser.add_argument("--encoders", action="store_true", help="only those without a head; keep the rest of the page")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    if not options.encoders:
        _try_classifiers(until)
    _try_encoders(until)


def _try_classifiers(until: float) -> None:
    tried: dict[Architecture, dict[str, str]] = {architecture: {} for architecture in classifiers()}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "image", tiny_resnet(seed=7), image_processor())
        save(Path(folder) / "text", tiny_bert(), word_tokenizer())
        for architecture in list(tried):
            tried[architecture]["teacher"] = _answer(partial(check_teacher, architecture), until)
        for architecture in list(tried):
            teacher = str(Path(folder) / architecture.modality)
            tried[architecture]["student"] = _answer(partial(check_student, architecture, teacher=teacher), until)
            _write(tried)


def _try_encoders(until: float) -> None:
    """Write the last section of the page, after what the page says of classifiers."""
    page = PAGE.read_text(encoding="utf-8").split(ENCODERS)[0].rstrip()
    page += f"{ENCODERS}\n\n| architecture | rows | teacher |\n|---|---|---|\n"
    for model_type in MODEL_MAPPING_NAMES:
        for architecture in encoders(model_type) if time.monotonic() < until else []:
            answer = _answer_of_encoder(architecture, until)
            page += f"| {architecture.model_type} | {architecture.modality}s | {answer} |\n"
            PAGE.write_text(page, encoding="utf-8")


def _answer_of_encoder(architecture: Architecture, until: float) -> str:
    """As `_answer`; an architecture whose configuration cannot be shrunk says nothing of the library."""
    try:
        architecture.build()
    except ImportError:
        pass  # the check names the library
    except Exception as error:  # noqa: BLE001 (each configuration refuses small sizes in its own way)
        return f"not tried: no tiny model could be built: {type(error).__name__} {_short(error)}"
    return _answer(partial(check_teacher, architecture), until)


def _write(tried: dict[Architecture, dict[str, str]]) -> None:
    page = INTRODUCTION.format(version=transformers.__version__)
    for modality in ("image", "text"):
        page += f"\n## Classifiers of {modality}s\n\n| architecture | teacher | student |\n|---|---|---|\n"
        for architecture, answers in tried.items():
            if architecture.modality == modality:
                student = answers.get("student", _NO_TIME)
                page += f"| {architecture.model_type} | {answers['teacher']} | {student} |\n"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")


def _answer(check: Callable[[Path], str | None], until: float) -> str:
    if time.monotonic() > until:
        return _NO_TIME
    with tempfile.TemporaryDirectory() as folder:
        try:
            refusal = check(Path(folder) / "model")
        except pytest.skip.Exception as reason:
            return f"not tried: {_short(reason)}"
        except Exception as error:  # noqa: BLE001 (each architecture fails in its own way, which is what the page reports)
            return f"no: {type(error).__name__} {_short(error)}"
    return "yes" if refusal is None else f"no: {_short(refusal)}"


def _short(reason: object) -> str:
    words = " ".join(str(reason).split()).replace("|", "/").replace(tempfile.gettempdir(), "")
    words = words if len(words) <= 110 else f"{words[:110]}..."
    return words.replace("][", "]\\[")  # which Markdown would take for a reference


if __name__ == "__main__":
    main()
