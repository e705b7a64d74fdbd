"""A check that the students of a pool can take the inputs that a processor makes."""

from transformers import PreTrainedTokenizerBase

from hf_ctkd.data import Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.pool import StudentPool


def check_processor(pool: StudentPool, processing_class: ProcessingClass, rows: TargetRows) -> None:
    """Refuse a processor whose inputs do not fit the students of a pool.

    Use it where the students are saved with the teacher's processor; a student with a processor of its own needs no
    check.

    Args:
        pool: the students, of the same modality as the rows.
        processing_class: an image processor or tokenizer.
        rows: raw rows; the first one is preprocessed.

    Raises:
        InvalidArgumentError: if its images have another size than the students require, or its vocabulary is larger
            than theirs.
    """
    config = pool.largest.config(rows.label_space)
    preprocessor = Preprocessor.of(processing_class, pool.kind.modality, config)
    if isinstance(preprocessor.processing_class, PreTrainedTokenizerBase):
        vocabulary_size = config.to_dict()["vocab_size"]
        highest = max(preprocessor.processing_class.get_vocab().values())
        if highest >= vocabulary_size:
            raise InvalidArgumentError(
                f"`vocab_size` of the pool must be at least {highest + 1} for the tokenizer, got {vocabulary_size}. "
                "Declare it in the pool's `settings`."
            )
    elif pool.kind.fixed_size:
        height, width = preprocessor(rows.inputs([0]))["pixel_values"].shape[-2:]
        if {height, width} != {pool.input_size}:
            raise InvalidArgumentError(
                f"`input_size` of the pool must be that of the processor's images, {height} x {width}, "
                f"got {pool.input_size}. Declare it so, or change the processor."
            )
