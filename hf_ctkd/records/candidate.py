"""A teacher that might be used, described by its metadata alone."""

from dataclasses import dataclass, replace
from typing import Literal

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

NOT_LOOKED_UP = "not looked up"
"""The licence of a model whose card could not be read; None is the licence of a card that states none."""
ZERO_SHOT = "zero-shot-image-classification"
"""The task of a teacher for images and texts; with `label_names`, it was given those of the target."""


@dataclass(frozen=True)
class TeacherCandidate:
    """A teacher that might be used, pinned to one revision; nothing of it is loaded.

    Args:
        model_id: repository on the Hub (`"org/name"`), or a folder.
        revision: commit sha on the Hub; for a folder, a digest of its files.
        source: where `model_id` is to be looked up.
        task: the Hub's task tag, such as `"image-classification"`, if known.
        label_names: names of its classes by id; None for a model without a head, or when not known.
        parameters: number of parameters, if known.
        license: licence identifier as on its card, if any; `NOT_LOOKED_UP` where the card could not be read.
        downloads: of the last 30 days, from the Hub.
        languages: language tags of its card.
        problem: why it cannot be used (gated, missing, broken); a ranking lists it as skipped. None for a usable one.
        problem_code: the kind of this problem, for programs; None without a problem.
        random_weights: use its configuration and preprocessing with fresh random weights (seeded), as a control.
        role: role in a committee, such as `"foundation"` or `"complementary"`.
        untrained: its own weights are random, as its card says by the tag `"random-weights"`; a control too.
    """

    model_id: str
    revision: str
    source: Literal["hub", "folder"] = "hub"
    task: str | None = None
    label_names: tuple[str, ...] | None = None
    parameters: int | None = None
    license: str | None = None
    downloads: int | None = None
    languages: tuple[str, ...] = ()
    problem: str | None = None
    problem_code: ProblemCode | None = None
    random_weights: bool = False
    role: str | None = None
    untrained: bool = False

    @property
    def name(self) -> str:
        """Short name for tables: the repository id, or the last name of the folder."""
        name = self.model_id if self.source == "hub" else self.model_id.rstrip("/").rsplit("/", 1)[-1]
        return f"random weights like {name}" if self.random_weights else name

    @property
    def is_control(self) -> bool:
        """Whether its weights are random, so that it knows nothing of any task."""
        return self.random_weights or self.untrained

    @property
    def marked_name(self) -> str:
        """Its name, and that it is a control."""
        return f"{self.name} (control)" if self.is_control else self.name

    def check_usable(self, *, allow_pickle: bool = False) -> None:
        """Refuse a candidate with a problem that is known already.

        Args:
            allow_pickle: whether pickle weights may be loaded, so that having no others is no problem.

        Raises:
            TeacherUnavailableError: with the problem as its message.
        """
        if self.problem is None or (allow_pickle and self.problem_code is ProblemCode.PICKLE_ONLY):
            return
        raise TeacherUnavailableError(self.problem, self.problem_code or ProblemCode.UNKNOWN)

    def with_problem(self, error: TeacherUnavailableError) -> "TeacherCandidate":
        """The same, listed with the reason why it cannot be used.

        Args:
            error: the reason.
        """
        return replace(self, problem=str(error), problem_code=error.code)

    def without_path(self) -> "TeacherCandidate":
        """The same without paths of this machine: a folder becomes its last name."""
        if self.source == "hub":
            return self
        return replace(self, model_id=self.model_id.rstrip("/").rsplit("/", 1)[-1])
