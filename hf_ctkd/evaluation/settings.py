"""Which columns, metrics, resamples and batches an evaluation uses."""

from dataclasses import dataclass, field

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.evaluation.calibration import check_seed


@dataclass
class EvaluationSettings:
    """Settings of an evaluation.

    Args:
        input_column: column of images or texts, or two columns of texts; when None, those that the student was trained
            on, and for one without a record of that chosen by types and usual names.
        label_column: column of labels; when None, as `input_column`.
        skip_bad_rows: leave out rows that cannot be read.
        metrics: names; those of the student's task when empty.
        bootstrap_resamples: of the rows, for intervals; 0 leaves them out.
        seed: of the bootstrap and of the halves that temperatures are fitted to.
        label_smoothing_factor: 0; tasks read it.
        batch_size: rows of a forward pass; halved where memory is too small.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """

    input_column: list[str] | None = None
    label_column: str | None = None
    skip_bad_rows: bool = False
    metrics: list[str] = field(default_factory=list)
    bootstrap_resamples: int = 1000
    seed: int = 0
    label_smoothing_factor: float = 0.0
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, value, least in (
            ("batch_size", self.batch_size, 1),
            ("bootstrap_resamples", self.bootstrap_resamples, 0),
        ):
            if value < least:
                raise InvalidArgumentError(f"`{name}` must be {least} or more, got {value}.")
        check_seed(self.seed)
