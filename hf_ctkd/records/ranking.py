"""The outcome of a selection: every candidate with its scores, its cost, or the reason why it was skipped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ctkd.errors import (
    InvalidArgumentError,
    MissingExtraError,
    NoTeacherLeftError,
    ProblemCode,
    TeacherUnavailableError,
)
from hf_ctkd.records.candidate import TeacherCandidate
from hf_ctkd.records.confidence import three_decimals
from hf_ctkd.records.expected_gain import METRIC, ExpectedGain, expected_gain
from hf_ctkd.records.fields import read_record
from hf_ctkd.records.files import write_json
from hf_ctkd.records.text import drawable, last_name, parameter_count, text_table

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND = "teacher-ranking"
FORMAT = 3
"""Version of the fields of `ranking.json`; raised when one is renamed, removed, or added without a default."""
INTERVAL = "95 % interval"
"""Title of the column of intervals."""
_COUNTS = ("rows", "labelled_rows", "scored_rows")
CONTROL_NOTE = (
    "Columns marked (control) know nothing of the task: a score that chooses no better teachers than they do is no "
    "evidence."
)


@dataclass(frozen=True)
class RankedTeacher:
    """One row of a ranking.

    Args:
        candidate: the teacher.
        scores: metric name -> value, higher is better; empty when skipped.
        rows: rows of the target data set that it was scored on.
        seconds: time taken to load it, run it and score it.
        skipped: why it was not scored; None when it was.
        skipped_code: the kind of this reason, for programs; None when it was scored.
        interval: where the score that orders the ranking would lie on 95 % of other draws of rows, lower end first;
            None for a metric that is no mean over rows.
        seconds_per_1000_rows: what a thousand rows cost on the machine that ranked it: reading, preprocessing and the
            forward pass; None where all outputs were read from the cache.
        not_finite: rows beside `rows` that its scores leave out, as its outputs are NaN or infinite for them.

    Raises:
        InvalidArgumentError: if a number is negative, or the ends of the interval are not in order.
    """

    candidate: TeacherCandidate
    scores: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    skipped: str | None = None
    skipped_code: ProblemCode | None = None
    interval: tuple[float, float] | None = None
    seconds_per_1000_rows: float | None = None
    not_finite: int = 0

    def __post_init__(self) -> None:
        for name, value in (
            ("rows", self.rows),
            ("not_finite", self.not_finite),
            ("seconds", self.seconds),
            ("seconds_per_1000_rows", self.seconds_per_1000_rows or 0.0),
        ):
            if value < 0:
                raise InvalidArgumentError(f"`{name}` must not be negative, got {value}.")
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise InvalidArgumentError(f"`interval` must have its lower end first, got {list(self.interval)}.")

    @property
    def remark(self) -> str:
        """How many rows its scores leave out, as a sentence; empty where there are none."""
        return _left_out(self.not_finite, self.rows)

    @property
    def given_rows(self) -> int:
        """Rows that it was run on, those that its scores leave out included."""
        return self.rows + self.not_finite

    @classmethod
    def unusable(cls, candidate: TeacherCandidate, error: TeacherUnavailableError) -> "RankedTeacher":
        """A candidate that was skipped.

        Args:
            candidate: the teacher.
            error: why it cannot be used.
        """
        return cls(candidate, skipped=str(error), skipped_code=error.code)


@dataclass(frozen=True)
class CommitteeMember:
    """One teacher of a chosen committee.

    Args:
        rank: its rank among the scored teachers, 1 for the best: two folders may have the same name.
        teacher: its name.
        information_gain: of the committee up to this member, as a share of the label entropy, at most 1.
    """

    rank: int
    teacher: str
    information_gain: float


@dataclass(frozen=True)
class TeacherFreeBaseline:
    """The scores of a student without any teacher: a teacher that scores no higher tells it nothing new.

    Args:
        scores: metric name -> value, on the rows and by the metrics of the teachers.
        student: the checkpoint that the student starts from, scored like a teacher; None for the input features of the
            rows (pixels, or words weighted by rarity), all that a student has which starts from nothing.
        seconds: time taken to score it.
        interval: as in `RankedTeacher`.
        seconds_per_1000_rows: as in `RankedTeacher`, of the student; None without one.
        rows: as in `RankedTeacher`; 0 where that is not known.
        not_finite: as in `RankedTeacher`.

    Raises:
        InvalidArgumentError: if a number is negative.
    """

    scores: Mapping[str, float]
    student: TeacherCandidate | None = None
    seconds: float = 0.0
    interval: tuple[float, float] | None = None
    seconds_per_1000_rows: float | None = None
    rows: int = 0
    not_finite: int = 0

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("rows", self.rows), ("not_finite", self.not_finite)):
            if value < 0:
                raise InvalidArgumentError(f"`{name}` must not be negative, got {value}.")

    @property
    def remark(self) -> str:
        """As of `RankedTeacher`."""
        return _left_out(self.not_finite, self.rows)

    @property
    def name(self) -> str:
        """Name for tables."""
        return "input features (no teacher)" if self.student is None else f"your student: {self.student.name}"

    @property
    def subject(self) -> str:
        """What knows as much of the task as this, for a sentence."""
        return "the input features alone tell" if self.student is None else "your student already knows"


@dataclass(frozen=True)
class TeacherRanking:
    """Teachers in the order in which they are advised, best first, then the skipped ones.

    Args:
        teachers: one entry a candidate; `TeacherRanking.of` puts them in order.
        metric: name of the score that orders them.
        controls: names of the scores that know nothing of the target (size, downloads, random): a metric that does not
            beat them is no evidence.
        dataset: facts about the target rows: name, fingerprint, columns, label names, number of rows.
        settings: seed, metric settings and versions, enough to run it again.
        members: the committee that was chosen from it, in the order of choice; empty without one.
        baseline: the student itself, or the input features of its rows, scored like the teachers: the line below which
            none knows more of the task; None where it was not scored.
        tied: number of scored teachers, from the first on, that cannot be told apart from the first by their
            differences on the same rows, at 95 %; None where that is not known, as within a budget.

    Raises:
        InvalidArgumentError: if a member's rank is not that of a scored teacher, the baseline has no score by `metric`,
            or there are fewer scored teachers than `tied`, or a fact
            is of another type than those that a page or an expected gain is made from.
    """

    teachers: tuple[RankedTeacher, ...]
    metric: str
    controls: tuple[str, ...] = ()
    dataset: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[CommitteeMember, ...] = ()
    baseline: TeacherFreeBaseline | None = None
    tied: int | None = None

    def __post_init__(self) -> None:
        if self.tied is not None and not 1 <= self.tied <= len(self.scored):
            raise InvalidArgumentError(f"`tied` must be between 1 and {len(self.scored)}, got {self.tied}.")
        _check_facts(self.dataset, self.settings)
        if self.baseline is not None and self.metric not in self.baseline.scores:
            raise InvalidArgumentError(
                f"`baseline` must have a score by {self.metric!r}, which orders the teachers, got scores by "
                f"{', '.join(self.baseline.scores) or 'nothing'}. Score it by the same metrics."
            )
        for member in self.members:
            if not 1 <= member.rank <= len(self.scored):
                raise InvalidArgumentError(
                    f"`members` must be ranked between 1 and {len(self.scored)}, got rank {member.rank}."
                )

    @classmethod
    def of(
        cls,
        teachers: "list[RankedTeacher]",
        metric: str,
        *,
        controls: tuple[str, ...] = (),
        dataset: Mapping[str, Any],
        settings: Mapping[str, Any],
        baseline: TeacherFreeBaseline | None = None,
    ) -> "TeacherRanking":
        """A ranking in order: scored teachers by `metric` from high to low (ties by name), then the skipped."""
        ordered = sorted(teachers, key=lambda t: (t.skipped is not None, -t.scores.get(metric, 0.0), t.candidate.name))
        return cls(tuple(ordered), metric, controls, dict(dataset), dict(settings), baseline=baseline)

    @property
    def scored(self) -> tuple[RankedTeacher, ...]:
        """The teachers that were scored, best first."""
        return tuple(teacher for teacher in self.teachers if teacher.skipped is None)

    @property
    def above_baseline(self) -> tuple[RankedTeacher, ...]:
        """The scored teachers that know more of the task than the baseline, and than any control with random weights.

        Without a baseline all of them but the controls. Teachers that are not compared with it are left out.
        """
        return tuple(teacher for teacher in self.scored if self.is_above(teacher))

    def is_above(self, teacher: RankedTeacher) -> bool:
        """Whether a scored teacher is one of `above_baseline`.

        Args:
            teacher: of this ranking.
        """
        if teacher.candidate.is_control or self.baseline is None:
            return not teacher.candidate.is_control
        return self.is_compared(teacher) and teacher.scores.get(self.metric, 0.0) > self._line

    def is_compared(self, teacher: RankedTeacher) -> bool:
        """Whether a scored teacher was scored on the rows of the baseline, or without one on those of the first.

        Within a budget others are not: scores grow with the number of rows.

        Args:
            teacher: of this ranking.
        """
        return teacher.given_rows == self._compared_rows

    @cached_property
    def _compared_rows(self) -> int:
        if self.baseline is not None and self.baseline.rows:
            return self.baseline.rows + self.baseline.not_finite
        return next((teacher.given_rows for teacher in self.scored), 0)

    @cached_property
    def _line(self) -> float:
        """The score that a teacher has to exceed: of the baseline, or of a control with random weights above it."""
        line = -math.inf if self.baseline is None else self.baseline.scores[self.metric]
        return max([line, *(control.scores.get(self.metric, line) for control in self._controls)])

    @cached_property
    def _controls(self) -> tuple[RankedTeacher, ...]:
        return tuple(t for t in self.scored if t.candidate.is_control and self.is_compared(t))

    @property
    def rank_of_baseline(self) -> int:
        """The rank that the baseline would have among the scored teachers, controls included; last without one."""
        if self.baseline is None:
            return len(self.scored) + 1
        line = self.baseline.scores[self.metric]
        # Within a budget a teacher with a high score on few rows may stand below others with lower scores on more.
        better = takewhile(lambda t: self.is_compared(t) and t.scores.get(self.metric, 0.0) > line, self.scored)
        return 1 + sum(1 for _ in better)

    @property
    def certainty(self) -> str:
        """What a budget was spent on, and how sure the first teacher is, in two sentences; empty without a budget."""
        budget = self.settings.get("budget")
        return str(budget.get("summary", "")) if isinstance(budget, Mapping) else ""

    @property
    def tie(self) -> str:
        """That the first teachers cannot be told apart, as a sentence; empty where they can, or it is not known."""
        if (self.tied or 0) < 2:
            return ""
        chance = any(teacher.candidate.is_control for teacher in self.scored[: self.tied])
        return f"The first {self.tied} cannot be told apart on these rows" + (
            ", and one of them has random weights: what the others know may be chance." if chance else "."
        )

    @property
    def advises_no_teacher(self) -> bool:
        """Whether no candidate knows more of the task than the baseline or chance: none is worth distilling from."""
        return self.baseline is not None and bool(self.scored) and not self.above_baseline

    @property
    def advises_own_layers(self) -> bool:
        """Whether a pretrained student should be its own teacher, as no candidate knows more of the task."""
        return self.advises_no_teacher and self.baseline is not None and self.baseline.student is not None

    @property
    def advice(self) -> str:
        """Whether a teacher is worth distilling from, as a sentence; empty without a baseline or a scored teacher."""
        if self.baseline is None or not self.scored:
            return ""
        line = self._line_in_words(self.baseline)
        to_do = "Let the student's own layers teach it" if self.advises_own_layers else "Train on the labels alone"
        against = f"{to_do}: no candidate knows more of this task than {line}."
        advice = self._advice_to_teach(line) if self.above_baseline else against
        return " ".join(part for part in (advice, self.apart) if part)

    @property
    def apart(self) -> str:
        """How many teachers were scored on fewer rows than the others, as a sentence; empty where none was."""
        count = sum(not self.is_compared(teacher) for teacher in self.scored)
        if not count:
            return ""
        were = "1 teacher was" if count == 1 else f"{count} teachers were"
        return f"{were} scored on fewer rows, and not compared: scores grow with the number of rows."

    def _advice_to_teach(self, line: str) -> str:
        """How many teachers know more than the line, and what the first is expected to add."""
        count, first = len(self.above_baseline), self.above_baseline[0]
        below = any(not self.is_above(t) for t in self.scored if self.is_compared(t) and not t.candidate.is_control)
        knows = "1 teacher knows" if count == 1 else f"{count} teachers know"
        advice = f"{knows} more of this task than {line}."
        advice += " Those below this line do not." if below else ""
        advice += f" {self.tie}" if self.tie else ""
        gain = self.expected_gain(first)
        if gain is None:
            return advice
        return f"{advice} Expect {first.candidate.name} to add {gain} to what the student reaches without a teacher."

    def _line_in_words(self, baseline: TeacherFreeBaseline) -> str:
        """What a teacher has to know more than, with its score."""
        score = f"{self.metric} {_number(self._line)}"
        if self._line > baseline.scores[self.metric]:
            control = next(t for t in self._controls if t.scores.get(self.metric) == self._line)
            return f"{control.candidate.name} ({score}), a control whose score is chance"
        return f"{baseline.subject} ({score})"

    def expected_gain(self, teacher: RankedTeacher) -> ExpectedGain | None:
        """Points of accuracy that distillation from a teacher is expected to add, before anything is trained.

        Args:
            teacher: of this ranking.

        Returns:
            None where it is not known: for a teacher that is not one of `above_baseline`, without a baseline, where no
            information gain orders the ranking, or where every ranked row has a label, as rows without one carry what
            a teacher adds.
        """
        rows, labelled = self.dataset.get("rows"), self.dataset.get("labelled_rows")
        if self.metric != METRIC or self.baseline is None or METRIC not in teacher.scores or not self.is_above(teacher):
            return None
        if not rows or not labelled or labelled >= rows:
            return None
        return expected_gain(teacher.scores[METRIC], self.baseline.scores[METRIC], labelled / rows)

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """The names of those whose scores leave rows out, the student's first, and how many rows, as a sentence."""
        baseline = [] if self.baseline is None else [(self.baseline.name, self.baseline.remark)]
        named = [*baseline, *((teacher.candidate.name, teacher.remark) for teacher in self.scored)]
        return [(name, remark) for name, remark in named if remark]

    def top(self, k: int = 1) -> list[TeacherCandidate]:
        """The `k` best teachers; controls with random weights come after all others, whatever their scores.

        Raises:
            InvalidArgumentError: if `k` is below one.
            NoTeacherLeftError: if none was scored; the message gives the reason for each.
        """
        if k < 1:
            raise InvalidArgumentError(f"`k` must be at least 1, got {k}.")
        if not self.scored:
            reasons = "; ".join(f"{teacher.candidate.name}: {teacher.skipped}" for teacher in self.teachers[:20])
            raise NoTeacherLeftError(f"No teacher could be used out of {len(self.teachers)}. {reasons}")
        candidates = [teacher.candidate for teacher in self.scored]
        return sorted(candidates, key=lambda candidate: candidate.is_control)[:k]  # which keeps their order otherwise

    def committee(self) -> list[TeacherCandidate]:
        """The members that `TeacherSelector.select_committee` chose, in their order.

        Raises:
            InvalidArgumentError: if no committee was chosen.
        """
        if not self.members:
            raise InvalidArgumentError(
                "This ranking holds no committee. Choose one with `TeacherSelector.select_committee` or "
                "`hf-ctkd select --committee 3`."
            )
        return [self.scored[member.rank - 1].candidate for member in self.members]

    def __str__(self) -> str:
        """As a table for the terminal, controls marked, with a line where the student itself stands."""
        if not self.teachers:
            return "No candidates."
        header, body = self._cells()
        lines = [text_table(header, body)] if body else ["No teacher was scored."]
        note = self.advice or " ".join(part for part in (self.tie, self.apart) if part)
        lines += [note] if note else []
        lines += [self.certainty] if self.certainty else []
        if body and self.controls:
            lines.append(CONTROL_NOTE)
        lines += [f"{name}: {remark}" for name, remark in self.remarks]
        skipped = [teacher for teacher in self.teachers if teacher.skipped is not None]
        lines += [f"skipped  {teacher.candidate.name}: {teacher.skipped}" for teacher in skipped]
        return "\n".join(lines)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table of scored teachers."""
        names = [name for name in self.score_names if name != "parameters"]  # a column of its own below
        titles = [f"{name} (control)" if name in self.controls else name for name in names]
        size = "parameters (control)" if "parameters" in self.controls else "parameters"
        if self.has_intervals:
            titles.insert(1, INTERVAL)
        gains = [self.expected_gain(teacher) for teacher in self.scored]
        with_gain = ["expected gain"] if any(gain is not None for gain in gains) else []
        costs = self._cost_titles
        header = ["rank", "teacher", *titles, *with_gain, size, *costs, "licence", "seconds", "rows"]
        body = [
            [
                str(rank),
                teacher.candidate.marked_name,
                *self._scores_of(teacher, names),
                *(["-" if gain is None else gain.short] if with_gain else []),
                parameter_count(teacher.candidate.parameters),
                *self._cost_cells(teacher.seconds_per_1000_rows),
                teacher.candidate.license or "not stated",
                f"{teacher.seconds:.1f}",
                str(teacher.rows) if self.is_compared(teacher) else f"{teacher.rows} (not compared)",
            ]
            for rank, (teacher, gain) in enumerate(zip(self.scored, gains, strict=True), 1)
        ]
        if body and self.baseline is not None:
            student = self.baseline.student
            scores = self._scores_of(self.baseline, names)
            parameters = "-" if student is None else parameter_count(student.parameters)
            row = [
                "-",
                self.baseline.name,
                *scores,
                *("-" for _ in with_gain),
                parameters,
                *self._cost_cells(self.baseline.seconds_per_1000_rows),
                "",
                f"{self.baseline.seconds:.1f}",
                str(self.baseline.rows or ""),
            ]
            body.insert(self.rank_of_baseline - 1, row)
        return header, body

    @property
    def has_intervals(self) -> bool:
        """Whether any score that orders has an interval."""
        return any(teacher.interval is not None for teacher in self.scored)

    def speed_up(self, teacher: RankedTeacher) -> float | None:
        """How many times as fast as a teacher the student is, by the forward passes of both; None if not measured.

        Args:
            teacher: of this ranking.
        """
        student = None if self.baseline is None else self.baseline.seconds_per_1000_rows
        return None if not student or teacher.seconds_per_1000_rows is None else teacher.seconds_per_1000_rows / student

    @property
    def _cost_titles(self) -> list[str]:
        if all(teacher.seconds_per_1000_rows is None for teacher in self.scored):
            return []
        student = None if self.baseline is None else self.baseline.seconds_per_1000_rows
        return ["s / 1,000 rows", *(["student's speed-up"] if student else [])]

    def _cost_cells(self, cost: float | None) -> list[str]:
        student = None if self.baseline is None else self.baseline.seconds_per_1000_rows
        cells = [
            "-" if cost is None else f"{cost:.3g}",
            "-" if cost is None or not student else f"{cost / student:.3g}x",
        ]
        return cells[: len(self._cost_titles)]

    def _scores_of(self, scored: RankedTeacher | TeacherFreeBaseline, names: list[str]) -> list[str]:
        """The cells of the scores, and after the first that of its interval."""
        cells = [_number(scored.scores.get(name)) for name in names]
        return [cells[0], interval_text(scored.interval), *cells[1:]] if self.has_intervals else cells

    @property
    def score_names(self) -> list[str]:
        """Names of all scores: the one that orders first, the controls last."""
        names = {name for teacher in self.scored for name in teacher.scores} - {self.metric}
        others = sorted(names - set(self.controls))
        return [self.metric, *others, *(name for name in self.controls if name in names)]

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a teacher: sha, whether it is a control, scores, interval, expected gain, cost, licence, reason."""
        import pandas

        gains = [self.expected_gain(teacher) for teacher in self.teachers]
        return pandas.DataFrame(
            [
                {
                    "teacher": teacher.candidate.model_id,
                    "revision": teacher.candidate.revision,
                    "control": teacher.candidate.is_control,
                    **teacher.scores,
                    "interval_low": None if teacher.interval is None else teacher.interval[0],
                    "interval_high": None if teacher.interval is None else teacher.interval[1],
                    "expected_gain": None if gain is None else gain.points,
                    "parameters": teacher.candidate.parameters,
                    "license": teacher.candidate.license,
                    "seconds_per_1000_rows": teacher.seconds_per_1000_rows,
                    "student_speed_up": self.speed_up(teacher),
                    "seconds": teacher.seconds,
                    "rows": teacher.rows,
                    "not_finite": teacher.not_finite,
                    "skipped": teacher.skipped,
                }
                for teacher, gain in zip(self.teachers, gains, strict=True)
            ]
        )

    def plot(self) -> "Figure":
        """The leaderboard as a matplotlib figure: one line a teacher, best on top, one panel a score, controls in grey.

        Panels have their own scales, as scores of different metrics cannot be compared. Bars are 95 % intervals. At
        most 30 teachers and four scores are drawn.

        Raises:
            MissingExtraError: if matplotlib is not installed.
            NoTeacherLeftError: if no teacher was scored.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("`plot` needs matplotlib. Install it with `pip install hf_ctkd[plots]`.") from error
        self.top(1)
        teachers, metrics = self.scored[:30], self._plotted
        figure = Figure(figsize=(3.4 + 1.9 * len(metrics), 1.2 + 0.3 * len(teachers)), layout="constrained")
        panels = figure.subplots(
            1, len(metrics), sharey=True, squeeze=False, width_ratios=[1.6, *[1] * (len(metrics) - 1)]
        )
        for metric, axes in zip(metrics, panels[0], strict=True):
            color = "#9a9a9a" if metric in self.controls else "#3d6b99"
            points = [(t.scores[metric], row) for row, t in enumerate(teachers) if metric in t.scores]
            axes.scatter([value for value, _ in points], [row for _, row in points], color=color, s=28, zorder=3)
            if metric == self.metric:
                _draw_intervals(axes, teachers, color)
            for value, row in points:
                interval = teachers[row].interval if metric == self.metric else None
                end = value if interval is None else max(value, interval[1])  # a label leaves the bar free
                text = parameter_count(int(value)) if abs(value) >= 1e4 else _number(value)
                on_line = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
                axes.annotate(
                    text, (end, row), (7, 0), textcoords="offset points", va="center", fontsize=7, bbox=on_line
                )
            kind = (
                "orders this list" if metric == self.metric else "control" if metric in self.controls else "also scored"
            )
            if self.baseline is not None and metric in self.baseline.scores:
                axes.axvline(self.baseline.scores[metric], color="#b0413e", linestyle="--", linewidth=1, zorder=2)
            axes.set_title(f"{drawable(metric, 24)}\n({kind})", fontsize=9)
            axes.margins(x=0.35)
            axes.set_xticks([])  # every point has its value beside it
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", color="#e5e5e5")
            axes.spines[:].set_visible(False)
        panels[0][0].set_yticks(range(len(teachers)), [drawable(teacher.candidate.marked_name) for teacher in teachers])
        panels[0][0].set_ylim(len(teachers) - 0.5, -0.5)
        dashed = "" if self.baseline is None else f"; dashed: {drawable(self.baseline.name)}"
        figure.supxlabel(f"higher is better{dashed}", fontsize=9)
        return figure

    @property
    def _plotted(self) -> list[str]:
        # The score that orders, one control if there is any, and the others in between.
        names = self.score_names
        control = [name for name in names if name in self.controls][:1]
        return [*[name for name in names if name not in self.controls][: 4 - len(control)], *control]

    def without_paths(self) -> "TeacherRanking":
        """The same without paths of this machine: folders of teachers and data become their last names."""
        named = (replace(teacher, candidate=teacher.candidate.without_path()) for teacher in self.teachers)
        facts = (
            {**self.dataset, "name": last_name(str(self.dataset["name"]))} if "name" in self.dataset else self.dataset
        )
        baseline = self.baseline
        if baseline is not None and baseline.student is not None:
            baseline = replace(baseline, student=baseline.student.without_path())
        return replace(self, teachers=tuple(named), dataset=facts, baseline=baseline)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, "format": FORMAT, **asdict(self)}

    def save(self, path: Path | str) -> Path:
        """Write `ranking.json`, whole or not at all."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> "TeacherRanking":
        """Read a ranking that `save` wrote.

        Raises:
            InvalidArgumentError: if the file is missing, damaged, or of another version; file and field are named.
        """
        return read_record(path, cls, kind=KIND, format=FORMAT)


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval for a table."""
    return "-" if interval is None else f"[{_number(interval[0])}, {_number(interval[1])}]"


def _draw_intervals(axes: "Axes", teachers: Sequence[RankedTeacher], color: str) -> None:
    for row, teacher in enumerate(teachers):
        if teacher.interval is not None:
            axes.hlines(row, *teacher.interval, color=color, linewidth=2, alpha=0.5, zorder=2)


def _check_facts(dataset: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse facts that cannot be what they are called: a file may be damaged, or written by another program."""
    counts = dataset.get("scored_rows_of_class", {})
    names = dataset.get("label_names", ())
    facts = [
        *((name, _is_count(dataset[name]), "a whole number") for name in _COUNTS if name in dataset),
        ("label_names", isinstance(names, list | tuple), "a list of names"),
        (
            "scored_rows_of_class",
            isinstance(counts, Mapping) and all(map(_is_count, counts.values())),
            "whole numbers by name",
        ),
        ("versions", isinstance(settings.get("versions", {}), Mapping), "versions by name"),
    ]
    for name, is_valid, expected in facts:
        if not is_valid:
            raise InvalidArgumentError(f"The fact {name!r} of a ranking must hold {expected}. Make the ranking again.")
    if dataset.get("labelled_rows", 0) > dataset.get("rows", math.inf):
        raise InvalidArgumentError(
            f"A ranking must have no more labelled rows than rows, got {dataset['labelled_rows']:,} of "
            f"{dataset['rows']:,}. Make the ranking again."
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _left_out(not_finite: int, rows: int) -> str:
    if not not_finite:
        return ""
    share = f"{not_finite} of {rows + not_finite} rows"
    return f"Its outputs are NaN or infinite for {share}, which were left out of its scores."


def _number(value: float | None) -> str:
    return "-" if value is None else three_decimals(value) if abs(value) < 1e4 else f"{value:.3g}"
