import pytest
from transformers import HfArgumentParser

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import BranchSettings, GenericTeacherConfig


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paths_per_step": 0}, "`paths_per_step` must be at least 1, got 0."),
        ({"path_sampler": "greedy"}, "`path_sampler` must be one of gumbel, categorical, uniform, got 'greedy'."),
        ({"kl_direction": "both"}, "`kl_direction` must be one of from_branch, from_teacher, got 'both'."),
        ({"path_temperature": 0.0}, "`path_temperature` must be positive, got 0.0."),
        ({"branch_temperature": -1.0}, "`branch_temperature` must be positive, got -1.0."),
        ({"path_learning_rate": 0.0}, "`path_learning_rate` must be positive, got 0.0."),
        ({"branch_kl_weight": -0.1}, "`branch_kl_weight` must be 0 or more, got -0.1."),
        ({"entropy_weight": float("nan")}, "`entropy_weight` must be 0 or more, got nan."),
        ({"architecture_sign": 0}, "`architecture_sign` must be 1 or -1, got 0."),
    ],
)
def test_what_is_out_of_range_is_refused(changes, said, tmp_path):
    for make in (BranchSettings, lambda **given: GenericTeacherConfig(str(tmp_path), use_cpu=True, **given)):
        with pytest.raises(InvalidArgumentError) as caught:
            make(**changes)
        assert str(caught.value) == said


def test_what_distillation_refuses_is_refused_too(tmp_path):
    with pytest.raises(InvalidArgumentError, match="`distillation_weight` must be 0 or more, got -1."):
        GenericTeacherConfig(str(tmp_path), use_cpu=True, distillation_weight=-1)


def test_it_is_read_from_a_command_line(tmp_path):
    words = ["--output_dir", str(tmp_path), "--path_sampler", "uniform", "--architecture_sign", "-1", "--use_cpu"]
    config = HfArgumentParser(GenericTeacherConfig).parse_args_into_dataclasses(words)[0]
    assert (config.output_dir, config.path_sampler, config.architecture_sign) == (str(tmp_path), "uniform", -1)
