"""A task of 50 classes: Latin capitals and Greek letters of the built-in fonts."""

import numpy as np

from hf_ctkd.demo.images import CHARSETS, STUDENT_FONTS, glyphs_dataset
from hf_ctkd.demo.tasks import DemoTask, Pools, assemble_task

NAME = "letters"
_PER_CLASS = 60


def build(*, labels: int, seed: int) -> DemoTask:
    """The task, as `hf_ctkd.demo.tasks.build_task` asks for it; 1,500 training, 300 validation and 1,200 test rows."""
    letters = CHARSETS["latin-capitals"] + CHARSETS["greek"]
    dataset = glyphs_dataset(letters, fonts=STUDENT_FONTS, per_class=_PER_CLASS, seed=_PER_CLASS)
    order = np.random.default_rng(_PER_CLASS).permutation(len(dataset))
    train, validation, test = np.split(order, [len(order) // 2, len(order) * 6 // 10])
    pools = Pools(dataset.select(train), dataset.select(validation), dataset.select(test))
    return assemble_task(NAME, "image", pools, labels=labels, seed=seed)
