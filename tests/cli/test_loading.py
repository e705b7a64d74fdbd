import pytest

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.teachers import LoadOptions

WORDS = {
    "distill": ["--student", "org/a", "--dataset", "me/rows", "--use_cpu"],
    "evaluate": ["org/a", "--dataset", "me/rows"],
}


@pytest.mark.parametrize("name", WORDS)
def test_loading_flags_are_read(name):
    flags = ["--allow_pickle", "--max_bytes", "1e6", "--timeout", "9"]
    template = ["--zero_shot_template", "a sketch of {}"] if name == "distill" else []
    command = CommandParser(name, COMMANDS[name]).parse([*WORDS[name], *flags, *template])
    options = load_options(command.arguments, token="secret", seed=3)
    expected = template[-1] if template else LoadOptions.zero_shot_template
    assert options == LoadOptions(
        allow_pickle=True, max_bytes=10**6, timeout=9.0, token="secret", seed=3, zero_shot_template=expected
    )
