"""One HTML page on a selection: scores, costs, the transport map of the best teacher, and what its students reached."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from hf_ctkd._version import __version__
from hf_ctkd.cards.charts import Axis, HeatMap, Point, Scatter
from hf_ctkd.cards.markdown import number, plain
from hf_ctkd.errors import ProblemCode
from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    RankedTeacher,
    TeacherFreeBaseline,
    TeacherRanking,
    chance_level,
    last_name,
    parameter_count,
    write_text,
)

PAGE_MARK = "<!-- written by hf-ctkd -->"
"""First line of a page, by which a command knows that it may replace it."""

_MOST_TEACHERS = 100
"""Teachers on the page; the others are in `ranking.json`."""
_MEANING = {
    "information_gain": "the share of the label entropy that cross-fitted probes on a teacher's outputs explain: "
    "0 is chance, 1 is all of it",
    "leep": "the log-likelihood of the labels given the teacher's class predictions; 0 is best",
    "nce": "the log-likelihood of the labels given the teacher's most likely classes; 0 is best",
    "nearest_neighbour": "the share of rows whose nearest other row has the same label",
    "transport_empirical": "minus the transport cost between the teacher's classes and yours, by common rows",
    "transport_prototype": "minus the transport cost between the teacher's classes and yours, by their prototypes",
    "parameters": "size alone",
    "downloads": "popularity alone",
    "random": "a random number",
}


@dataclass(frozen=True)
class StudentOutcome:
    """One kind of student in a comparison.

    Args:
        name: such as "labels alone".
        accuracy: in [0, 1].
        gain: in accuracy, over the student that the others are compared with; None for that student.
    """

    name: str
    accuracy: float
    gain: Confidence | None = None


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard.

    Args:
        kind: "teacher", "control" or "student".
        name: of the teacher or student.
        score: the number.
        share: where the score stands on the axis, in percent.
        seconds: taken to score it.
        gain: points of accuracy that it is expected to add; "" where that is not known.
        gain_interval: of these.
        rank: among the scored teachers; "" for the student.
        detail: size and licence.
        below: whether it knows no more than the student, or than a control with random weights.
        interval: of the score; "" where it has none.
        ends: of the interval on the axis, in percent; None where it has none.
        cost: seconds for 1,000 rows; "" where they were not measured.
        speed_up: of the student against this teacher; "" where it was not measured.
        rows: that it was scored on; "" where that is not known.
        rows_note: that it is not compared with the student; "" where it is.
    """

    kind: str
    name: str
    score: str
    share: float
    seconds: str
    gain: str = ""
    gain_interval: str = ""
    rank: str = ""
    detail: str = ""
    below: bool = False
    interval: str = ""
    ends: tuple[float, float] | None = None
    cost: str = ""
    speed_up: str = ""
    rows: str = ""
    rows_note: str = ""


@dataclass(frozen=True)
class PageSection:
    """One selection on a page.

    Args:
        ranking: the teachers.
        title: above it; the name of the data set when empty.
        record: of a student that was distilled from them, for its results and the transport map.
        students: a comparison of students.
        controls: names of teachers that are there for comparison alone, beside those with fresh random weights.
    """

    ranking: TeacherRanking
    title: str = ""
    record: DistillationRecord | None = None
    students: Sequence[StudentOutcome] = ()
    controls: frozenset[str] = frozenset()

    @property
    def heading(self) -> str:
        """The title."""
        return plain(
            self.title
            or f"Teachers for {str(self.ranking.dataset.get('name', '')).removeprefix('unnamed') or 'your rows'}"
        )

    @property
    def advice(self) -> str:
        """What to do, as a sentence."""
        if not self._drawn:
            return "No teacher could be scored; the reasons are below."
        best = plain(self._drawn[0].candidate.name)
        parts = (f"{best} comes first.", self.ranking.tie, self.ranking.apart, "The student itself was not scored.")
        return self.ranking.advice or " ".join(part for part in parts if part)

    @property
    def certainty(self) -> str:
        """What a budget was spent on, and how sure the first teacher is; empty without a budget."""
        return plain(self.ranking.certainty, 600)

    @cached_property
    def chance(self) -> float | None:
        """The score of a teacher that knows nothing of the labels."""
        return chance_level(self.ranking.metric, self.ranking.dataset.get("scored_rows_of_class", {}))

    @cached_property
    def axis(self) -> Axis:
        """Of the score that orders the teachers."""
        ranking = self.ranking
        values = [teacher.scores[ranking.metric] for teacher in self._drawn]
        values += [] if ranking.baseline is None else [ranking.baseline.scores[ranking.metric]]
        values += [] if self.chance is None else [self.chance]
        scored: list[RankedTeacher | TeacherFreeBaseline] = [*self._drawn]
        scored += [] if ranking.baseline is None else [ranking.baseline]
        values += [end for teacher in scored for end in teacher.interval or ()]
        return Axis.around(values)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Positions in percent and numbers of the axis."""
        ticks = self.axis.ticks()
        digits = 0 if len(ticks) < 2 else max(0, next(n for n in range(12) if ticks[1] - ticks[0] >= 0.99 / 10**n))
        return [(100 * self.axis.share(tick), f"{tick:.{digits}f}") for tick in ticks]

    @property
    def lines(self) -> list[tuple[str, float]]:
        """Levels that are drawn through the whole leaderboard: a class of the style sheet, and percent of the axis."""
        baseline = self.ranking.baseline
        levels = [("chance", self.chance)]
        levels += [] if baseline is None else [("student", baseline.scores[self.ranking.metric])]
        return [(name, 100 * self.axis.share(level)) for name, level in levels if level is not None]

    @property
    def rows(self) -> list[Row]:
        """The leaderboard, with the student where it stands."""
        rows, line = list(self._teacher_rows), self.ranking.rank_of_baseline
        baseline = self.ranking.baseline
        if baseline is not None:
            student = self._row("student", plain(baseline.name), baseline)
            rows.insert(min(line - 1, len(rows)), student)
        return rows

    @cached_property
    def _teacher_rows(self) -> list[Row]:
        rows = []
        for rank, teacher in enumerate(self._drawn, 1):
            candidate = teacher.candidate
            row = self._row(
                "control" if candidate.is_control or candidate.name in self.controls else "teacher",
                plain(candidate.name),
                teacher,
            )
            speed_up = self.ranking.speed_up(teacher)
            size, license = parameter_count(candidate.parameters), plain(candidate.license or "not stated")
            gain = self.ranking.expected_gain(teacher)
            rows.append(
                replace(
                    row,
                    gain="" if gain is None else gain.short,
                    gain_interval="" if gain is None else gain.interval,
                    rank=str(rank),
                    detail=f"{size} parameters, licence {license}",
                    below=self.ranking.is_compared(teacher) and not self.ranking.is_above(teacher),
                    rows_note="" if self.ranking.is_compared(teacher) else "not compared",
                    speed_up="" if speed_up is None else f"student {speed_up:.3g}x as fast",
                )
            )
        return rows

    @property
    def has_gains(self) -> bool:
        """Whether it is known what any teacher is expected to add."""
        return any(row.gain for row in self._teacher_rows)

    @property
    def has_costs(self) -> bool:
        """Whether the forward pass of any teacher was measured."""
        return any(row.cost for row in self._teacher_rows)

    @property
    def has_rows(self) -> bool:
        """Whether teachers were scored on different rows, as within a budget."""
        return len({teacher.given_rows for teacher in self._drawn}) > 1

    def _row(self, kind: str, name: str, scored: RankedTeacher | TeacherFreeBaseline) -> Row:
        score, interval, cost = scored.scores[self.ranking.metric], scored.interval, scored.seconds_per_1000_rows
        row = Row(kind, name, number(score), 100 * self.axis.share(score), f"{scored.seconds:.1f}")
        row = replace(row, rows=f"{scored.rows:,}") if scored.rows else row
        row = row if cost is None else replace(row, cost=f"{cost:.3g}")
        if interval is None:
            return row
        low, high = (100 * self.axis.share(end) for end in interval)
        return replace(row, interval=f"{number(interval[0])} to {number(interval[1])}", ends=(low, high))

    @property
    def left_out(self) -> int:
        """Scored teachers that are not on the page."""
        return len(self.ranking.scored) - len(self._drawn)

    @cached_property
    def _drawn(self) -> Sequence[RankedTeacher]:
        scored = [teacher for teacher in self.ranking.scored if self.ranking.metric in teacher.scores]
        return scored[:_MOST_TEACHERS]

    @property
    def scatters(self) -> list[tuple[str, Scatter]]:
        """Charts of a cost against the score."""
        charts = []
        for title, costs in (
            ("Parameters", [teacher.candidate.parameters for teacher in self._drawn]),
            ("Seconds for 1,000 rows", [teacher.seconds_per_1000_rows for teacher in self._drawn]),
            ("Seconds to score it", [teacher.seconds for teacher in self._drawn]),
        ):
            points = [
                Point(plain(row.name), float(cost), teacher.scores[self.ranking.metric], row.kind == "control")
                for row, teacher, cost in zip(self._teacher_rows, self._drawn, costs, strict=True)
                if cost
            ]
            if len(points) >= 2:
                charts.append((title, Scatter(points)))
        return charts

    @property
    def score_table(self) -> tuple[list[tuple[str, bool]], list[tuple[str, list[str]]]]:
        """Names of the other scores, each with whether it is a control, and the numbers of each teacher."""
        names = self.ranking.score_names[1:]
        body = [(plain(t.candidate.name), [_score(name, t.scores.get(name)) for name in names]) for t in self._drawn]
        return [(plain(name), name in self.ranking.controls) for name in names], body

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """What the scores mean."""
        return [(name, _MEANING[name]) for name in self.ranking.score_names if name in _MEANING]

    @property
    def heat_map(self) -> HeatMap | None:
        """How the classes of the teacher were carried over."""
        if self.record is None or self.record.transport_map is None:
            return None
        return HeatMap.of(self.record.transport_map)

    @property
    def remarks(self) -> list[str]:
        """Whose scores leave rows out, and how many."""
        return [f"{plain(name)}: {remark}" for name, remark in self.ranking.remarks]

    @property
    def skipped(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The other candidates by kind of reason, the most frequent kind first."""
        kinds: dict[str, list[tuple[str, str]]] = {}
        for teacher in self.ranking.teachers:
            if teacher.skipped is not None:
                kind = (teacher.skipped_code or ProblemCode.UNKNOWN).value.replace("_", " ").replace("-", " ")
                kinds.setdefault(kind, []).append((plain(teacher.candidate.name), plain(teacher.skipped, 400)))
        return sorted(kinds.items(), key=lambda item: -len(item[1]))

    @property
    def results(self) -> list[tuple[str, str, str, str]]:
        """Metrics of the student of the record: name, value, value without distillation, difference."""
        if self.record is None:
            return []
        baseline, differences = self.record.baseline, self.record.differences
        return [
            (
                plain(name),
                _with_interval(value),
                _with_interval(baseline[name]) if name in baseline else "",
                _with_interval(differences[name], sign=True) if name in baseline else "",
            )
            for name, value in self.record.results.items()
        ]

    @property
    def compared_with(self) -> str:
        """Name of the student that gains are measured from."""
        return next((outcome.name for outcome in self.students if outcome.gain is None), "the first student")

    @cached_property
    def gains(self) -> Axis | None:
        """Of the students' gains, in points."""
        gains = [outcome.gain for outcome in self.students if outcome.gain is not None]
        ends = [end for gain in gains for end in (gain.interval or (gain.value, gain.value))]
        return Axis.around([0.0, *(100 * end for end in ends)]) if gains else None

    @property
    def _rows_in_words(self) -> str:
        """How many rows teachers were scored on, of how many; within a budget it may be fewer than were drawn."""
        data = self.ranking.dataset
        if not {"scored_rows", "rows"} <= data.keys():
            return ""
        most = max((teacher.given_rows for teacher in self._drawn), default=0)
        if self.ranking.certainty and most:
            return f"at most {most:,} scored of {data['rows']:,}"
        return f"{data['scored_rows']:,} scored of {data['rows']:,}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What the ranking was made from."""
        ranking, data = self.ranking, self.ranking.dataset
        versions = ranking.settings.get("versions", {})
        facts = [
            ("candidates", f"{len(ranking.teachers):,}, of which {len(ranking.scored):,} could be scored"),
            ("data", str(data.get("name", "")).removeprefix("unnamed")),
            ("rows", self._rows_in_words),
            ("classes", f"{len(data['label_names']):,}" if "label_names" in data else ""),
            ("ordered by", ranking.metric),
            ("chance level", "" if self.chance is None else number(self.chance)),
            ("seconds", f"{sum(teacher.seconds for teacher in ranking.teachers):,.0f}"),
            ("seed", str(ranking.settings.get("seed", ""))),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ]
        return [(name, plain(value, 200)) for name, value in facts if value]


def render_page(sections: Sequence[PageSection], *, title: str) -> str:
    """A self-contained HTML page: no script, no font, no picture and no style from elsewhere.

    Names are shown as they are, never as HTML: they come from other people's repositories. Paths of this machine
    become names.

    Args:
        sections: one for each selection.
        title: of the page.

    Example:
        >>> ranking = TeacherRanking.load("ranking.json")  # doctest: +SKIP
        >>> Path("report.html").write_text(render_page([PageSection(ranking)], title="Flowers"))  # doctest: +SKIP
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"cost": _cost, "number": number, "plain": lambda text: plain(last_name(text))}
    template = environment.from_string((files("hf_ctkd.cards") / "page.html").read_text(encoding="utf-8"))
    shareable = [replace(section, ranking=section.ranking.without_paths()) for section in sections]
    text = template.render(sections=shareable, title=plain(title), version=__version__)
    return f"{PAGE_MARK}\n{text}"


def write_page(path: Path | str, sections: Sequence[PageSection], *, title: str) -> Path:
    """Write `render_page` to a file, whole or not at all.

    Args:
        path: of the file.
        sections: one for each selection.
        title: of the page.

    Raises:
        InvalidArgumentError: if the file cannot be written.
    """
    return write_text(path, render_page(sections, title=title))


def _cost(value: float) -> str:
    return parameter_count(round(value)) if value >= 1000 else f"{value:.3g}"


def _score(name: str, value: float | None) -> str:
    if value is not None and name in ("parameters", "downloads"):
        return parameter_count(int(value))
    return number(value)


def _with_interval(value: Confidence, *, sign: bool = False) -> str:
    if value.interval is None:
        return number(value.value, sign=sign)
    low, high = value.interval
    return f"{number(value.value, sign=sign)} [{number(low, sign=sign)}, {number(high, sign=sign)}]"
