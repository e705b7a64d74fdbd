# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Inverted and traditional projections from a teacher of the same task, of another task, and with random weights.

This script has a classification student; `examples/dense_prediction` has dense students, as the paper does.
"""

from cross_task import OTHER, RANDOM, SAME, Setting, run

from hf_ctkd.losses import BSSLoss, InvertedProjectionLoss, ProjectionLoss, SpectralLoss

SETTING = Setting(
    paper="Auty et al., learning to project, arXiv:2403.14494, with a classification student on half of CIFAR-100",
    dataset="uoft-cs/cifar100",
    image_column="img",
    label_column="fine_label",
    methods={
        "inverted projection": InvertedProjectionLoss,
        "traditional projection": lambda: ProjectionLoss("traditional"),
    },
    teacher_free={"spectral": SpectralLoss, "BSS": BSSLoss},
    teachers=(SAME, OTHER, RANDOM),
)

if __name__ == "__main__":
    run(SETTING)
