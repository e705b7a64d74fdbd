import pytest
from checkpoints import save_checkpoint

from hf_ctkd.cli.arguments import COMMANDS, ParsedCommand
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.cli.training import checkpoint_of, start_anew, training_config, what_is_kept
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import GenericTeacherConfig
from hf_ctkd.training import DistillationConfig


def parsed(*words, name="distill") -> ParsedCommand:
    model = ["--student", "org/a"] if name == "distill" else ["train", "--teacher", "org/a"]
    return CommandParser(name, COMMANDS[name]).parse([*model, "--dataset", "me/rows", "--use_cpu", *words])


@pytest.mark.parametrize(
    ("name", "kind", "folder"),
    [("distill", DistillationConfig, "student"), ("generic-teacher", GenericTeacherConfig, "generic-teacher")],
)
def test_every_field_is_a_flag(name, kind, folder):
    values = parsed("--learning_rate", "2e-3", name=name).training
    config = training_config(kind, values, dataset="me/rows", seed=9)
    assert type(config) is kind
    assert (config.learning_rate, config.seed, config.output_dir) == (2e-3, 9, folder)
    assert config.dataset_name == "me/rows"


def test_how_teacher_outputs_are_computed_and_stored_are_flags():
    words = ("--teacher_workers", "3", "--teacher_output_dtype", "float16", "--max_cache_bytes", "5000000")
    config = training_config(DistillationConfig, parsed(*words).training, dataset="me/rows")
    assert (config.teacher_workers, config.teacher_output_dtype, config.max_cache_bytes) == (3, "float16", 5_000_000)


def test_flags_that_do_not_go_together_are_refused():
    with pytest.raises(InvalidArgumentError, match="load_best_model_at_end"):
        training_config(DistillationConfig, parsed("--load_best_model_at_end").training, dataset="me/rows")


def test_a_checkpoint_is_found_or_missed_in_words(tmp_path):
    def config(wanted):
        return DistillationConfig(str(tmp_path), use_cpu=True, resume_from_checkpoint=wanted)

    assert checkpoint_of(config(None)) is checkpoint_of(config("false")) is None
    with pytest.raises(InvalidArgumentError, match="`resume_from_checkpoint` finds no complete checkpoint in"):
        checkpoint_of(config("true"))
    with pytest.raises(InvalidArgumentError, match="`--resume_from_checkpoint` elsewhere is no folder."):
        checkpoint_of(config("elsewhere"))
    save_checkpoint(tmp_path / "checkpoint-7", 7)
    save_checkpoint(tmp_path / "checkpoint-12", 12)
    (tmp_path / "checkpoint-12" / "trainer_state.json").unlink()
    assert checkpoint_of(config("true")) == str(tmp_path / "checkpoint-7")
    assert checkpoint_of(config(str(tmp_path / "checkpoint-7"))) == str(tmp_path / "checkpoint-7")
    with pytest.raises(InvalidArgumentError, match="checkpoint-12 is no complete checkpoint: its trainer_state.json"):
        checkpoint_of(config(str(tmp_path / "checkpoint-12")))
    assert what_is_kept(tmp_path).startswith(f"{tmp_path / 'checkpoint-7'} is kept")
    assert what_is_kept(tmp_path / "nowhere") is None


def test_checkpoints_of_an_earlier_run_are_set_aside(tmp_path):
    save_checkpoint(tmp_path / "checkpoint-7", 7)
    start_anew(DistillationConfig(str(tmp_path), use_cpu=True))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-7.old"]
