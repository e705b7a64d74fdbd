"""Ranks candidate teachers on rows of the target task; unusable candidates are skipped and the run continues."""

import platform
import time
from collections.abc import Iterable, Sequence, Sized
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from hf_ctkd._version import __version__
from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.data.progress import row_bars
from hf_ctkd.errors import InvalidArgumentError, NoTeacherLeftError
from hf_ctkd.hub import NewDownloads
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.records import CommitteeMember, RankedTeacher, TeacherRanking, default_cache
from hf_ctkd.selection.baseline import StudentLike, teacher_free_baseline
from hf_ctkd.selection.budget import Meter, SelectionBudget
from hf_ctkd.selection.budgeted import BudgetedScores, on_row_sets, score_within
from hf_ctkd.selection.candidates import Source, each_candidate
from hf_ctkd.selection.committee import Committee, choose_members
from hf_ctkd.selection.controls import CONTROLS
from hf_ctkd.selection.engines import ProcessExecutor
from hf_ctkd.selection.execution import score_by_processes, score_in_turn, score_on_workers
from hf_ctkd.selection.intervals import count_tied
from hf_ctkd.selection.leaderboard import Leaderboard, Progress, leaderboard_of, on_terminal
from hf_ctkd.selection.sampling import scoring_rows
from hf_ctkd.selection.scorer import RunSettings, Scorer
from hf_ctkd.selection.scores import chosen_metrics
from hf_ctkd.teachers import LoadOptions, on_main


@dataclass(frozen=True)
class TeacherSelector:
    """Ranks teachers by how well a target task can be predicted from them, before any student is trained.

    Use it to choose teachers for `DistillationTrainer` out of candidates of any size, label set and preprocessing. Each
    candidate costs one forward pass over at most `max_rows` labelled rows; only small linear probes are fitted. A
    candidate that is gated, missing, broken, too large or made for other inputs is listed with the reason, and the run
    continues.

    A ranking by the information gain, a transport score, LEEP or 1-NN has an interval for each score, from a bootstrap
    of the rows that fits nothing again, and says how many of the first teachers cannot be told apart: do not choose
    among these by score. Other metrics order teachers without intervals.

    The student is scored like a teacher, by the same metrics on the same rows: a teacher that scores no higher explains
    no more of the labels than the student does already. Where no student is named, or it has random weights, the
    information gain of the rows' input features (pixels or words) takes its place. `print(ranking)`, the record and the
    card show which teachers are above this line.

    Outputs and scores are cached on disk: an interrupted run, or one with more candidates, rows or metrics, computes
    only what is missing. While a candidate is scored, the next one is downloaded. Under `accelerate launch` the
    processes share the candidates, or the rows of each where there are fewer candidates than processes. `processes` or
    `executor` share the candidates among workers, each of which downloads its own; the ranking is the same.

    Args:
        metric: orders the ranking: the name of a metric in `hf_ctkd.metrics`, `"package.module:Class"`, or an object.
        student: the model that is going to be trained: its id on the Hub, its folder, a candidate, or the loaded model.
            An id or folder after `"random:"`, and a loaded model without a name, have random weights. None where the
            student is not chosen yet.
        processing_class: image processor or tokenizer of a student that is passed as a loaded model.
        metrics: further scores; when None the transport scores, LEEP, 1-NN and the information gain.
        max_rows: most labelled rows to score on, drawn by class; at least two for each class.
        batch_size: rows in a forward pass, at least 1; halved where the memory is too small.
        teacher_workers: processes that read and preprocess rows while a teacher runs; 0 for none.
        cache_dir: folder of cached outputs and scores; `default_cache()` when None.
        seed: of the draw of rows and of the random control, from 0 to 4,294,967,295.
        options: how teachers are fetched and loaded.
        progress: show bars with rate and time left for whatever takes more than two seconds, and a line for each
            teacher.
        processes: number of processes of this machine that score teachers, at least 1; 1 is this process alone. Each
            loads a model of its own and has its share of the threads. A script with more than one needs
            `if __name__ == "__main__":`.
        executor: scores the teachers instead, on workers that can read and write `cache_dir` and import hf_ctkd: any
            `concurrent.futures.Executor`, such as that of `dask_executor` for a cluster. Its processes must be spawned,
            not forked. It is not shut down.
        budget: what may be spent; the most promising teachers are then scored on more rows than others. None to score
            all of them on all rows.
        delete_downloads: delete the files of a teacher from the cache of huggingface_hub once it is scored, so that no
            more than two teachers need room there at a time; under `accelerate launch` and with a budget they are
            deleted at the end. Models of which the cache held anything before are kept, and so are local folders and
            the outputs of teachers. Distillation then downloads the chosen teacher again, and a committee its
            candidates.

    Raises:
        InvalidArgumentError: if a name is no metric, a number is out of its range, or both `executor` and `processes`
            are given.

    Reference:
        The task is that of Lu, Ye and Zhan:

        @article{lu2022selective,
          title = {Selective Cross-Task Distillation},
          author = {Lu, Su and Ye, Han-Jia and Zhan, De-Chuan},
          journal = {arXiv preprint arXiv:2204.11526},
          year = {2022}
        }

    Example:
        >>> from datasets import load_dataset
        >>> from hf_ctkd import DistillationTrainer, TeacherSelector, hub_teachers
        >>> flowers = load_dataset("nelorth/oxford-flowers")  # doctest: +SKIP
        >>> teachers = hub_teachers(task="image-classification", limit=50, max_parameters=300e6)  # doctest: +SKIP
        >>> ranking = TeacherSelector(max_rows=500).rank(teachers, flowers["train"])  # doctest: +SKIP
        >>> print(ranking)  # doctest: +SKIP
        >>> ranking.save("ranking.json")  # doctest: +SKIP
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student, teachers=ranking.top(1), train_dataset=flowers["train"]
        ... )
    """

    metric: TransferabilityMetric | str = "information_gain"
    _: KW_ONLY
    student: StudentLike | None = None
    processing_class: ProcessingClass | None = None
    metrics: tuple[TransferabilityMetric | str, ...] | None = None
    max_rows: int = 2000
    batch_size: int = 64
    teacher_workers: int = 0
    cache_dir: Path | str | None = None
    seed: int = 0
    options: LoadOptions = LoadOptions()
    progress: bool = True
    processes: int = 1
    executor: Executor | None = None
    budget: SelectionBudget | None = None
    delete_downloads: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_rows", self.max_rows, 1),
            ("batch_size", self.batch_size, 1),
            ("teacher_workers", self.teacher_workers, 0),
            ("processes", self.processes, 1),
        ):
            if value < least:
                raise InvalidArgumentError(f"`{name}` must be at least {least}, got {value}.")
        if not isinstance(self.budget, SelectionBudget | None):
            raise InvalidArgumentError(
                f"`budget` must be a SelectionBudget, got {self.budget!r}. Say what it limits, such as "
                "SelectionBudget(seconds=600)."
            )
        if not 0 <= self.seed < 2**32:
            raise InvalidArgumentError(f"`seed` must be between 0 and {2**32 - 1}, got {self.seed}.")
        if self.executor is not None and self.processes > 1:
            raise InvalidArgumentError(
                f"`processes` is {self.processes}, but `executor` has workers of its own. Leave one of them out."
            )
        chosen_metrics(self.metric, self.metrics)

    def rank(
        self,
        candidates: Iterable[Source] | Source,
        dataset: Dataset,
        *,
        input_column: str | Sequence[str] | None = None,
        label_column: str | None = None,
        skip_bad_rows: bool = False,
        student_probabilities: Float[Tensor, "rows classes"] | None = None,
    ) -> TeacherRanking:
        """Score every candidate.

        Args:
            candidates: records (from `hub_teachers`, `folder_teachers`), ids on the Hub or folders, one or many. An
                iterator is read one candidate at a time, so a search may continue while the first ones are scored.
            dataset: one split with raw images or texts, and classes as whole numbers or names; rows without a label are
                not used.
            input_column: column of images or texts, or two columns of texts that are read as a pair, in that order;
                recognised by types and usual names when None.
            label_column: column of labels; recognised by its name and type when None.
            skip_bad_rows: leave out rows that cannot be read and classes with a single row, instead of an error.
            student_probabilities: `[rows, classes]`, a student's predictions for all rows of `dataset`, each summing
                to one. They replace the labels as the target of transport scores, which then use Sinkhorn.

        Returns:
            All candidates, best first, then those that were skipped, each with the reason.

        Raises:
            DatasetError: if the rows cannot be used; the message names the first bad row.
            InvalidArgumentError: if an argument is out of its range, the student cannot be scored, or the cache cannot
                be written.
        """
        if self.budget is not None and student_probabilities is not None:
            raise InvalidArgumentError(
                "`student_probabilities` are for all rows, but `budget` scores on parts of them. Leave one of them out."
            )
        with row_bars(self.progress and not on_terminal()):
            rows = TargetRows.of(
                dataset, input_column=input_column, label_column=label_column, skip_bad_rows=skip_bad_rows
            )
            sample = scoring_rows(rows, self.max_rows, self.seed)
            scorer = self._scorer(sample, _sampled_probabilities(student_probabilities, len(dataset), sample))
            return self._rank(scorer, candidates, _facts(dataset, rows, sample))

    def select_committee(
        self,
        candidates: Iterable[Source] | Source,
        dataset: Dataset,
        k: int = 3,
        *,
        shortlist: int = 20,
        input_column: str | Sequence[str] | None = None,
        label_column: str | None = None,
        skip_bad_rows: bool = False,
    ) -> Committee:
        """Rank the candidates, then choose teachers that complement each other, not simply the `k` best.

        The first member is the teacher from which probes predict the labels best. Each further member is the one that
        improves the committee's prediction most, a log-mean of the members' cross-fitted probes. So a teacher that
        repeats a member is left out in favour of one that predicts something else. There may be fewer than `k`
        members: a candidate that improves nothing is not added.

        Args:
            candidates: as in `rank`.
            dataset: as in `rank`.
            k: most members, at least 1.
            shortlist: number of candidates from the top of the ranking that are considered, at least `k`; each is
                loaded again, but its outputs are read from the cache.
            input_column: as in `rank`.
            label_column: as in `rank`.
            skip_bad_rows: as in `rank`.

        Returns:
            The members in the order in which they were chosen, with the ranking of all candidates.

        Raises:
            DatasetError: if the rows cannot be used; the message names the first bad row.
            InvalidArgumentError: if an argument is out of its range, or the cache cannot be written.
            NoTeacherLeftError: if no candidate could be scored.
        """
        if k < 1:
            raise InvalidArgumentError(f"`k` must be at least 1, got {k}.")
        if self.budget is not None:
            raise InvalidArgumentError(
                "A committee needs the outputs of its candidates on all rows, but `budget` limits them. Leave it out."
            )
        if shortlist < k:
            raise InvalidArgumentError(f"`shortlist` must be at least `k` = {k}, got {shortlist}.")
        with row_bars(self.progress and not on_terminal()):
            rows = TargetRows.of(
                dataset, input_column=input_column, label_column=label_column, skip_bad_rows=skip_bad_rows
            )
            sample = scoring_rows(rows, self.max_rows, self.seed)
            scorer = self._scorer(sample, None)
            ranking = self._rank(scorer, candidates, _facts(dataset, rows, sample))
            return self._committee(scorer, ranking, k, shortlist)

    def _committee(self, scorer: Scorer, ranking: TeacherRanking, k: int, shortlist: int) -> Committee:
        ranking.top(1)  # refuses a ranking of none, with the reasons
        shortlisted = [teacher.candidate for teacher in ranking.scored[:shortlist]]
        show = self.progress and scorer.accelerator.is_main_process
        bar = tqdm(shortlisted, "committee", unit="teacher", leave=False, disable=not show)
        new_downloads = self._new_downloads()
        posteriors = []
        for candidate in bar:
            posteriors.append(scorer.posterior(candidate))
            if new_downloads is not None and scorer.accelerator.is_main_process:
                new_downloads.delete([candidate])
        usable = [index for index, posterior in enumerate(posteriors) if posterior is not None]
        if not usable:
            raise NoTeacherLeftError(
                f"None of the {len(shortlisted)} best teachers could be loaded again. Rank them again to see why."
            )
        chosen, gains = choose_members([p for p in posteriors if p is not None], scorer.rows.labels, k)
        ranks = [usable[index] for index in chosen]
        members = tuple(
            CommitteeMember(rank + 1, shortlisted[rank].name, gain) for rank, gain in zip(ranks, gains, strict=True)
        )
        return Committee(tuple(shortlisted[rank] for rank in ranks), gains, replace(ranking, members=members))

    def _scorer(self, sample: TargetRows, student: Tensor | None) -> Scorer:
        folder = Path(self.cache_dir) if self.cache_dir is not None else default_cache()
        show = self.progress and not on_terminal()
        settings = RunSettings(folder, self.options, self.batch_size, show, self.teacher_workers)
        metrics, accelerator = chosen_metrics(self.metric, self.metrics), Accelerator()
        if accelerator.num_processes > 1 and (self.executor is not None or self.processes > 1):
            raise InvalidArgumentError(
                "`processes` and `executor` bring workers, but so did `accelerate launch`. Leave one of them out."
            )
        return Scorer(metrics, sample, student, accelerator, settings, self.seed)

    def _rank(self, scorer: Scorer, candidates: Iterable[Source] | Source, facts: dict[str, object]) -> TeacherRanking:
        if self.budget is not None:
            return self._rank_within(self.budget, scorer, candidates, facts)
        baseline = teacher_free_baseline(scorer, self.student, self.processing_class)
        settings, metric = self._settings(scorer.metrics, scorer.student is not None), scorer.metrics[0].name
        teachers = self._score_all(scorer, candidates, leaderboard_of(metric, _count(candidates), baseline, facts))
        ranking = TeacherRanking.of(
            teachers, metric, controls=CONTROLS, dataset=facts, settings=settings, baseline=baseline
        )
        return replace(ranking, tied=_count_tied(scorer, ranking))

    def _rank_within(
        self, budget: SelectionBudget, scorer: Scorer, candidates: Iterable[Source] | Source, facts: dict[str, object]
    ) -> TeacherRanking:
        """A ranking by parts of the rows, the student on those of the first teacher: scores grow with their number."""
        meter, scorers, metric = self._meter(scorer, budget), on_row_sets(scorer), scorer.metrics[0].name
        # On the fewest rows first: a student that cannot be scored is refused before any teacher is run.
        baseline = teacher_free_baseline(scorers[0], self.student, self.processing_class)
        board = leaderboard_of(metric, _count(candidates), baseline, facts)
        scored = self._score_within(scorers, candidates, board, meter)
        if baseline is not None and scored.row_set > 0:
            baseline = teacher_free_baseline(scorers[scored.row_set], self.student, self.processing_class)
        settings = {**self._settings(scorer.metrics, against_student=False), "budget": scored.facts}
        return TeacherRanking(scored.teachers, metric, CONTROLS, facts, settings, baseline=baseline)

    def _workers(self) -> AbstractContextManager[Executor | None]:
        return ProcessExecutor(self.processes) if self.processes > 1 else nullcontext(self.executor)

    def _new_downloads(self) -> NewDownloads | None:
        return NewDownloads() if self.delete_downloads else None

    def _meter(self, scorer: Scorer, budget: SelectionBudget) -> Meter:
        # One clock for all processes, which must agree on what to score.
        return Meter(budget, clock=lambda: on_main(scorer.accelerator, time.monotonic))

    def _score_within(
        self, scorers: Sequence[Scorer], sources: Iterable[Source] | Source, board: Leaderboard, meter: Meter
    ) -> BudgetedScores:
        candidates, accelerator = each_candidate(sources, token=self.options.token), scorers[0].accelerator
        listed = on_main(accelerator, lambda: list(candidates))
        show, new_downloads = self.progress and accelerator.is_main_process, self._new_downloads()
        with (
            self._workers() as executor,
            Progress(replace(board, total=len(listed)), show=show, live=on_terminal()) as progress,
        ):
            scored = score_within(scorers, listed, progress, meter, executor)
        if new_downloads is not None and accelerator.is_main_process:
            new_downloads.delete(listed)
        return scored

    def _score_all(self, scorer: Scorer, sources: Iterable[Source] | Source, board: Leaderboard) -> list[RankedTeacher]:
        candidates = each_candidate(sources, token=self.options.token)
        show, new_downloads = self.progress and scorer.accelerator.is_main_process, self._new_downloads()
        with self._workers() as executor, Progress(board, show=show, live=on_terminal()) as progress:
            if executor is not None:
                return score_on_workers(scorer, candidates, progress, executor, new_downloads)
            if scorer.accelerator.num_processes > 1:
                return score_by_processes(scorer, candidates, progress, new_downloads)
            return score_in_turn(scorer, candidates, progress, new_downloads)

    def _settings(self, metrics: Sequence[TransferabilityMetric], against_student: bool) -> dict[str, object]:
        return {
            "seed": self.seed,
            "max_rows": self.max_rows,
            "metrics": {metric.name: metric.citation for metric in metrics},
            "target_of_transport": "student" if against_student else "labels",
            "dtype": str(self.options.dtype),
            "versions": {
                "hf_ctkd": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
        }


def _count_tied(scorer: Scorer, ranking: TeacherRanking) -> int | None:
    """The number of the first teachers that cannot be told apart; the values of each are read from the cache."""
    values = (scorer.row_values(teacher.candidate) for teacher in ranking.scored if teacher.interval is not None)
    return on_main(scorer.accelerator, lambda: count_tied(values, scorer.rows.labels))


def _count(sources: Iterable[Source] | Source) -> int | None:
    """The number of candidates, where it is known before they are looked up."""
    return len(sources) if isinstance(sources, Sized) and not isinstance(sources, str) else None


def _sampled_probabilities(probabilities: Tensor | None, rows: int, sample: TargetRows) -> Tensor | None:
    """The student's predictions for the sampled rows, in float64, after a check of their shape and values."""
    if probabilities is None:
        return None
    classes = len(sample.label_space)
    if probabilities.shape != (rows, classes):
        raise InvalidArgumentError(
            f"`student_probabilities` must be [rows, classes] = {[rows, classes]}, got {list(probabilities.shape)}. "
            "Give the student's prediction for every row of `dataset`."
        )
    chosen = probabilities.detach().cpu().double()[sample.origin]
    if not bool(torch.isfinite(chosen).all()) or bool((chosen < 0).any()):
        raise InvalidArgumentError(
            "`student_probabilities` must be finite and at least 0. Take a softmax of its logits."
        )
    if bool(((chosen.sum(1) - 1).abs() > 1e-2).any()):
        raise InvalidArgumentError(
            "`student_probabilities` must sum to one over classes. Take a softmax of its logits."
        )
    return chosen / chosen.sum(1, keepdim=True)


def _facts(dataset: Dataset, rows: TargetRows, sample: TargetRows) -> dict[str, object]:
    split = "" if dataset.split is None else f" ({dataset.split})"
    counts = torch.bincount(sample.labels, minlength=len(rows.label_space)).tolist()
    return {
        "name": f"{dataset.info.dataset_name or 'unnamed'}{split}",
        "fingerprint": rows.fingerprint,
        "modality": rows.modality,
        "input_column": ", ".join(rows.input_columns),
        "label_column": rows.label_column,
        "label_names": list(rows.label_space.names),
        "rows": len(rows),
        "labelled_rows": len(rows.labelled),
        "scored_rows": len(sample),
        "scored_rows_of_class": dict(zip(rows.label_space.names, counts, strict=True)),
    }
