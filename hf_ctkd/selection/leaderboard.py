"""What a run shows of a ranking while it is made: a table on a terminal, redrawn; elsewhere a line for each teacher."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tqdm.auto import tqdm

from hf_ctkd.cards.markdown import number, plain
from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherFreeBaseline, chance_level, parameter_count
from hf_ctkd.records.confidence import three_decimals
from hf_ctkd.records.ranking import INTERVAL, interval_text

_OTHER_LINES = 9
"""Lines of a terminal that the table leaves free: its header, what is below it, and the prompt."""
_FEWEST = 5


def on_terminal() -> bool:
    """Whether standard error is a terminal that can be drawn on."""
    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


@dataclass
class Leaderboard:
    """The teachers that were scored so far, in order, with the student where it stands.

    Args:
        metric: name of the score that orders them.
        total: number of candidates; None where it is not known.
        baseline: the student or its input features, scored like a teacher.
        chance: the score of a teacher that knows nothing of the labels.
        clock: gives seconds.
    """

    metric: str
    total: int | None = None
    baseline: TeacherFreeBaseline | None = None
    chance: float | None = None
    clock: Callable[[], float] = time.monotonic
    _scored: list[RankedTeacher] = field(default_factory=list)
    _skipped: int = 0
    _current: str = ""

    def __post_init__(self) -> None:
        self._start = self.clock()

    def start(self, candidate: TeacherCandidate) -> None:
        """Note which candidate is being scored.

        Args:
            candidate: about to be scored.
        """
        self._current = plain(candidate.name, 60)

    def finish(self, teacher: RankedTeacher) -> None:
        """Put a candidate into its place.

        Args:
            teacher: with its scores, or the reason why it has none.
        """
        if teacher.skipped is None:
            self._scored.append(teacher)
            self._scored.sort(key=lambda scored: (-scored.scores[self.metric], scored.candidate.name))
        else:
            self._skipped += 1

    def rank(self, teacher: RankedTeacher) -> int:
        """The rank of a scored teacher so far, 1 for the best.

        Args:
            teacher: that was finished.
        """
        return 1 + self._scored.index(teacher)

    def above(self, teacher: RankedTeacher) -> bool:
        """Whether a teacher knows more than the student.

        Args:
            teacher: with scores.
        """
        return self.baseline is None or teacher.scores[self.metric] > self.baseline.scores[self.metric]

    @property
    def state(self) -> str:
        """How far the run is, and how long it will take at this rate."""
        done = len(self._scored) + self._skipped
        of = "" if self.total is None else f" of {self.total}"
        elapsed = self.clock() - self._start
        parts = [f"{done}{of} done", *([f"{self._skipped} skipped"] if self._skipped else []), _clock(elapsed)]
        if self.total is not None and 0 < done < self.total:
            parts.append(f"about {_clock(elapsed / done * (self.total - done))} left")
        return ", ".join([*parts, *([f"scoring {self._current}"] if self._current else [])])

    def table(self, lines: int = 20) -> RenderableType:
        """The table.

        Args:
            lines: most teachers in it, at least 1.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("rank", justify="right")
        table.add_column("teacher", overflow="ellipsis", no_wrap=True)
        for name in (self.metric, *([INTERVAL] if self._has_intervals else []), "parameters", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        best, line_drawn = self._scored[:lines], self.baseline is None
        for rank, teacher in enumerate(best, 1):
            if not line_drawn and not self.above(teacher):
                self._add_student(table)
                line_drawn = True
            table.add_row(*self._cells(rank, teacher), style="" if self.above(teacher) else "dim")
        if not line_drawn:
            self._add_student(table)
        hidden = len(self._scored) - len(best)
        notes = [f"and {hidden} more below"] if hidden else []
        notes += (
            [] if self.chance is None else [f"chance level {number(self.chance)}; controls know nothing of the task"]
        )
        return Group(table, *(Text(note, style="dim") for note in notes), Text(self.state))

    def _cells(self, rank: int, teacher: RankedTeacher) -> tuple[str | Text, ...]:
        # `Text`, since a name may hold what rich reads as markup.
        name = Text(plain(teacher.candidate.name, 60))
        if teacher.candidate.is_control:
            name.append(" (control)", "italic")
        parameters = parameter_count(teacher.candidate.parameters)
        scores = self._score_cells(teacher)
        return str(rank), name, *scores, parameters, f"{teacher.seconds:.1f}"

    @property
    def _has_intervals(self) -> bool:
        return any(teacher.interval is not None for teacher in self._scored)

    def _score_cells(self, scored: RankedTeacher | TeacherFreeBaseline) -> tuple[str, ...]:
        score = number(scored.scores[self.metric])
        return (score, interval_text(scored.interval)) if self._has_intervals else (score,)

    def _add_student(self, table: Table) -> None:
        if self.baseline is not None:
            scores = self._score_cells(self.baseline)
            table.add_row("-", Text(plain(self.baseline.name, 60)), *scores, "", "", style="bold red")


class Progress:
    """Shows a leaderboard: redrawn in place on a terminal, else as a bar and a line for each candidate.

    Args:
        leaderboard: of the run.
        show: whether anything is shown.
        live: whether it is redrawn; nothing else may be written to the terminal meanwhile.
    """

    def __init__(self, leaderboard: Leaderboard, *, show: bool, live: bool = False) -> None:
        self.leaderboard = leaderboard
        self.show = show
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, get_renderable=self._table, transient=True) if show and live else None
        bar = show and self._live is None
        self._bar = tqdm(total=leaderboard.total, desc="teachers", unit="teacher", disable=not bar)

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._live is not None:
            self._live.stop()

    def start(self, candidate: TeacherCandidate) -> None:
        """Show which candidate is being scored."""
        self.leaderboard.start(candidate)
        self._bar.set_description(candidate.name)

    def finish(self, teacher: RankedTeacher) -> None:
        """Show the score of a candidate."""
        self.leaderboard.finish(teacher)
        self._bar.update()
        if self.show and self._live is None:
            self._bar.write(self._line(teacher), file=sys.stderr)

    def _table(self) -> RenderableType:
        return self.leaderboard.table(max(_FEWEST, self._console.height - _OTHER_LINES))

    def _line(self, teacher: RankedTeacher) -> str:
        board, name = self.leaderboard, plain(teacher.candidate.name)
        if teacher.skipped is not None:
            return f"{name}: skipped, {plain(teacher.skipped)}"
        standing = f"rank {board.rank(teacher)} so far"
        if board.baseline is not None and not board.above(teacher):
            line = "of the input features" if board.baseline.student is None else "of your student"
            standing += f", below the line {line}"
        interval = "" if teacher.interval is None else f" {interval_text(teacher.interval)}"
        score = f"{board.metric} {three_decimals(teacher.scores[board.metric])}{interval}"
        remark = f". {teacher.remark}" if teacher.remark else ""
        return f"{name}: {score} ({teacher.seconds:.1f} s), {standing}{remark}"


def leaderboard_of(
    metric: str, total: int | None, baseline: TeacherFreeBaseline | None, facts: Mapping[str, object]
) -> Leaderboard:
    """An empty leaderboard.

    Args:
        metric: name of the score that orders it.
        total: number of candidates, if known.
        baseline: of the ranking.
        facts: of the ranking about its rows.
    """
    counts = facts.get("scored_rows_of_class", {})
    return Leaderboard(metric, total, baseline, chance_level(metric, counts) if isinstance(counts, dict) else None)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
