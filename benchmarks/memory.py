"""Peak memory of computing a teacher's outputs and reading them in chunks, by the number of rows.

    python -m benchmarks.memory [--rows 1000 10000 100000 1000000]
    python -m benchmarks.memory --rate

Each number of rows runs in a process of its own, on texts that are made up, with a stand-in for the teacher's forward
pass that returns 13 layers of 768 numbers; storing, verifying and reading are those of `compute_outputs`, in float16.
A million rows take 22 GB of disk and some ten minutes. `--rate` compares the rows a second of a real encoder of that
size with and without keeping its outputs. Each writes its section of `benchmarks/RESULTS.md`.
"""

import argparse
import json
import resource
import statistics
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
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.results_file import put
from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import FeatureReader, Teacher, compute_outputs
from hf_ctkd.types import ModelOutputs

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- memory:begin -->", "<!-- memory:end -->"
ROWS = (1_000, 10_000, 100_000, 1_000_000)
LAYERS, WIDTH, CHUNK = 13, 768, 256
GOAL = 0.10
"""Largest growth of the peak from the fewest rows to the most."""
RATE_BEGIN, RATE_END = "<!-- memory-rate:begin -->", "<!-- memory-rate:end -->"
RATE_ROWS, RATE_RUNS, BATCH, LENGTH = 192, 3, 32, 32
RATE_GOAL = 0.8
"""Least rate of computing and keeping all layers, as a share of that of the forward pass alone."""
_WORDS = 64
_VOCABULARY = {"[PAD]": 0, "[UNK]": 1, **{f"w{word}": word + 2 for word in range(_WORDS)}}


@dataclass(frozen=True)
class Measurement:
    """One process's peak memory.

    Args:
        rows: number of rows.
        stored_bytes: of the shards on disk.
        start: peak memory in MiB before the outputs are computed.
        peak: peak memory in MiB at the end.
        storing: seconds of computing and storing.
        reading: seconds of reading all of it.
    """

    rows: int
    stored_bytes: int
    start: float
    peak: float
    storing: float
    reading: float


class WideReader(FeatureReader):
    """Stands for the forward pass of a base-sized encoder: its shapes without its time."""

    def __init__(self, model: BertModel) -> None:
        super().__init__(model)
        self.directions = torch.randn(len(_VOCABULARY), WIDTH)

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


def wide_teacher(folder: Path, seed: int = 0) -> Teacher:
    """A teacher whose outputs are as wide as those of a base-sized encoder.

    Args:
        folder: for its files.
        seed: of its weights.
    """
    torch.manual_seed(seed)
    tokenizer = word_tokenizer()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=len(_VOCABULARY), **sizes)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = Preprocessor.of(tokenizer, "text", model.config)
    return Teacher(next(folder_teachers(folder)), preprocessor, WideReader(model), None)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    backend = Tokenizer(models.WordLevel(_VOCABULARY, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")


def synthetic_rows(count: int, classes: int = 2) -> TargetRows:
    """Texts that all differ, of classes in turn.

    Args:
        count: number of rows.
        classes: number of classes.
    """
    texts = [f"w{row % _WORDS} w{row // _WORDS % _WORDS} w{row // _WORDS**2}" for row in range(count)]
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=[f"remainder {number}" for number in range(classes)])}
    )
    return TargetRows.of(Dataset.from_dict({"text": texts, "label": [row % classes for row in range(count)]}, features))


def measure(rows: int) -> Measurement:
    """The peak memory of this process, which should have done nothing else."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        teacher, data = wide_teacher(Path(folder) / "teacher"), synthetic_rows(rows)
        before, start = peak_memory(), time.perf_counter()
        outputs = compute_outputs(
            teacher,
            data,
            cache_dir=Path(folder) / "outputs",
            max_cache_bytes=1 << 40,
            progress=False,
            layers=True,
            teacher_output_dtype=torch.float16,
        )
        stored_at, total = time.perf_counter(), torch.zeros(LAYERS, WIDTH)
        for _, chunk in outputs.chunks(CHUNK):
            total += torch.stack([layer.sum(dim=0) for layer in chunk.layers])
        stored = sum(path.stat().st_size for path in Path(folder).glob("outputs/*/*.safetensors"))
        return Measurement(rows, stored, before, peak_memory(), stored_at - start, time.perf_counter() - stored_at)


def rates(rows: int = RATE_ROWS) -> tuple[list[float], list[float]]:
    """Rows a second of a base-sized encoder with random weights: its forward pass alone, and with outputs kept.

    Args:
        rows: number of texts.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(_WORDS, (rows, LENGTH - 2), generator=generator).tolist()
    texts = [" ".join(f"w{word}" for word in of_row) for of_row in words]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["even", "odd"])})
    data = Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(rows)]}, features)
    alone, kept = [], []
    with tempfile.TemporaryDirectory() as folder:
        base_encoder(Path(folder) / "teacher")
        teacher = Teacher.load(next(folder_teachers(Path(folder) / "teacher")), "text")
        for run in range(RATE_RUNS):
            alone.append(rows / _bare_loop(Path(folder) / "teacher", data))
            start = time.perf_counter()
            cache = Path(folder) / f"outputs-{run}"
            compute_outputs(
                teacher, TargetRows.of(data), batch_size=BATCH, cache_dir=cache, progress=False, layers=True
            )
            kept.append(rows / (time.perf_counter() - start))
    return alone, kept


def base_encoder(folder: Path) -> None:
    """An encoder of the size of BERT base, with random weights and few words."""
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(_VOCABULARY))).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)


def _bare_loop(folder: Path, data: Dataset) -> float:
    """Seconds of the loop that a user would write, once the teacher is loaded."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def collate(rows: list[dict[str, Any]]) -> Mapping[str, Tensor]:
        return tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)

    start = time.perf_counter()
    with torch.inference_mode():
        for batch in DataLoader(data, batch_size=BATCH, collate_fn=collate):
            model(**batch, output_hidden_states=True)
    return time.perf_counter() - start


def rate_section(alone: Sequence[float], kept: Sequence[float]) -> str:
    """The section of RESULTS.md on the rate.

    Args:
        alone: rows a second of the forward pass, by run.
        kept: the same with all layers kept.
    """
    ratio = statistics.median(kept) / statistics.median(alone)
    lines = [
        RATE_BEGIN,
        "### Rate of keeping them",
        "",
        f"Written by `python -m benchmarks.memory --rate`: rows a second of an encoder of the size of BERT base on "
        f"{RATE_ROWS} texts of {LENGTH - 2} words, one thread; the loop that a user would write, and "
        f"`compute_outputs` with all {LAYERS} layers kept on disk in float32; medians of {RATE_RUNS} interleaved runs.",
        "",
        "| forward pass alone | all layers kept | ratio |",
        "|---|---|---|",
        f"| {statistics.median(alone):.1f} | {statistics.median(kept):.1f} | {ratio:.2f} |",
        "",
        f"Goal, at least {RATE_GOAL:.0%} of the rate of the forward pass: "
        f"**{'met' if ratio >= RATE_GOAL else 'missed'}**. A faster device has less time to write as much: the table "
        "above, of a stand-in for the forward pass, says how many rows a second can be stored.",
        RATE_END,
    ]
    return "\n".join(lines)


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
        f"{LAYERS} layers and the features, {WIDTH} numbers each in float16, of every row; outputs are read in chunks "
        f"of {CHUNK} rows. Pages of mapped files count. *Before* is the peak before the first row, imports included.",
        "",
        "| rows | stored MB | before MiB | peak MiB | growth of the peak | rows a second, storing | reading |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {line.rows:,} | {line.stored_bytes / 1e6:,.0f} | {line.start:.0f} | {line.peak:.0f} | "
            f"{line.peak / fewest.peak - 1:+.1%} | {line.rows / line.storing:,.0f} | {line.rows / line.reading:,.0f} |"
            for line in measurements
        ),
        "",
        f"From {fewest.rows:,} to {most.rows:,} rows the peak grows by {growth:.1%}; the goal, less than {GOAL:.0%}, "
        f"is {'met' if growth < GOAL else 'missed'}. Texts, and some two hundred bytes that identify each row, grow "
        "with the rows; *before* holds the texts.",
        END,
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="numbers of rows, fewest first")
    parser.add_argument("--rate", action="store_true", help="write the section on the rate instead")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(asdict(measure(options.measure))))
        return
    if options.rate:
        section = rate_section(*rates())
        print(section)
        put(section, RATE_BEGIN, RATE_END, RESULTS)
        return
    measured = (in_own_process("benchmarks.memory", "--measure", str(rows)) for rows in options.rows)
    measurements = [Measurement(**values) for values in measured]
    section = table(measurements)
    print(section)
    put(section, BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
