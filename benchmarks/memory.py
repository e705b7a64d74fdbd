"""Peak memory of computing a teacher's outputs and reading them in chunks, by the number of rows.

    python -m benchmarks.memory [--rows 1000 5000 20000 50000]

Each number of rows runs in a process of its own, on texts that are made up, with a stand-in for the teacher's forward
pass that returns 13 layers of 768 numbers; storing, verifying and reading are those of `compute_outputs`. Writes its
section of `benchmarks/RESULTS.md`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.results_file import put
from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import FeatureReader, Teacher, compute_outputs
from hf_ctkd.types import ModelOutputs

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- memory:begin -->", "<!-- memory:end -->"
ROWS = (1_000, 5_000, 20_000, 50_000)
LAYERS, WIDTH, CHUNK = 13, 768, 256
GOAL = 0.10
"""Largest growth of the peak from the fewest rows to the most."""
_WORDS = 64


@dataclass(frozen=True)
class Measurement:
    """One process's peak memory.

    Args:
        rows: number of rows.
        stored_bytes: of the shards on disk.
        start: peak memory in MiB before the outputs are computed.
        peak: peak memory in MiB at the end.
        seconds: of computing, storing and reading.
    """

    rows: int
    stored_bytes: int
    start: float
    peak: float
    seconds: float


class WideReader(FeatureReader):
    """Stands for the forward pass of a base-sized encoder: its shapes without its time."""

    def __init__(self, model: BertModel) -> None:
        super().__init__(model)
        self.directions = torch.randn(_WORDS + 2, WIDTH)

    def read(
        self,
        batch: Mapping[str, Tensor],
        hidden: Sequence[int] = (),
        *,
        layers: bool = False,
        max_layers: int = LAYERS,
        whole: bool = False,
    ) -> ModelOutputs:
        features = self.directions[batch["input_ids"]].mean(dim=1)
        return ModelOutputs(features, layers=tuple(features * (depth + 1) for depth in range(LAYERS)))


def wide_teacher(folder: Path) -> Teacher:
    """A teacher whose outputs are as wide as those of a base-sized encoder."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{f"w{word}": word + 2 for word in range(_WORDS)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = Preprocessor.of(tokenizer, "text", model.config)
    return Teacher(next(folder_teachers(folder)), preprocessor, WideReader(model), None)


def synthetic_rows(count: int) -> TargetRows:
    """Texts that all differ."""
    texts = [f"w{row % _WORDS} w{row // _WORDS % _WORDS} w{row // _WORDS**2}" for row in range(count)]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["even", "odd"])})
    return TargetRows.of(Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(count)]}, features))


def measure(rows: int) -> Measurement:
    """The peak memory of this process, which should have done nothing else."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        teacher, data = wide_teacher(Path(folder) / "teacher"), synthetic_rows(rows)
        before, start = peak_memory(), time.perf_counter()
        outputs = compute_outputs(teacher, data, cache_dir=Path(folder) / "outputs", progress=False, layers=True)
        total = torch.zeros(LAYERS, WIDTH)
        for _, chunk in outputs.chunks(CHUNK):
            total += torch.stack([layer.sum(dim=0) for layer in chunk.layers])
        stored = sum(path.stat().st_size for path in Path(folder).glob("outputs/*/*.safetensors"))
        return Measurement(rows, stored, before, peak_memory(), time.perf_counter() - start)


def in_own_process(module: str, *flags: str) -> dict[str, Any]:
    """What a benchmark that measures its own process prints last, as JSON.

    Args:
        module: of the benchmark.
        flags: of its command line.
    """
    command = [sys.executable, "-m", module, *flags]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB, pages of mapped files included."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def table(measurements: Sequence[Measurement]) -> str:
    """The section of RESULTS.md."""
    fewest, most = measurements[0], measurements[-1]
    growth = most.peak / fewest.peak - 1
    lines = [
        BEGIN,
        "## Memory of teacher outputs",
        "",
        f"Written by `python -m benchmarks.memory`: peak resident memory of a process that computes, stores and reads "
        f"{LAYERS} layers and the features, {WIDTH} numbers each in float32, of every row; outputs are read in chunks "
        f"of {CHUNK} rows. Pages of mapped files count. *Before* is the peak before the first row, imports included.",
        "",
        "| rows | stored MB | before MiB | peak MiB | growth of the peak | seconds |",
        "|---|---|---|---|---|---|",
        *(
            f"| {line.rows:,} | {line.stored_bytes / 1e6:,.0f} | {line.start:.0f} | {line.peak:.0f} | "
            f"{line.peak / fewest.peak - 1:+.1%} | {line.seconds:.1f} |"
            for line in measurements
        ),
        "",
        f"From {fewest.rows:,} to {most.rows:,} rows the peak grows by {growth:.1%}; the goal, less than {GOAL:.0%}, "
        f"is {'met' if growth < GOAL else 'missed'}.",
        END,
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="numbers of rows, fewest first")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(asdict(measure(options.measure))))
        return
    measured = (in_own_process("benchmarks.memory", "--measure", str(rows)) for rows in options.rows)
    measurements = [Measurement(**values) for values in measured]
    section = table(measurements)
    print(section)
    put(section, BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
