import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TrainingArguments

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.help import flags_in_source, flags_of
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.generic import GenericTeacherConfig
from hf_ctkd.training import DistillationConfig

ROOT = Path(__file__).parents[2]


def test_help_loads_neither_torch_nor_transformers():
    script = (
        "import sys\n"
        "from hf_ctkd.cli.main import main\n"
        f"codes = [main([*words, '--help']) for words in ([], *([name] for name in {list(COMMANDS)}))]\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy or any(codes) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_that_is_listed_is_parsed_with_the_default_that_is_listed(name):
    parser = CommandParser(name, COMMANDS[name])
    flags = [flag for _, flag in flags_of(COMMANDS[name].arguments)]
    assert {flag.name for flag in flags} == {field.name for field in dataclasses.fields(COMMANDS[name].arguments)}
    for flag in flags:
        default = parser.get_default(flag.name)
        assert flag.default is None and default in (None, [], ["image", "text"]) or flag.default == str(default)


@pytest.mark.parametrize("config", [DistillationConfig, GenericTeacherConfig])
def test_flags_read_from_the_source_are_those_of_the_class(config):
    inherited = {field.name: field.metadata.get("help") for field in dataclasses.fields(TrainingArguments)}
    fields = {
        field.name: field
        for field in dataclasses.fields(config)
        # Two fields of `TrainingArguments` have another default, and another text.
        if field.init and (field.name not in inherited or field.metadata.get("help") != inherited[field.name])
    }
    flags = {flag.name: flag for flag in flags_in_source(config.__name__)}
    assert flags.keys() == fields.keys()
    for name, field in fields.items():
        assert flags[name].help == field.metadata["help"]
        default = None if field.default in (None, dataclasses.MISSING) else field.default
        assert flags[name].default == (default if default is None else str(default))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_lists_its_flags(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"usage: hf-ctkd {name} " in out and "--config FILE.yaml" in out
    assert "--per_device_eval_batch_size" not in out


def test_required_flags_and_defaults_are_marked(run):
    _, out, _ = run("distill", "--help")
    words = " ".join(out.split())
    assert "--student ID_OR_FOLDER checkpoint that the student starts from (required)" in words
    assert "--top INTEGER how many of the ranking's best to distill from (default: 1)" in words
    assert "--distillation_weight NUMBER" in words


@pytest.mark.parametrize("word", ["--help-all", "--help_all"])
def test_the_flags_of_the_trainer_are_listed_on_request(run, word):
    code, out, _ = run("distill", word)
    words = " ".join(out.split())
    assert code == 0 and "--per_device_eval_batch_size" in words and "Losses: " in words and "committee" in words
    assert "(default: student)" in words
