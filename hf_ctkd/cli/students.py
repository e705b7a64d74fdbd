"""The student: any checkpoint of the right kind, with a head for the data set's classes."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_ctkd.data import Modality, ProcessingClass, load_processing_class
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.tasks import Classification, StudentTask
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.teachers.failures import skipped_on_failure
from hf_ctkd.teachers.quiet import quiet_loading
from hf_ctkd.types import LabelSpace

_KINDS = {"image": "an image model with its image processor", "text": "a text model with its tokenizer"}
# What transformers raises for folders that lack a file or hold something else, and models of another kind.
_REFUSALS = (OSError, ValueError, KeyError, RuntimeError, TeacherUnavailableError)


def load_student(
    name: str,
    modality: Modality,
    classes: LabelSpace,
    *,
    options: LoadOptions,
    task: StudentTask | None = None,
    flag: str = "--student",
) -> tuple[PreTrainedModel, ProcessingClass]:
    """Load a student and its preprocessing; a head for another number of classes is replaced by a fresh one.

    Weights are float32, whatever they are stored in: they are going to be trained.

    Args:
        name: `"org/model"`, `"org/model@revision"` or a folder.
        modality: of the rows.
        classes: of the data set.
        options: how to fetch and load: safetensors only and no remote code unless they say so.
        task: what the student is for, by which its Auto class and its head are chosen; classification when None.
        flag: what the error calls it.

    Raises:
        InvalidArgumentError: if it cannot be loaded for these rows.
    """
    task = Classification() if task is None else task
    try:
        candidate = _candidate(name, options)
        folder = replace(options, max_bytes=None).fetch(candidate)  # the bound is on teachers
        with skipped_on_failure("cannot be loaded", ProblemCode.BROKEN):
            processing_class = load_processing_class(folder, modality, trust_remote_code=options.trust_remote_code)
            with quiet_loading():
                model = task.auto_class(modality).from_pretrained(
                    folder,
                    dtype=torch.float32,
                    **task.head_settings(classes),
                    ignore_mismatched_sizes=True,
                    use_safetensors=None if options.allow_pickle else True,
                    trust_remote_code=options.trust_remote_code,
                )
    except _REFUSALS as error:
        # What `fetch_teacher` says starts with "Teacher ...": its cause is the reason alone.
        reason = error.__cause__ if isinstance(error, TeacherUnavailableError) and error.__cause__ else error
        message = " ".join(str(reason).split())[:300].rstrip(".")
        raise InvalidArgumentError(f"`{flag}` {name!r} must be {_KINDS[modality]}: {message}.") from error
    if candidate.source == "hub":
        model.config.name_or_path = candidate.model_id  # not where it happens to be cached
    if isinstance(processing_class, PreTrainedTokenizerBase) and model.config.to_dict().get("pad_token_id") is None:
        model.config.pad_token_id = processing_class.pad_token_id
    return model, processing_class


def _candidate(name: str, options: LoadOptions) -> TeacherCandidate:
    candidates = list(folder_teachers(name) if Path(name).is_dir() else hub_teachers(name, token=options.token))
    if len(candidates) != 1:
        raise InvalidArgumentError(f"it holds {len(candidates)} models. Name one of them.")
    candidates[0].check_usable(allow_pickle=options.allow_pickle)
    return candidates[0]
