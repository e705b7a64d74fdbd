"""One teacher that might be used, known from its metadata alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

NOT_LOOKED_UP = "not looked up"
"""Stands for a licence where the model's card could not be read, which is not the same as a card that states none."""


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
        problem: why it cannot be used, when that is known already (gated, missing, broken): it will be
            listed as skipped.
        problem_code: the kind of this problem, for programs; None without a problem, and in files written before there
            were codes.
        random_weights: take its configuration and preprocessing but fresh random weights (seeded): a control.
        role: part in a committee, such as `"foundation"` or `"complementary"`.
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

    @property
    def name(self) -> str:
        """Short name for tables: the repository id, or the folder's own name."""
        name = self.model_id if self.source == "hub" else self.model_id.rstrip("/").rsplit("/", 1)[-1]
        return f"random weights like {name}" if self.random_weights else name

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
        """The same for others to read: a folder is known by its name, not by where it lies on this machine."""
        if self.source == "hub":
            return self
        return replace(self, model_id=self.model_id.rstrip("/").rsplit("/", 1)[-1])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "problem_code": None if self.problem_code is None else self.problem_code.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TeacherCandidate":
        """From JSON values."""
        names, code = values.get("label_names"), values.get("problem_code")
        return cls(
            **{
                **values,
                "label_names": None if names is None else tuple(names),
                "languages": tuple(values.get("languages", ())),
                "problem_code": None if code is None else ProblemCode(code),
            }
        )
