"""The teacher-free baseline of a ranking: the student itself, scored like a teacher, or the rows' input features."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import get_logger

from hf_ctkd._version import __version__
from hf_ctkd.data import InputFeatureReader, Modality, Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.metrics import InformationGain
from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherFreeBaseline
from hf_ctkd.selection.controls import CONTROLS
from hf_ctkd.selection.intervals import interval_of
from hf_ctkd.selection.score_cache import CachedScores, ScoreCache
from hf_ctkd.selection.scorer import Scorer, cached_values, row_tensor, settings_of
from hf_ctkd.teachers import FeatureReader, Teacher, on_main
from hf_ctkd.types import LabelSpace, ModelOutputs

logger = get_logger(__name__)

StudentLike = TeacherCandidate | str | Path | PreTrainedModel
"""A candidate, the id of a model on the Hub, a folder (after `"random:"` for a student that starts from nothing), or a
loaded model."""


def teacher_free_baseline(
    scorer: Scorer, student: StudentLike | None, processing_class: ProcessingClass | None
) -> TeacherFreeBaseline | None:
    """The scores of the student on the rows of a ranking, before any teacher is run.

    A student that starts from nothing knows no more than its input features tell, and so does one that is not named.
    Only the information gain compares these with the layers of teachers.

    Args:
        scorer: of the ranking, whose first metric orders it.
        student: that is going to be distilled; None where it is not chosen yet.
        processing_class: of a loaded student.

    Returns:
        None where the input features have no score by the metric that orders the ranking.

    Raises:
        InvalidArgumentError: if the student cannot be scored.
        DatasetError: if a row cannot be read.
    """
    if student is None:
        return _of_inputs(scorer, None, named=False)
    modality = scorer.rows.modality
    if isinstance(student, PreTrainedModel):
        if processing_class is None:
            raise InvalidArgumentError("`processing_class` must be that of the loaded `student`, got None. Pass it.")
        loaded = _loaded(student, processing_class, modality)
        if loaded.candidate.random_weights:
            return _of_inputs(scorer, loaded.preprocessor, named=True)
        with _evaluating(student):
            return _of_student(scorer.score_loaded(loaded))
    # The bound on downloads is on teachers.
    options = replace(scorer.run_settings.options, max_bytes=None)
    scorer = replace(scorer, run_settings=replace(scorer.run_settings, options=options))
    candidate = _candidate(student, options.token)
    if not candidate.random_weights:
        return _of_student(scorer.score(candidate))
    try:
        preprocessor = Teacher.load(candidate, modality, options=options).preprocessor
    except TeacherUnavailableError as error:
        raise _refusal(candidate.model_id, str(error)) from error
    return _of_inputs(scorer, preprocessor, named=True)


def _of_inputs(scorer: Scorer, preprocessor: Preprocessor | None, *, named: bool) -> TeacherFreeBaseline | None:
    """The information gain of the input features, read as a model does or without any."""
    metric = scorer.metrics[0]
    if isinstance(metric, InformationGain):
        return on_main(scorer.accelerator, lambda: _score_inputs(scorer, metric, preprocessor))
    if named:
        logger.warning(
            f"`student` starts from nothing, and {metric.name} does not score its input features: the ranking has no "
            "line where the student stands. Order by information_gain for one."
        )
    return None


def _score_inputs(
    scorer: Scorer, metric: InformationGain, preprocessor: Preprocessor | None
) -> TeacherFreeBaseline | None:
    cache, name = ScoreCache(scorer.run_settings.folder / "scores"), settings_of(metric)
    key = {
        "rows": scorer.rows.fingerprint,
        "classes": str(len(scorer.rows.label_space)),
        "model": "input features",
        "hf_ctkd": __version__,
    }
    cached = cache.read(key) if preprocessor is None else CachedScores(key=key)
    score, seconds = cached.scores.get(name), cached.seconds
    values = row_tensor(cached.row_values.get(name))
    if score is None:
        start = time.perf_counter()
        score, values = scorer.score_outputs(metric, _features(scorer.rows, preprocessor))
        seconds = time.perf_counter() - start
        if score is None:
            logger.warning("The input features have no finite score: the ranking has no line where the student stands.")
            return None
        if preprocessor is None and values is not None:
            scores, row_values = {**cached.scores, name: score}, {**cached.row_values, name: cached_values(values)}
            cache.write(replace(cached, scores=scores, row_values=row_values, seconds=seconds))
    interval = None if values is None else interval_of(values, scorer.rows.labels)
    return TeacherFreeBaseline({metric.name: score}, seconds=seconds, interval=interval, rows=len(scorer.rows))


def _features(rows: TargetRows, preprocessor: Preprocessor | None) -> ModelOutputs:
    if preprocessor is None:
        features = InputFeatureReader.without_model(rows)
    else:
        _, features = InputFeatureReader.of(preprocessor, rows)
    return features.select(torch.arange(len(rows)))


def _of_student(ranked: RankedTeacher) -> TeacherFreeBaseline:
    if ranked.skipped is not None:
        raise _refusal(ranked.candidate.model_id, ranked.skipped)
    scores = {name: value for name, value in ranked.scores.items() if name not in CONTROLS}
    return TeacherFreeBaseline(
        scores,
        ranked.candidate,
        ranked.seconds,
        ranked.interval,
        ranked.seconds_per_1000_rows,
        ranked.rows,
        ranked.not_finite,
    )


def _candidate(student: TeacherCandidate | str | Path, token: str | None) -> TeacherCandidate:
    if isinstance(student, TeacherCandidate):
        return student
    try:
        candidates = list(candidates_named(student, token=token))
    except TeacherUnavailableError as error:
        raise _refusal(str(student), str(error)) from error
    if len(candidates) != 1:
        raise _refusal(str(student), f"it holds {len(candidates)} models. Name one of them.")
    return candidates[0]


def _loaded(model: PreTrainedModel, processing_class: ProcessingClass, modality: Modality) -> Teacher:
    """A loaded student as a teacher; one without a name was made from its configuration."""
    name = str(model.config.name_or_path or "")
    candidate = TeacherCandidate(
        name or type(model).__name__,
        "",
        "folder" if Path(name).is_dir() else "hub",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        random_weights=not name,
    )
    label_space = LabelSpace.from_id2label(model.config.id2label) if model.config.id2label else None
    preprocessor = Preprocessor.of(processing_class, modality, model.config)
    return Teacher(candidate, preprocessor, FeatureReader(model), label_space)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """In evaluation mode, and afterwards in whatever mode each module was."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _refusal(name: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"`student` {name!r} cannot be scored: {reason}")
