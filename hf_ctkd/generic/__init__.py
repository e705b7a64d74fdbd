"""The generic teacher: one teacher for a pool of student architectures, their supernet, and its trainer."""

from hf_ctkd.generic.conditioning import Conditioning
from hf_ctkd.generic.config import BranchSettings, GenericTeacherConfig
from hf_ctkd.generic.hardware_budget import MeasuredStudent, measure_student, pareto_front, students_within_budget
from hf_ctkd.generic.path_distribution import PathDistribution
from hf_ctkd.generic.pool import PoolMember, StudentPool
from hf_ctkd.generic.supernet import Supernet
from hf_ctkd.generic.trainer import GenericTeacherTrainer

__all__ = [
    "BranchSettings",
    "Conditioning",
    "GenericTeacherConfig",
    "GenericTeacherTrainer",
    "MeasuredStudent",
    "PathDistribution",
    "PoolMember",
    "StudentPool",
    "Supernet",
    "measure_student",
    "pareto_front",
    "students_within_budget",
]
