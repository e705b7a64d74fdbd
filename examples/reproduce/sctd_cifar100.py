# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Selective cross-task distillation on CIFAR-100: a teacher of 50 classes, a student of the other 50."""

from cross_task import Setting, run
from sctd import METHODS

SETTING = Setting(
    paper="Lu, Ye and Zhan, selective cross-task distillation, arXiv:2204.11526: CIFAR-100, 50 and 50 classes",
    dataset="uoft-cs/cifar100",
    image_column="img",
    label_column="fine_label",
    methods=METHODS,
)

if __name__ == "__main__":
    run(SETTING)
