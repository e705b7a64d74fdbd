import doctest

import pytest

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import files
from hf_ctkd.hub.files import loadable_files, push_refusal


def test_only_what_loading_needs_is_chosen():
    names = [
        "README.md",
        "config.json",
        "model.safetensors",
        "model.fp16.safetensors",
        "pytorch_model.bin",
        "modeling_own.py",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocab.txt",
        "training_args.bin",
        "onnx/model.safetensors",
        "checkpoint-5/config.json",
    ]
    chosen = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "vocab.txt"]
    assert loadable_files(names) == chosen
    assert loadable_files(names, allow_pickle=True) == chosen
    assert "model.safetensors" not in loadable_files(names, weights=False)
    assert loadable_files(names, code=True) == sorted([*chosen, "modeling_own.py"])


def test_shards_come_with_their_index():
    names = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"]
    assert loadable_files(names) == sorted(names[:3])


def test_pickles_are_taken_only_where_the_caller_insists_and_there_is_nothing_else():
    names = ["config.json", "pytorch_model.bin", "other.bin", "model.pkl"]
    with pytest.raises(
        TeacherUnavailableError, match="only pickle weights, which run code when loaded. Choose another"
    ):
        loadable_files(names)
    assert loadable_files(names, allow_pickle=True) == ["config.json", "pytorch_model.bin"]


def test_a_model_without_configuration_or_weights_is_refused():
    with pytest.raises(TeacherUnavailableError, match="it has no config.json"):
        loadable_files(["model.safetensors"])
    with pytest.raises(TeacherUnavailableError, match="no weights that transformers opens"):
        loadable_files(["config.json", "model.onnx"], allow_pickle=True)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "README.md",
        ".eval_results/flowers.yaml",
        "figures/map.png",
        ".gitattributes",
    ],
)
def test_what_may_be_pushed(name):
    assert push_refusal(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("training_args.bin", "pickle"),
        ("sub/weights.pt", "pickle"),
        ("a.pkl", "pickle"),
        ("trainer_state.json", "state of the training"),
        ("optimizer.safetensors", "state of the training"),
        ("checkpoint-10/model.safetensors", "checkpoint"),
        (".cache/huggingface/x", "cache"),
        ("runs/events.out", "log"),
        ("../secret.json", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
    ],
)
def test_what_is_never_pushed(name, reason):
    assert reason in push_refusal(name)


def test_examples():
    assert doctest.testmod(files).failed == 0
