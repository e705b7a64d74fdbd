import shlex

import pytest

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.next_step import flags_for, student_for
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.cli.printing import next_command
from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherRanking

CALLS = [
    [],
    ["--split", "train[:50%]", "--dataset_config", "plain text"],
    ["--input_column", "a column", "its pair", "--label_column", "it's", "--skip_bad_rows"],
    ["--trust_remote_code", "--allow_pickle", "--max_bytes", "2e9", "--timeout", "60"],
    ["--input_column", "premise", "a hypothesis"],
    ["--seed", "4", "--labels", "30", "--cache_dir", "/tmp/a cache", "--split=-odd-"],
]


@pytest.mark.parametrize("words", CALLS)
def test_the_next_command_has_every_flag_that_both_know(words):
    select = CommandParser("select", COMMANDS["select"]).parse(
        ["--dataset", "my rows.csv", "--teachers", "a/b", *words]
    )
    flags = flags_for("distill", vars(select.arguments))
    line = next_command(["distill", *flags, "--student", "org/model"])
    program, command, *rest = shlex.split(line.removeprefix("Next:  "))
    distill = CommandParser(command, COMMANDS[command]).parse(rest)
    assert program == "hf-ctkd"
    given = {**distill.training, **vars(distill.arguments)}
    for name in (
        *("dataset", "dataset_config", "split", "labels", "input_column", "label_column"),
        *("skip_bad_rows", "allow_pickle", "trust_remote_code", "max_bytes", "timeout", "seed", "cache_dir"),
    ):
        assert given[name] == vars(select.arguments)[name], name


def test_flags_of_this_command_alone_and_secrets_are_left_out():
    values = {"token": "hf_secret", "teachers": ["a/b"], "metrics": ["leep"], "committee": 3, "max_rows": 9, "zoo": "z"}
    assert flags_for("distill", {**values, "overwrite": True, "task": "image-classification"}) == []


def test_a_student_starts_from_the_smallest_trained_model():
    def ranked(name, parameters, **changes):
        candidate = TeacherCandidate(name, "a" * 40, parameters=parameters, **changes)
        return RankedTeacher(candidate, {"leep": 1.0}, rows=3)

    teachers = [ranked("org/large", 900), ranked("org/small", 20), ranked("org/random", 3, random_weights=True)]
    assert student_for(TeacherRanking((*teachers,), "leep")) == f"org/small@{'a' * 40}"
    folder = ranked("/zoo/tiny", 5, source="folder")
    assert student_for(TeacherRanking((*teachers, folder), "leep")) == "/zoo/tiny"
    assert student_for(TeacherRanking((ranked("org/unknown", None),), "leep")) == "ORG/MODEL"
