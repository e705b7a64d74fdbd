"""Which files of a model are read, and which are never sent."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

PREPROCESSING = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*.json",
    "vocab*.txt",
    "merges.txt",
    "*.bpe.model",
    "spiece.model",
    "spm.model",
    "bpe.codes",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)
"""What processors and tokenizers are made of; names in the top folder, never code."""

POOLING = "[0-9]_Pooling/config.json"
"""How sentence-transformers pools the tokens of a model; the one file of a sub-folder that is read."""

CODE = "*.py"
"""What a repository's own code is made of; read only where the user trusts it."""

_PICKLE_ADVICE = (
    "it has only pickle weights, which run code when loaded. "
    "Choose another, or pass `allow_pickle=True` if you trust it."
)

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
_PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
_TRAINER_STATE = ("training_args.*", "trainer_state.json", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")
_CACHES = (".*", "checkpoint-*", "__pycache__", "runs", "wandb", "*.lock", "*.tmp")


def loadable_files(
    names: Iterable[str], *, allow_pickle: bool = False, weights: bool = True, code: bool = False
) -> list[str]:
    """Choose those files among `names` that loading a teacher needs, in order of name.

    Use it before a download and before a digest; of names with a slash only `POOLING` is among the chosen ones, so
    checkpoints and exports to other formats in sub-folders stay out.

    Args:
        names: paths relative to the model's folder.
        allow_pickle: take pickle weights where there are no others.
        weights: whether weights are wanted at all.
        code: take the model's own code, which runs when it is loaded.

    Raises:
        TeacherUnavailableError: if there is no configuration, or no weights that may be read.

    Example:
        >>> loadable_files(["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "run.py"])
        ['config.json', 'model.safetensors']
    """
    names = sorted(names)
    top = [name for name in names if "/" not in name]
    if "config.json" not in top:
        raise TeacherUnavailableError(
            "it has no config.json. Choose a repository or folder that `save_pretrained` wrote.", ProblemCode.NO_CONFIG
        )
    chosen = {"config.json", *_matching(top, PREPROCESSING), *(_matching(top, [CODE]) if code else [])}
    if "modules.json" in top:
        chosen.update(_matching(names, [POOLING]))
    if weights:
        chosen.update(_weights(top, allow_pickle))
    return sorted(chosen)


def push_refusal(name: str) -> str | None:
    """Say why a file must not be published, or None if it may.

    Args:
        name: path relative to the folder that is published.

    Example:
        >>> push_refusal("training_args.bin")
        'it is a pickle, which runs code on whoever loads it'
        >>> push_refusal("model.safetensors") is None
        True
    """
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts:
        return "it lies outside the folder"
    if parts[-1].endswith(_PICKLE_ENDINGS):
        return "it is a pickle, which runs code on whoever loads it"
    if _matching(parts[-1:], _TRAINER_STATE):
        return "it is the state of the training, not part of the model"
    hidden = [part for part in _matching(parts, _CACHES) if part not in (".eval_results", ".gitattributes")]
    if hidden:
        return "it belongs to a checkpoint, a cache or a log"
    return None


def _weights(top: list[str], allow_pickle: bool) -> list[str]:
    safetensors = _matching(top, _SAFETENSORS)
    if "model.safetensors" in safetensors:
        return ["model.safetensors"]
    if any(name.endswith(".safetensors") for name in safetensors):
        return safetensors
    pickles = _matching(top, _PICKLES)
    if pickles and allow_pickle:
        return ["pytorch_model.bin"] if "pytorch_model.bin" in pickles else pickles
    if pickles:
        raise TeacherUnavailableError(_PICKLE_ADVICE, ProblemCode.PICKLE_ONLY)
    raise TeacherUnavailableError(
        "it has no weights that transformers opens (model.safetensors). "
        "Choose another, or save it with `save_pretrained`.",
        ProblemCode.NO_WEIGHTS,
    )


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
