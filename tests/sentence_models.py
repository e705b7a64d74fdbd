"""A tiny sentence encoder in the layout of sentence-transformers."""

import json
from pathlib import Path

import torch
from tiny_models import TINY, WORDS, word_tokenizer
from transformers import BertConfig, BertModel

TEXTS = ["a red cat", "the dog runs far", "house", "a blue dog sleeps near a green house far far far"]
LEGACY = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def save_sentence_encoder(
    folder: Path, pooling: dict, *, normalize: bool = False, settings: dict | None = None
) -> Path:
    """Save a random encoder with the files that say how it is pooled."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **TINY)
    BertModel(config).eval().save_pretrained(folder)
    word_tokenizer(cls_token="[CLS]", sep_token="[SEP]", model_max_length=32).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    write(folder / "modules.json", entries)
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": TINY["hidden_size"], **pooling})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})
    write(folder / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", **(settings or {})})
    return folder


def legacy(*modes: str) -> dict:
    """The switches of versions before 6."""
    return {f"pooling_mode_{mode}": mode in modes for mode in LEGACY}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
