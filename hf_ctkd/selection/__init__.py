"""Which teacher to distill from."""

from hf_ctkd.selection.scores import metric_names
from hf_ctkd.selection.selector import TeacherSelector

__all__ = ["TeacherSelector", "metric_names"]
