"""A ranking of many teachers on a loopback Hub, a third of which, or another share, are broken in 15 ways.

    python -m benchmarks.hub_campaign [--models 500] [--share 3] [--seed 0] [--json FILE] [--write]

Everything is drawn from the seed. The real huggingface_hub client ranks the sound teachers alone, then all of them in
a random order, each in a process and with caches of its own. The two rankings of the sound teachers must be the same,
each broken teacher must be skipped with a reason of its kind, and no code of a repository may run. With `--write` the
table goes into RESULTS.md.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- hub:begin -->", "<!-- hub:end -->"
SHARE = 3
"""One model in so many is broken, unless told otherwise."""
STALL_SECONDS, DOWNLOAD_TIMEOUT = 6, 2
LABELS = 4
RAN = "HUB_CAMPAIGN_RAN"
"""Environment variable: the file that code of a repository would write."""
OWN_CODE = f"import os\nopen(os.environ[{RAN!r}], 'a').write('ran')\n"
Files = dict[str, bytes]


def _config(files: Files, **values: object) -> None:
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), **values}).encode()


def _index(files: Files, *shards: str) -> None:
    weight_map = {f"tensor{number}": shard for number, shard in enumerate(shards)}
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


def _pickle_only(files: Files) -> None:
    del files["model.safetensors"]
    # What a pickle runs when it is loaded: the same as the code below.
    files["pytorch_model.bin"] = (
        f"cbuiltins\nexec\n(V{OWN_CODE.strip().encode('unicode_escape').decode()}\ntR.".encode()
    )


def _remote_code(files: Files) -> None:
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnModel"}
    _config(files, model_type="own", auto_map=auto, architectures=["OwnModel"])
    files["own.py"] = OWN_CODE.encode()


def _lies(files: Files) -> None:
    _config(files, id2label={str(number): f"class {number}" for number in range(LABELS + 3)}, num_labels=LABELS + 3)


def _not_finite(files: Files) -> None:
    # The last four bytes are the end of the last tensor.
    files["model.safetensors"] = files["model.safetensors"][:-4] + b"\x00\x00\xc0\x7f"


def _traversal(files: Files) -> None:
    weights = files.pop("model.safetensors")
    files["../../outside.safetensors"] = weights
    _index(files, "../../outside.safetensors")


WAYS: dict[str, tuple[Callable[[Files], object] | None, dict[str, Any], list[tuple[str, dict[str, Any]]], set[str]]] = {
    "gated": (None, {"gated": "manual"}, [], {"gated"}),
    "private": (None, {"private": True}, [], {"not_found"}),
    "deleted after it was listed": (
        None,
        {},
        [("(tree|resolve)", {"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}})],
        {"not_found"},
    ),
    "pickle only": (_pickle_only, {}, [], {"pickle_only"}),
    "remote code": (_remote_code, {}, [], {"broken"}),
    "labels that are not those of the weights": (_lies, {}, [], {"broken"}),
    "weights that are NaN": (_not_finite, {}, [], {"not_finite"}),
    "absurd sizes": (lambda files: _config(files, depths=[10**7, 1]), {}, [], {"too_large"}),
    "no processor": (lambda files: files.pop("preprocessor_config.json"), {}, [], {"broken"}),
    "a pointer of Git LFS": (
        lambda files: files.update(
            {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n"}
        ),
        {},
        [],
        {"lfs_pointer"},
    ),
    "a truncated file": (
        lambda files: files.update({"model.safetensors": files["model.safetensors"][:-100]}),
        {},
        [],
        {"truncated"},
    ),
    "file names that leave the folder": (_traversal, {}, [], {"broken", "no_weights"}),
    "429 for an hour": (
        None,
        {},
        [("(tree|resolve)", {"status": 429, "headers": {"Retry-After": "3600"}})],
        {"hub_failed"},
    ),
    "5xx for ever": (None, {}, [("resolve", {"status": 503})], {"hub_failed"}),
    "a stalled body": (None, {}, [("resolve/.*safetensors", {"seconds": STALL_SECONDS})], {"hub_failed"}),
}
"""Of each way: how files are spoiled, settings of the repository, faults of requests, codes that may be the reason."""
WAITING = ("a stalled body", "5xx for ever")
"""Whose requests huggingface_hub repeats, up to its limits of time and of attempts."""
LARGEST_RATIO = 1.1
"""The goal: at most so many times the seconds of the sound teachers alone, beside the limits of time."""
DEFAULT_MODELS = 500


def plan(models: int, seed: int, share: int = SHARE) -> list[tuple[str, str | None]]:
    """Names of the models in the order in which they are ranked, each with its way of being broken."""
    ways = list(WAYS)
    broken = [(f"org/broken-{number:03}", ways[number % len(ways)]) for number in range(models // share)]
    sound = [(f"org/sound-{number:03}", None) for number in range(models - len(broken))]
    ordered: list[tuple[str, str | None]] = [*sound, *broken]
    random.Random(seed).shuffle(ordered)
    return ordered


def sound_files(number: int) -> Files:
    """A tiny ResNet with random weights of its own."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    torch.manual_seed(number)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=LABELS)
    with tempfile.TemporaryDirectory() as folder:
        ResNetForImageClassification(config).save_pretrained(folder)
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def rank(planned: list[tuple[str, str | None]], folder: Path) -> dict[str, Any]:
    """One ranking in this process, in which huggingface_hub must not have been imported before."""
    sys.path.insert(0, str(ROOT / "tests"))
    from loopback_hub import LoopbackHub

    hub = LoopbackHub()
    os.environ |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DOWNLOAD_TIMEOUT": str(DOWNLOAD_TIMEOUT),
    }
    from hf_ctkd.hub import hub_teachers
    from hf_ctkd.selection import TeacherSelector

    for number, (name, way) in enumerate(planned):
        files = sound_files(int(name.rsplit("-", 1)[1]) + (0 if way is None else 10**6))
        spoil, settings, faults, _ = (None, {}, [], set()) if way is None else WAYS[way]
        if spoil is not None:
            spoil(files)
        hub.add(name, files, **settings)
        for pattern, fault in faults:
            hub.fault(f"(GET|HEAD) (/api/models)?/{name}/{pattern}", **fault)
        if way is None and number % 10 == 0:  # a sound one, which the Hub refuses once: its wait is in both rankings
            hub.fault(f"GET /api/models/{name}/tree", status=429, headers={"Retry-After": "1"}, times=1)
    start = time.perf_counter()
    selector = TeacherSelector(metrics=(), cache_dir=folder / "cache", progress=False)
    ranking = selector.rank(hub_teachers(*(name for name, _ in planned)), make_rows())
    return {
        "seconds": time.perf_counter() - start,
        "scored": [(teacher.candidate.model_id, teacher.scores["information_gain"]) for teacher in ranking.scored],
        "skipped": {
            teacher.candidate.model_id: (teacher.skipped_code and teacher.skipped_code.value, teacher.skipped)
            for teacher in ranking.teachers
            if teacher.skipped is not None
        },
        "requests": len(hub.requests),
        "most_requests_of_a_model": max(Counter(_model_of(request) for request in hub.requests).values()),
        "waits": {name: _wait(hub.requests, hub.times, name) for name, way in planned if way in WAITING},
    }


def _wait(requests: list[str], times: list[float], name: str) -> float:
    """Seconds from the first request for a model's files to the last one's time limit: what huggingface_hub waits."""
    model = name.rsplit("/", 1)[-1]
    own = [when for request, when in zip(requests, times, strict=True) if f"{model}/resolve" in request]
    return own[-1] - own[0] + DOWNLOAD_TIMEOUT if own else 0.0


def _model_of(request: str) -> str:
    return next((part for part in request.split("/") if part.startswith(("sound-", "broken-"))), "").split("?")[0]


def make_rows():
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as PILImage

    generator = np.random.default_rng(0)
    images = [
        PILImage.fromarray(generator.integers(0, 128, (16, 16, 3), dtype=np.uint8) + np.uint8(50 * (row % 3)))
        for row in range(48)
    ]
    features = Features({"image": Image(), "label": ClassLabel(names=["dark", "grey", "bright"])})
    return Dataset.from_dict({"image": images, "label": [row % 3 for row in range(48)]}, features=features)


def in_process(models: int, seed: int, share: int, broken: bool, folder: Path) -> dict[str, Any]:
    """`rank` in a process of its own."""
    folder.mkdir()
    output = folder / "outcome.json"
    words = ["--models", str(models), "--seed", str(seed), "--share", str(share), "--folder", str(folder)]
    words += ["--one", "all" if broken else "sound"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"OMP_NUM_THREADS": "1", RAN: str(folder / "ran"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    subprocess.run(
        [sys.executable, "-m", "benchmarks.hub_campaign", *words, "--json", str(output)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    outcome = json.loads(output.read_text())
    outcome["code_ran"] = (folder / "ran").exists()
    outcome["outside"] = [str(path) for path in folder.parent.rglob("outside.safetensors")]
    shutil.rmtree(folder)
    return outcome


def campaign(models: int, seed: int, share: int = SHARE) -> dict[str, Any]:
    """Both rankings, and what is wrong with them: nothing, one hopes."""
    with tempfile.TemporaryDirectory() as folder:
        sound = in_process(models, seed, share, False, Path(folder) / "sound")
        every = in_process(models, seed, share, True, Path(folder) / "all")
    faults = []
    if sound["scored"] != every["scored"]:
        faults.append("the sound teachers are ranked differently")
    if sound["skipped"]:
        faults.append(f"sound teachers were skipped: {sound['skipped']}")
    if every["code_ran"] or every["outside"]:
        faults.append("foreign code ran, or a file was written outside of its folder")
    for name, way in plan(models, seed, share):
        if way is not None:
            code, reason = every["skipped"].get(name, (None, "it was ranked"))
            if code not in WAYS[way][3]:
                faults.append(f"{way}: skipped as {code}: {reason}")
    return {"models": models, "seed": seed, "share": share, "sound": sound, "all": every, "faults": faults}


def section(outcome: dict[str, Any]) -> str:
    sound, every = outcome["sound"], outcome["all"]
    ways = {name: way for name, way in plan(outcome["models"], outcome["seed"], outcome["share"]) if way is not None}
    counts, reasons = Counter(ways.values()), {}
    for name, way in ways.items():
        reasons.setdefault(way, every["skipped"].get(name, (None, "it was ranked")))
    lines = [
        f"| {way} | {count} | `{reasons[way][0]}` | {reasons[way][1].replace('|', '/')} |"
        for way, count in sorted(counts.items())
    ]
    stalls, waits = sum(counts[way] for way in WAITING), sum(every["waits"].values())
    allowed = LARGEST_RATIO * sound["seconds"] + waits
    verdict = "reached" if every["seconds"] <= allowed else "**missed**"
    wrong = "; ".join(outcome["faults"]) or "nothing"
    return (
        "## Broken teachers on the Hub\n\n"
        f"{outcome['models']} tiny models on a loopback Hub, {len(ways)} of them broken in {len(counts)} ways, seed "
        f"{outcome['seed']}; `python -m benchmarks.hub_campaign`. The sound teachers alone took "
        f"{sound['seconds']:.0f} s, all of them {every['seconds']:.0f} s: "
        f"{every['seconds'] / sound['seconds']:.2f} times. {stalls} models have a body that stalls or a server that "
        f"fails; huggingface_hub asks them again, with a read limit of {DOWNLOAD_TIMEOUT} s, which is "
        f"{waits:.0f} s one after the other. Goal, at most {LARGEST_RATIO:g} times and these limits, "
        f"{allowed:.0f} s: {verdict}. Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. At most "
        f"{every['most_requests_of_a_model']} requests were made for one model. What was wrong: {wrong}.\n\n"
        "| broken by | models | code | reason in the ranking |\n|---|---|---|---|\n" + "\n".join(lines)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=DEFAULT_MODELS)
    parser.add_argument("--share", type=int, default=SHARE, help="one model in so many is broken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the outcome")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--one", choices=("sound", "all"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        planned = plan(arguments.models, arguments.seed, arguments.share)
        chosen = [(name, way) for name, way in planned if arguments.one == "all" or way is None]
        outcome = rank(chosen, arguments.folder)
        arguments.json.write_text(json.dumps(outcome))
        return
    outcome = campaign(arguments.models, arguments.seed, arguments.share)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(outcome))
    text = section(outcome)
    print(text)
    if arguments.write:
        from benchmarks.results_file import put  # not before the address of the Hub is set

        put(f"{BEGIN}\n{text}\n{END}", BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
