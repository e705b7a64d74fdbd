"""Which teacher to distill from."""

from hf_ctkd.selection.budget import SelectionBudget
from hf_ctkd.selection.committee import Committee
from hf_ctkd.selection.engines import ProcessExecutor, dask_executor
from hf_ctkd.selection.scores import metric_names
from hf_ctkd.selection.selector import TeacherSelector

__all__ = ["Committee", "ProcessExecutor", "SelectionBudget", "TeacherSelector", "dask_executor", "metric_names"]
