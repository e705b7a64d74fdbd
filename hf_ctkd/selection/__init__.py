"""Which teacher to distill from."""

from hf_ctkd.selection.scores import metric_names
from hf_ctkd.selection.selector import TeacherSelector, default_cache_dir

__all__ = ["TeacherSelector", "default_cache_dir", "metric_names"]
