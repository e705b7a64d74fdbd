"""Whether the students of a pool can read what a processor gives."""

from transformers import PreTrainedTokenizerBase

from hf_ctkd.data import Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.pool import StudentPool


def check_readable(pool: StudentPool, processing_class: ProcessingClass, rows: TargetRows) -> None:
    """Refuse a processor whose inputs do not fit the students of a pool.

    Use it where students are to have the teacher's own processor; they may as well have another.

    Args:
        pool: the students, of the rows' own modality.
        processing_class: an image processor or tokenizer.
        rows: raw rows, of which the first is looked at.

    Raises:
        InvalidArgumentError: images of another size than students of a fixed one take, or more tokens than they know.
    """
    config = pool.largest.config(rows.label_space)
    view = Preprocessor.of(processing_class, pool.kind.modality, config)
    if isinstance(view.processing_class, PreTrainedTokenizerBase):
        known, highest = config.to_dict()["vocab_size"], max(view.processing_class.get_vocab().values())
        if highest >= known:
            raise InvalidArgumentError(
                f"`vocab_size` of the pool must be at least {highest + 1} for the tokenizer, got {known}. "
                "Declare it in the pool's `settings`."
            )
    elif pool.kind.fixed_size:
        height, width = view(rows.inputs([0]))["pixel_values"].shape[-2:]
        if {height, width} != {pool.input_size}:
            raise InvalidArgumentError(
                f"`input_size` of the pool must be that of the processor's images, {height} x {width}, "
                f"got {pool.input_size}. Declare it so, or change the processor."
            )
