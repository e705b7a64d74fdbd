"""The index of teachers at the scale of the Hub: build rate, search time, recall against exhaustive transport, size.

    python -m benchmarks.index --names FILE ... --teachers 30000 100000 1000000 --write   # without it, it prints only

Teachers are synthetic: names are real ones, from files of names (one class a line, synonyms separated by commas, an
identifier before a tab left out), such as `timm/data/_info/imagenet_synset_to_lemma.txt`. Three in ten teachers share
one of 20,000 label spaces, the first ones most often; the classes of the others are drawn from one region of the file,
which is in the order of WordNet, so that they belong to one topic.
"""

import argparse
import os
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.results_file import put
from hf_ctkd.index import TeacherIndex, neighbours
from hf_ctkd.index.encoders import unit_vectors
from hf_ctkd.index.label_transport import transport_costs
from hf_ctkd.index.neighbours import uses_graph
from hf_ctkd.index.shortlist import best_spaces
from hf_ctkd.index.specification import SCHEMA
from hf_ctkd.index.store import PartFolder, parts_of

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- index: begin -->", "<!-- index: end -->"
POOL, SHARED = 20_000, 0.3
SMALLEST, LARGEST = 2, 1000
CLASSES = ((2, 5), (6, 40), (41, 150))
"""Fewest and most classes of the queries that recall is judged on, apart by size."""
TIED = 1e-3
"""Costs that differ by less are tied: the tolerance of the solver."""


def read_names(paths: list[str]) -> list[str]:
    lines = [line for path in paths for line in Path(path).read_text().splitlines()]
    synonyms = (line.split("\t", 1)[-1].split(",") for line in lines)
    return list(dict.fromkeys(name.strip() for names in synonyms for name in names if name.strip()))


def label_space(names: list[str], generator: np.random.Generator) -> list[str]:
    # The number of classes falls as a power: most teachers have a handful, a few have a thousand.
    size = min(int(SMALLEST * generator.pareto(1.1) + SMALLEST), LARGEST)
    spread = max(4 * size, 200)
    picked = (generator.integers(len(names)) + generator.integers(-spread, spread, size)) % len(names)
    return [names[name] for name in np.unique(picked)]


def synthetic(count: int, names: list[str], seed: int = 0) -> pa.Table:
    generator = np.random.default_rng(seed)
    pool = [label_space(names, generator) for _ in range(POOL)]
    labels = [
        pool[min(int(POOL * generator.random() ** 3), POOL - 1)]
        if generator.random() < SHARED
        else label_space(names, generator)
        for _ in range(count)
    ]
    columns = {
        "id": [f"org{number % 5000}/model-{number}" for number in range(count)],
        "revision": generator.bytes(20 * count).hex(),
        "source": ["hub"] * count,
        "task": generator.choice(["image-classification", "text-classification"], count),
        "parameters": generator.integers(10**6, 10**9, count),
        "license": generator.choice(["mit", "apache-2.0", "other"], count),
        "downloads": (10 * generator.pareto(1.0, count)).astype(np.int64),
        "languages": [["en"]] * count,
        "tags": [["transformers", "safetensors"]] * count,
        "label_names": labels,
        "gated": np.zeros(count, dtype=bool),
        "problem": [None] * count,
        "problem_code": [None] * count,
    }
    columns["revision"] = [columns["revision"][40 * row : 40 * row + 40] for row in range(count)]
    return pa.table({field.name: pa.array(columns[field.name], type=field.type) for field in SCHEMA}, schema=SCHEMA)


def drawn(names: list[str], count: int, fewest: int, most: int, seed: int = 1) -> list[list[str]]:
    """So many label spaces of some number of classes, drawn as those of the teachers are."""
    generator = np.random.default_rng(seed)
    spaces = (label_space(names, generator) for _ in range(10**6))
    return list(islice((space for space in spaces if fewest <= len(space) <= most), count))


def recall(index: TeacherIndex, queries: list[list[str]], k: int = 50) -> float:
    """The share of the `k` best label spaces of all that a search returns; those with a tied cost count as the same."""
    if not queries:
        return float("nan")
    spaces, shares = index._spaces, []
    for query in queries:
        vectors = unit_vectors(index._encoder, query)
        target = index._names.compared(np.arange(len(spaces.names)), vectors)
        similar = np.flatnonzero(target.similarity.any(axis=1))
        target = index._names.compared(similar, vectors)
        every = transport_costs(target, spaces, np.arange(len(spaces.sizes)))
        worst = np.sort(every)[k - 1]
        _, costs = best_spaces(index._names.resembling(vectors, spaces), spaces, k)
        shares.append(float((costs <= worst + TIED).sum()) / k)
    return float(np.mean(shares))


def opened(folder: str, query: list[str]) -> tuple[TeacherIndex, str]:
    """An index after its first search, and the seconds that this took, by the clock and of the processor."""
    start, before = time.perf_counter(), time.process_time()
    index = TeacherIndex.load(folder)
    index.search(query)
    return index, f"{time.perf_counter() - start:.1f} s ({time.process_time() - before:.1f} s)"


def measure(count: int, names: list[str], queries: list[list[str]], judged: list[list[list[str]]]) -> dict[str, Any]:
    table = synthetic(count, names)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = PartFolder(folder)
        for part in parts_of(table):
            store.append(part)
        written = time.perf_counter() - start
        size = sum(path.stat().st_size for path in store.parts)
        del table
        index, ready = opened(folder, queries[0])
        del index
        index, again = opened(folder, queries[0])
    clock, processor = [], []
    for query in queries:
        before, start = time.process_time(), time.perf_counter()
        index.search(query)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - before))
    return {
        "teachers": count,
        "spaces": len(index._spaces.sizes),
        "names": len(index._spaces.names),
        "written": written,
        "ready": ready,
        "again": again,
        "bytes": size / count,
        "median": float(np.median(clock)),
        "slow": float(np.quantile(clock, 0.9)),
        "processor": float(np.median(processor)),
        "recall": [recall(index, of_size) for of_size in judged],
    }


def section(measured: list[dict[str, Any]], queries: int, exhaustive: int) -> str:
    first, last = next((one for one in measured if one["teachers"] == 100_000), measured[0]), measured[-1]
    rows = [
        f"| {one['teachers']:,.0f} | {one['spaces']:,.0f} | {one['names']:,.0f} | {one['median']:.0f} ms | "
        f"{one['slow']:.0f} ms | {one['processor']:.0f} ms | {' | '.join(f'{share:.3f}' for share in one['recall'])} | "
        f"{one['teachers'] / one['written']:,.0f}/s | {one['ready']} | {one['again']} | "
        f"{one['bytes']:.0f} |"
        for one in measured
    ]
    searched = (
        "Names are searched by the graph of faiss."
        if uses_graph(int(last["names"]))
        else "Names are compared one by one, as there are fewer than the graph of faiss is for."
    )
    growth = last["median"] / first["median"]
    growth_processor = last["processor"] / first["processor"]
    goals = [
        f"- below 50 ms at {last['teachers']:,.0f} teachers: {_verdict(last['median'] < 50)} by the clock "
        f"({last['median']:.0f} ms), {_verdict(last['processor'] < 50)} by the processor's time "
        f"({last['processor']:.0f} ms, of all threads together)",
        f"- less than twice the time at {first['teachers']:,.0f}: {_verdict(growth < 2)} by the clock ({growth:.2f} "
        f"times), {_verdict(growth_processor < 2)} by the processor's time ({growth_processor:.2f} times)",
        f"- recall@50 of 0.95: {_verdict(min(min(one['recall']) for one in measured) >= 0.95)}",
    ]
    head = (
        "## Index of teachers\n\n"
        "Synthetic teachers whose label spaces are drawn from real vocabularies (see `benchmarks/index.py`); "
        f"{queries} queries of 2 to 40 classes that are label spaces of no teacher but drawn alike, encoder by "
        f"spelling, threads: {torch.get_num_threads()}; recall@50 against transport to every label space, on "
        f"{exhaustive} queries of each number of classes. {searched} Load average {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores, so read the "
        "processor's time, which stands in brackets where an index is opened.\n\n"
        "| teachers | label spaces | names | search, median | 90 % | processor | "
        + "".join(f"recall@50, {fewest} to {most} classes | " for fewest, most in CLASSES)
        + "written | load and first search | opened again | bytes a teacher |\n|"
        + "---|" * (10 + len(CLASSES))
    )
    return "\n".join([head, *rows, "", "Goals:", "", *goals])


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--teachers", nargs="+", type=int, default=[30_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--exhaustive", type=int, default=10, help="queries of each size that recall is judged on")
    parser.add_argument("--graph", action="store_true", help="search names by the graph of faiss, however few they are")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = read_names(arguments.names)
    if arguments.graph:
        neighbours._MANY_NAMES = 0
    queries = drawn(names, arguments.queries, SMALLEST, 40)
    judged = [drawn(names, arguments.exhaustive, fewest, most) for fewest, most in CLASSES]
    measured = []
    for count in arguments.teachers:
        measured.append(measure(count, names, queries, judged))
        print(measured[-1], flush=True)
    text = section(measured, len(queries), arguments.exhaustive)
    print(text)
    if arguments.write:
        put(f"{BEGIN}\n{text}\n{END}", BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
