"""A task of 50 classes: Latin capitals and Greek letters of the built-in fonts."""

from hf_ctkd.demo.images import CHARSETS
from hf_ctkd.demo.tasks import DemoTask, assemble_task, glyph_pools

NAME = "letters"


def build(*, labels: int, seed: int) -> DemoTask:
    """The task, as `hf_ctkd.demo.tasks.build_task` asks for it; 1,500 training, 300 validation and 1,200 test rows."""
    return assemble_task(
        NAME, "image", glyph_pools(CHARSETS["latin-capitals"] + CHARSETS["greek"]), labels=labels, seed=seed
    )
