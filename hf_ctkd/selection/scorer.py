"""Scores candidates one at a time: fetch, run, score, write the scores, free the memory."""

import gc
import hashlib
import math
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from hf_ctkd._version import __version__
from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError, NotConvergedError, ProblemCode, TeacherUnavailableError
from hf_ctkd.metrics import TransferabilityMetric, TransportScore
from hf_ctkd.metrics.base import MeanOverRows
from hf_ctkd.records import RankedTeacher, TeacherCandidate
from hf_ctkd.selection.committee import TeacherPosterior, class_with_too_few_rows
from hf_ctkd.selection.controls import control_scores
from hf_ctkd.selection.intervals import interval_of
from hf_ctkd.selection.score_cache import CachedScores, ScoreCache
from hf_ctkd.selection.standard_errors import HalfSample
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs, finite_rows_of, on_all, on_main, open_cache
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.output_checks import MOST_NOT_FINITE
from hf_ctkd.types import ModelOutputs, Needs

_SCORE_FAILURES = (InvalidArgumentError, NotConvergedError, torch.linalg.LinAlgError)
"""What metrics and probes raise on outputs that they do not apply to."""


@dataclass(frozen=True)
class RunSettings:
    """Where and how teachers are run.

    Args:
        folder: cache of outputs and scores.
        options: how teachers are loaded.
        batch_size: rows in a forward pass; halved where the memory is too small.
        progress: show bars for each teacher, of its rows and of its scores.
        workers: processes that read and preprocess rows while a teacher runs; 0 for none.
    """

    folder: Path
    options: LoadOptions
    batch_size: int
    progress: bool
    workers: int = 0


@dataclass(frozen=True)
class Scorer:
    """Scores candidates on fixed rows by fixed metrics.

    Args:
        metrics: the first one orders the ranking.
        rows: labelled rows.
        student: a student's probabilities on these rows, as the target of transport scores; None for the labels.
        accelerator: the processes that share the work.
        run_settings: where and how teachers are run.
        seed: of the random control.
    """

    metrics: Sequence[TransferabilityMetric]
    rows: TargetRows
    student: Float[Tensor, "rows classes"] | None
    accelerator: Accelerator
    run_settings: RunSettings
    seed: int

    def score(self, candidate: TeacherCandidate) -> RankedTeacher:
        """The candidate with its scores, or with the reason why it has none.

        Raises:
            DatasetError: if a row cannot be read.
            InvalidArgumentError: if the cache cannot be written.
        """
        cache, key = ScoreCache(self.run_settings.folder / "scores"), self._key(candidate)
        cached = on_main(self.accelerator, lambda: cache.read(key))
        missing, updated = self._missing(cached), cached
        try:
            candidate.check_usable(allow_pickle=self.run_settings.options.allow_pickle)
            if missing:
                updated = self._computed(candidate, cached, missing)
                on_main(self.accelerator, lambda: cache.write(_lasting(updated, missing)))
            return self._ranked(replace(candidate, parameters=updated.parameters), updated)
        except TeacherUnavailableError as error:
            return RankedTeacher.unusable(candidate, error)

    def fetch(self, candidate: TeacherCandidate) -> None:
        """Download what scoring a candidate will read: nothing of a folder, or where its scores are cached.

        Raises:
            TeacherUnavailableError: see `fetch_teacher`.
        """
        options = self.run_settings.options
        candidate.check_usable(allow_pickle=options.allow_pickle)
        cached = ScoreCache(self.run_settings.folder / "scores").read(self._key(candidate))
        if candidate.source == "hub" and self._missing(cached):
            options.fetch(candidate)

    def _missing(self, cached: CachedScores) -> list[TransferabilityMetric]:
        return [metric for metric in self.metrics if self._lacks(cached, metric)]

    def _lacks(self, cached: CachedScores, metric: TransferabilityMetric) -> bool:
        """Whether a score is still to be computed, or the values on rows of the metric that orders the ranking."""
        settings = settings_of(metric)
        if cached.scores.get(settings) is None:  # not cached, or cached as not applicable
            return settings not in cached.scores
        return self._orders_by_rows(metric) and settings not in cached.row_values

    def _orders_by_rows(self, metric: TransferabilityMetric) -> bool:
        """Whether a metric orders the ranking and is a mean over rows, whose values are then cached for intervals."""
        against_student = self.student is not None and isinstance(metric, TransportScore)
        return metric is self.metrics[0] and isinstance(metric, MeanOverRows) and not against_student

    @property
    def caches_row_values(self) -> bool:
        """Whether `row_values` knows the values of a teacher that was scored."""
        return self._orders_by_rows(self.metrics[0]) and _is_from_hf_ctkd(self.metrics[0])

    def _computed(
        self, candidate: TeacherCandidate, cached: CachedScores, missing: Sequence[TransferabilityMetric]
    ) -> CachedScores:
        """Scores that were cached, and those that are computed now."""
        start = time.perf_counter()
        run = self._outputs(candidate, layers=self._reads_layers)
        computed = self._finite_scores(missing, run.outputs, candidate.name)
        # One duration for all processes, or their records would differ.
        seconds = on_main(self.accelerator, lambda: time.perf_counter() - start)
        cost = cached.seconds_per_1000_rows if run.seconds_per_1000_rows is None else run.seconds_per_1000_rows
        return replace(
            cached,
            scores={**cached.scores, **computed.scores},
            row_values={**cached.row_values, **computed.row_values},
            seconds=cached.seconds + seconds,
            parameters=run.parameters,
            seconds_per_1000_rows=cost,
            not_finite=computed.not_finite,
        )

    def _finite_scores(
        self, metrics: Sequence[TransferabilityMetric], outputs: ModelOutputs, name: str
    ) -> CachedScores:
        """The scores by some metrics on the rows with finite outputs, and how many have none.

        Raises:
            TeacherUnavailableError: see `_require_enough`.
        """
        finite = finite_rows_of(outputs)
        scorer, count = self, int((~finite).sum())
        if count:
            self._require_enough(finite)
            student = None if self.student is None else self.student[finite]
            scorer = replace(self, rows=self.rows.select(finite.nonzero()[:, 0].tolist()), student=student)
            outputs = outputs.select(finite)
        scores, values = on_main(self.accelerator, lambda: scorer._scores(metrics, outputs, name))
        row_values = {metric: _on_all_rows(of_finite, finite) for metric, of_finite in values.items()}
        return CachedScores(scores, row_values=row_values, not_finite=count)

    def _require_enough(self, finite: Bool[Tensor, " rows"]) -> None:
        """Refuse a teacher that has finite outputs for too few rows of a class: others are scored on all classes."""
        short = class_with_too_few_rows(self.rows.labels, finite)
        if short is not None:
            raise TeacherUnavailableError(
                f"its outputs are not finite for {int((~finite).sum())} of {len(finite)} rows, which leaves class "
                f"{self.rows.label_space.names[short]!r} with fewer than the two that a score needs",
                ProblemCode.NOT_FINITE,
            )

    def row_values(self, candidate: TeacherCandidate) -> Float[Tensor, " rows"] | None:
        """The cached values on rows of the metric that orders the ranking, for a teacher that was scored.

        Args:
            candidate: of a ranking by this scorer.

        Returns:
            None where they are not cached: the metric is no mean over rows, or comes from another package.
        """
        cached = ScoreCache(self.run_settings.folder / "scores").read(self._key(candidate))
        return row_tensor(cached.row_values.get(settings_of(self.metrics[0])))

    def score_loaded(self, teacher: Teacher) -> RankedTeacher:
        """A model that is loaded already, with its scores or the reason why it has none; nothing is stored.

        Args:
            teacher: in evaluation mode, on its device.

        Raises:
            DatasetError: if a row cannot be read.
        """
        start = time.perf_counter()
        try:
            outputs = compute_outputs(
                teacher,
                self.rows,
                accelerator=self.accelerator,
                batch_size=self.run_settings.batch_size,
                progress=self.run_settings.progress,
                workers=self.run_settings.workers,
                layers=self._reads_layers,
                max_not_finite=MOST_NOT_FINITE,
            ).select(torch.arange(len(self.rows)))
            cost = self._cost(start, len(set(self.rows.digests)))
            computed = self._finite_scores(self.metrics, outputs, teacher.candidate.name)
            seconds = on_main(self.accelerator, lambda: time.perf_counter() - start)
            computed = replace(computed, seconds=seconds, seconds_per_1000_rows=cost)
            return self._ranked(teacher.candidate, computed)
        except TeacherUnavailableError as error:
            return RankedTeacher.unusable(teacher.candidate, error)

    def posterior(self, candidate: TeacherCandidate) -> TeacherPosterior | None:
        """Cross-fitted predictions of the labels from a candidate, its outputs read from the cache.

        Returns:
            None if it gives none: a folder may have vanished since the ranking, or too few rows have finite layers.
        """
        try:
            outputs = self._outputs(candidate, layers=True).outputs
            self._require_enough(finite_rows_of(outputs))
            return on_main(self.accelerator, lambda: TeacherPosterior.fit(outputs, self.rows.labels))
        except (TeacherUnavailableError, *_SCORE_FAILURES):
            return None

    def _ranked(self, candidate: TeacherCandidate, computed: CachedScores) -> RankedTeacher:
        by_name = {metric.name: computed.scores[settings_of(metric)] for metric in self.metrics}
        first = self.metrics[0]
        if by_name[first.name] is None:
            reason = "it has no head" if Needs.LOGITS in first.needs else "its outputs give no finite score"
            raise TeacherUnavailableError(
                f"cannot be ranked by {first.name!r}: {reason}. Order by another metric.", ProblemCode.INCOMPATIBLE
            )
        values = row_tensor(computed.row_values.get(settings_of(first)))
        return RankedTeacher(
            candidate,
            {
                **{name: value for name, value in by_name.items() if value is not None},
                **control_scores(candidate, self.seed),
            },
            rows=len(self.rows) - computed.not_finite,
            not_finite=computed.not_finite,
            seconds=computed.seconds,
            interval=None if values is None else interval_of(values, self.rows.labels),
            seconds_per_1000_rows=computed.seconds_per_1000_rows,
        )

    @property
    def _reads_layers(self) -> bool:
        return any(Needs.LAYERS in metric.needs for metric in self.metrics)

    def _cost(self, start: float, rows: int) -> float | None:
        seconds = on_main(self.accelerator, lambda: time.perf_counter() - start)
        return 1000 * seconds / rows if rows else None

    def _outputs(self, candidate: TeacherCandidate, *, layers: bool) -> "_TeacherRun":
        options, modality = self.run_settings.options, self.rows.modality
        timeout, device, target = options.timeout, self.accelerator.device, self.rows.label_space
        if self.accelerator.num_processes > 1:  # one process downloads and tries it, the others read its cache
            on_main(self.accelerator, lambda: options.prepare(candidate, modality, device, target))
            options = replace(options, timeout=None)
        loaded: list[Teacher] = []

        def load() -> None:
            loaded.append(Teacher.load(candidate, modality, device=device, options=options, target=target))

        try:
            on_all(self.accelerator, load)
            cache_dir = self.run_settings.folder / "outputs"
            depth, digests = MOST_LAYERS if layers else 0, self.rows.digests
            # No variable may hold the teacher beside `loaded`, which is emptied below.
            pending = on_main(
                self.accelerator, lambda: len(open_cache(cache_dir, loaded[0], layers=depth).missing(digests))
            )
            start = time.perf_counter()
            outputs = compute_outputs(
                loaded[0],
                self.rows,
                accelerator=self.accelerator,
                batch_size=self.run_settings.batch_size,
                cache_dir=cache_dir,
                progress=self.run_settings.progress,
                workers=self.run_settings.workers,
                layers=layers,
                timeout=timeout,
                max_not_finite=MOST_NOT_FINITE,
            )
            cost = self._cost(start, pending)
            # Metrics read the outputs of all sampled rows at once.
            return _TeacherRun(loaded[0].candidate.parameters, outputs.select(torch.arange(len(self.rows))), cost)
        finally:
            models = [weakref.ref(teacher.model) for teacher in loaded]
            loaded.clear()
            # A collection takes half a second: only for a model that reference counting leaves behind.
            if any(model() is not None for model in models):
                gc.collect()
            clear_device_cache()

    def _scores(
        self, metrics: Sequence[TransferabilityMetric], outputs: ModelOutputs, name: str
    ) -> tuple[dict[str, float | None], dict[str, tuple[float | None, ...]]]:
        """The scores by some metrics, and the values on rows of the metric that orders the ranking."""
        scores, row_values, silent = {}, {}, not self.run_settings.progress
        with tqdm(metrics, f"scores of {name}", unit="score", leave=False, disable=silent) as bar:
            for metric in bar:
                bar.set_postfix_str(metric.name)
                settings = settings_of(metric)
                scores[settings], values = self.score_outputs(metric, outputs)
                if values is not None:
                    row_values[settings] = cached_values(values)
        return scores, row_values

    def score_outputs(
        self, metric: TransferabilityMetric, outputs: ModelOutputs
    ) -> tuple[float | None, Float[Tensor, " rows"] | None]:
        """The score of a metric, with its values on the rows if it orders the ranking and is a mean over rows.

        Args:
            metric: one of the scorer's.
            outputs: of any model on the scorer's rows.

        Returns:
            A finite score, or None where the metric does not apply to such outputs, and `[rows]` values or None.
        """
        if Needs.LOGITS in metric.needs and outputs.logits is None:
            return None, None
        labels, values = self.rows.labels, None
        try:
            if self.student is not None and isinstance(metric, TransportScore):
                score = metric.score_student(outputs, labels, student=self.student)
            elif isinstance(metric, MeanOverRows) and self._orders_by_rows(metric):
                values = metric.row_values(outputs, labels)
                score = float(values.nanmean())
            else:
                score = metric.score(outputs, labels)
        except _SCORE_FAILURES:
            return None, None
        return (score, values) if math.isfinite(score) else (None, None)

    @property
    def _zero_shot_key(self) -> dict[str, str]:
        """What the outputs of zero-shot teachers depend on, which are known as such only once they are loaded."""
        if self.rows.modality != "image":
            return {}
        template, names = self.run_settings.options.zero_shot_template, self.rows.label_space.names
        return {"texts": hashlib.sha256("\n".join((template, *names)).encode()).hexdigest()}

    @property
    def _quantization_key(self) -> dict[str, str]:
        config = self.run_settings.options.quantization_config
        return {} if config is None else {"quantization": str(config.to_dict())}

    def _key(self, candidate: TeacherCandidate) -> dict[str, str]:
        return {
            "rows": self.rows.fingerprint,
            "student": "none" if self.student is None else hashlib.sha256(self.student.numpy().tobytes()).hexdigest(),
            "classes": str(len(self.rows.label_space)),
            "model": candidate.model_id if candidate.source == "hub" else "folder",
            "revision": candidate.revision,
            "random_weights": str(self.run_settings.options.seed) if candidate.random_weights else "no",
            "dtype": str(self.run_settings.options.dtype),
            **self._zero_shot_key,
            **self._quantization_key,
            "hf_ctkd": __version__,
            "transformers": transformers.__version__,
        }


class _TeacherRun(NamedTuple):
    """What running a teacher gives; its cost is None where all outputs were read from the cache."""

    parameters: int | None
    outputs: ModelOutputs
    seconds_per_1000_rows: float | None


def _lasting(computed: CachedScores, missing: Sequence[TransferabilityMetric]) -> CachedScores:
    """The scores to cache: not those of a metric from another package, whose code may change between runs."""
    foreign = {settings_of(metric) for metric in missing if not _is_from_hf_ctkd(metric)}
    return replace(
        computed,
        scores={name: score for name, score in computed.scores.items() if name not in foreign},
        row_values={name: values for name, values in computed.row_values.items() if name not in foreign},
    )


def cached_values(values: Float[Tensor, " rows"]) -> tuple[float | None, ...]:
    """Values on rows as they are cached, NaN as None.

    Args:
        values: of the rows.
    """
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _on_all_rows(values: tuple[float | None, ...], finite: Bool[Tensor, " rows"]) -> tuple[float | None, ...]:
    """Values on the rows with finite outputs, and None, as for a row that is not judged, on the others."""
    remaining = iter(values)
    return tuple(next(remaining) if judged else None for judged in finite.tolist())


def row_tensor(values: Sequence[float | None] | None) -> Float[Tensor, " rows"] | None:
    """Values on rows as they are cached, as a tensor.

    Args:
        values: None for a row that is not judged.
    """
    if values is None:
        return None
    return torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)


def settings_of(metric: TransferabilityMetric) -> str:
    """A metric's class with its settings, as text: the key under which its scores are cached.

    Args:
        metric: a frozen dataclass, so that its representation holds its settings.
    """
    return f"{type(metric).__module__}.{metric!r}"


def _is_from_hf_ctkd(metric: TransferabilityMetric) -> bool:
    if isinstance(metric, HalfSample):
        return _is_from_hf_ctkd(metric.metric)
    return type(metric).__module__.startswith("hf_ctkd.")
