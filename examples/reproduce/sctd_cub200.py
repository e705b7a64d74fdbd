# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Selective cross-task distillation on CUB-200: a teacher of 100 kinds of birds, a student of the other 100."""

from cross_task import Setting, run
from sctd import METHODS

SETTING = Setting(
    paper="Lu, Ye and Zhan, selective cross-task distillation, arXiv:2204.11526: CUB-200, 100 and 100 classes",
    dataset="Donghyun99/CUB-200-2011",
    image_column="image",
    label_column="label",
    methods=METHODS,
    steps=9_400,
    batch_size=64,
    image_size=224,
)

if __name__ == "__main__":
    run(SETTING)
