import re

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.cli.training import training_config
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import DistillationConfig


def config(*words):
    words = ["--student", "org/a", "--dataset", "me/rows", "--use_cpu", *words]
    parsed = CommandParser("distill", COMMANDS["distill"]).parse(words)
    return training_config(DistillationConfig, parsed.training, dataset="me/rows")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--report_to", "comet_ml"], "`--report_to` 'comet_ml' cannot be used: .*Run `pip install comet-ml.*Install"),
        (["--report_to", "all", "nonsense"], "`--report_to` 'all' cannot be used: .*`none` and `all` stand alone"),
        (
            ["--report_to", "nonsense"],
            "`--report_to` 'nonsense' cannot be used: nonsense is not supported, only .*wandb",
        ),
        (["--optim", "adamw_bnb_8bit"], "`--optim` with .* cannot be used: .*bitsandbytes"),
        (["--optim_args", "x"], "`--optim` with `--optim_args` and .* cannot be used"),
        (
            ["--lr_scheduler_type", "reduce_lr_on_plateau"],
            "`--lr_scheduler_type` 'reduce_lr_on_.*' cannot be used",
        ),
        (
            ["--lr_scheduler_kwargs", '{"a": 1}'],
            "with `--lr_scheduler_kwargs` cannot be used: .*'a'",
        ),
        (["--lr_scheduler_kwargs", "[1]"], "`--lr_scheduler_kwargs` must be a JSON object"),
        (["--lr_scheduler_kwargs", "{bad"], "`--lr_scheduler_kwargs` '{bad' cannot be used: Expecting property name"),
        (["--torch_compile_backend", "fast"], "`--torch_compile_backend` cannot be used: 'FAST'"),
        (["--torch_compile_mode", "fast"], "`--torch_compile_mode` cannot be used: Unrecognized mode"),
        (
            ["--accelerator_config", "nowhere.json"],
            "`--accelerator_config` .* cannot be used: .*No such file",
        ),
        (["--accelerator_config", '{"a": 1}'], "`--accelerator_config` .* cannot be used: .*'a'"),
        (["--fsdp", "x"], "`--fsdp` 'x' cannot be used"),
        (["--deepspeed", "x"], "`--deepspeed` 'x' cannot be used"),
        (["--logging_steps", "0"], "`--logging_steps` 0.0 cannot be used: logging strategy"),
        (
            ["--load_best_model_at_end", "--eval_strategy", "steps", "--save_strategy", "epoch"],
            "cannot be used|together",
        ),
    ],
)
def test_a_part_of_the_trainer_that_cannot_be_made_names_the_flag(words, message):
    with pytest.raises(InvalidArgumentError, match=message):
        config(*words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--report_to", "none"],
        ["--report_to", "all"],
        ["--optim", "adafactor"],
        ["--lr_scheduler_type", "cosine_with_restarts", "--lr_scheduler_kwargs", '{"num_cycles": 2}'],
        ["--optim", "sgd", "--optim_args", "momentum=0.9"],
    ],
)
def test_parts_that_can_be_made(words):
    assert config(*words).use_cpu


class Silent(TrainerCallback):
    """A tracker that records nothing."""


def test_several_trackers_are_named_in_one_flag_and_the_run_has_a_name(monkeypatch):
    monkeypatch.setattr(integration_utils, "INTEGRATION_TO_CALLBACK", {"wandb": Silent, "trackio": Silent})
    several = config("--report_to", "wandb", "trackio", "--output_dir", "out/student")
    assert several.report_to == ["wandb", "trackio"]
    assert re.fullmatch(r"student-\d{8}-\d{6}", several.run_name)
    assert config("--report_to", "wandb", "--run_name", "mine").run_name == "mine"
    assert config().run_name is None
    with pytest.raises(InvalidArgumentError, match="`--report_to` 'nonsense' cannot be used"):
        config("--report_to", "wandb", "nonsense")
