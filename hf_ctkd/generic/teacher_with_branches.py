"""The teacher in training with its branches, as one module."""

from collections.abc import Mapping

from torch import Tensor

from hf_ctkd.training import StudentWithLoss
from hf_ctkd.types import ModelOutputs


class TeacherWithBranches(StudentWithLoss):
    """A teacher (in the student's place) together with its conditioning, which goes on from its hidden states."""

    def outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """What the teacher says about preprocessed rows, with hidden states as its next layer would take them."""
        return self.reader.read(inputs, self.hidden, whole=True)
