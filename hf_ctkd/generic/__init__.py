"""The generic teacher: one teacher for a whole pool of students, their supernet, and its trainer."""

from hf_ctkd.generic.conditioning import Conditioning
from hf_ctkd.generic.config import BranchSettings, GenericTeacherConfig
from hf_ctkd.generic.measure import MeasuredStudent, measure, pareto
from hf_ctkd.generic.member import PoolMember
from hf_ctkd.generic.paths import PathDistribution
from hf_ctkd.generic.pool import StudentPool
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
    "measure",
    "pareto",
]
