"""What only an accelerator can tell: rates of solvers, training steps, extraction and scoring beside their peers.

    python -m benchmarks.gpu --output tables [--device cuda] [--small] [--sections solvers clouds ...]

Takes less than ten minutes on one H200. Each table is in the output folder, as Markdown and together in `tables.json`,
from its first row on, so that an interruption loses one row. A peer that is not installed is named in its row, a
section whose packages are missing in its table; the others go on. Besides torch and transformers, POT, geomloss,
datasets and evaluate are needed for all rows. `--device cpu --small` runs every line in a minute, as the tests do.
"""

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

Row = dict[str, object]
FAILURES = (ImportError, OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""What a section may end with: the others still run, and the command ends with a code that is not 0."""


@dataclass(frozen=True)
class Scale:
    """Sizes of one run.

    Args:
        problems: batch, n, m, and whether they share a cost, of each kind of transport problem.
        pot_entries: most entries of all plans that POT is given at once.
        points: points and width of the clouds.
        students: index of sizes in `benchmarks.trainer.SIZES`.
        side: pixels of a training image.
        steps: timed optimiser steps in a group, and groups.
        batch: rows of a step, and of a forward pass.
        teacher: side, patch, width, layers and heads of the vision transformer whose outputs are extracted.
        rows: rows of extraction and scoring.
        classes: target classes of scoring.
        workers: processes that prepare rows.
        repeats: timed calls, of which the median counts.
    """

    problems: tuple[tuple[int, int, int, bool], ...]
    pot_entries: float
    points: tuple[int, int]
    students: tuple[int, ...]
    side: int
    steps: tuple[int, int]
    batch: int
    teacher: tuple[int, int, int, int, int]
    rows: int
    classes: int
    workers: int
    repeats: int


LARGE = Scale(
    problems=((8192, 1000, 1000, True), (1024, 1000, 100, True), (256, 200, 100, False), (256, 100, 20, False)),
    pot_entries=5e8,
    points=(20_000, 768),
    students=(1, 2),
    side=32,
    steps=(10, 8),
    batch=128,
    teacher=(224, 16, 384, 12, 6),
    rows=2_000,
    classes=100,
    workers=12,
    repeats=5,
)
SMALL = Scale(
    problems=((16, 12, 7, True), (8, 9, 5, False)),
    pot_entries=400,
    points=(60, 4),
    students=(0,),
    side=16,
    steps=(1, 1),
    batch=8,
    teacher=(32, 16, 16, 2, 2),
    rows=24,
    classes=3,
    workers=0,
    repeats=1,
)


@dataclass
class Report:
    """Tables in a folder, written anew with every row.

    Args:
        folder: made if it is not there.
        facts: of the machine and the packages.
        tables: rows by section.
    """

    folder: Path
    facts: Mapping[str, object]
    tables: dict[str, list[Row]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def row(self, section: str, **cells: object) -> None:
        """Add a row and write the table."""
        self.tables.setdefault(section, []).append(cells)
        print(section, cells, flush=True)
        self._write(section)

    def note(self, section: str, sentence: str) -> None:
        """Add a sentence under a table, such as why a part of it is missing."""
        self.notes.setdefault(section, []).append(sentence)
        print(section, sentence, flush=True)
        self._write(section)

    def _write(self, section: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rows, notes = self.tables.get(section, []), self.notes.get(section, [])
        (self.folder / f"{section}.md").write_text("\n".join([*markdown(rows), "", *notes, ""]))
        content = {"facts": self.facts, "tables": self.tables, "notes": self.notes}
        (self.folder / "tables.json").write_text(json.dumps(content, indent=1))


def markdown(rows: list[Row]) -> list[str]:
    """A table whose columns are all that any row has, in the order in which they come up."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"] if rows else []
    return lines + ["| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |" for row in rows]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def against(ratio: float, bar: float, *, least: bool) -> str:
    """A bar, and whether a ratio meets it."""
    met = ratio >= bar if least else ratio <= bar
    return f"{'>=' if least else '<='} {bar:g}, {'met' if met else '**missed**'}"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> tuple[float, Any]:
    """Median of some calls after one that is not timed, and what the last returned."""
    times, result = [], call()
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        result = call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def facts(device: torch.device) -> dict[str, object]:
    """What the figures belong to."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} processor"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


# ---- solvers ------------------------------------------------------------------------------------------------------


def solvers(report: Report, scale: Scale, device: torch.device) -> None:
    """Batches of problems: ours, the bare products with a shared cost, and POT, at POT's own error."""
    from benchmarks.transport.peers import installed

    has_pot = installed("ot")
    if not has_pot:
        report.note("solvers", "POT is not installed: its rows are missing.")
    for problem in scale.problems:
        _solvers_of(report, scale, device, problem, has_pot=has_pot)


def _solvers_of(
    report: Report, scale: Scale, device: torch.device, problem: tuple[int, int, int, bool], *, has_pot: bool
) -> None:
    from benchmarks.transport.measure import EPSILON, inputs
    from benchmarks.transport.peers import PEER_TOLERANCE, ours, pot_batch, products
    from hf_ctkd.ot import OTProblem, Sinkhorn

    batch, n, m, shared = problem
    name = f"{batch} of {n} x {m}, {'shared cost' if shared else 'one cost each'}"
    cost, a, b = (tensor.to(device) for tensor in inputs(batch, n, m, shared=shared))
    tolerance, pot_seconds = PEER_TOLERANCE, None
    if has_pot:
        part = max(1, min(batch, int(scale.pot_entries // (n * m))))
        some = (cost if shared else cost[:part], a[:part], b[:part])
        elapsed, (_, error) = seconds(lambda: pot_batch(*some), device, scale.repeats)
        tolerance, pot_seconds = max(error(), 1e-7), elapsed * batch / part
        report.row("solvers", problem=name, solver="POT `solve_batch`", seconds=pot_seconds, error=tolerance, of=part)
    elapsed, (_, error) = seconds(lambda: ours(cost, a, b, tolerance), device, scale.repeats)
    row: Row = {"problem": name, "solver": "ours", "seconds": elapsed, "error": error(), "of": batch}
    if pot_seconds is not None:
        row["times POT's rate"] = pot_seconds / elapsed
        row["bar, POT"] = against(pot_seconds / elapsed, 50 if shared else 10, least=True)
    if shared:
        solution = Sinkhorn(EPSILON, tolerance=tolerance).solve(OTProblem(cost, a, b))
        steps = round(float(solution.steps.double().mean()))
        chain, _ = seconds(lambda: products(cost, a, b, steps), device, scale.repeats)
        report.row("solvers", problem=name, solver=f"bare products of {steps} steps", seconds=chain, of=batch)
        row["share of the products' rate"] = chain / elapsed
        row["bar, products"] = against(chain / elapsed, 0.6 if n == m else 0.4, least=True)
    report.row("solvers", **row)


def clouds(report: Report, scale: Scale, device: torch.device) -> None:
    """Two clouds of points in blocks, and GeomLoss with a dense cost."""
    from benchmarks.transport.measure import EPSILON
    from benchmarks.transport.peers import installed
    from benchmarks.transport.tables import cloud_geomloss
    from hf_ctkd.ot import CloudProblem, CloudSinkhorn

    points, width = scale.points
    torch.manual_seed(0)
    x, y = torch.randn(points, width).to(device), (torch.randn(points, width) + 0.1).to(device)
    solver = CloudSinkhorn(EPSILON, tolerance=1e-4)
    elapsed, solution = seconds(lambda: solver.solve(CloudProblem(x, y)), device, scale.repeats)
    name = f"{points} x {points} points, width {width}"
    row: Row = {"problem": name, "solver": "ours", "seconds": elapsed, "error": solution.marginal_error}
    row |= {"steps": solution.steps, "value": float(solution.value)}
    if installed("geomloss"):
        peer, (value, _) = seconds(lambda: cloud_geomloss(x, y, solution.epsilon), device, scale.repeats)
        report.row("clouds", problem=name, solver="GeomLoss, dense", seconds=peer, value=float(value))
        row |= {"times GeomLoss": peer / elapsed, "bar": against(peer / elapsed, 2, least=True)}
    else:
        report.note("clouds", "geomloss is not installed: its row is missing.")
    report.row("clouds", **row)


# ---- training -----------------------------------------------------------------------------------------------------


def trainer(report: Report, scale: Scale, device: torch.device) -> None:
    """A step of each kind of distillation over a step of plain `Trainer`, same student, in turn."""
    from benchmarks import trainer as base

    dataset = base.rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        teachers = base.save_teachers(folder, 3)
        for index in scale.students:
            _steps_of(report, scale, device, base.SIZES[index], (dataset, folder, teachers))


def _steps_of(report: Report, scale: Scale, device: torch.device, size: Any, files: tuple) -> None:  # noqa: ANN401
    from benchmarks.trainer import WARM_UP, endless, step

    made = _trainers(scale, device, size, *files)
    group, groups = scale.steps
    for one in made.values():
        one.create_optimizer_and_scheduler(WARM_UP + group * groups)
        one.model.train()
    loaders = {name: endless(one.get_train_dataloader()) for name, one in made.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    for timed in range(-1, groups):
        for name, one in made.items():
            synchronize(device)
            start = time.perf_counter()
            for _ in range(WARM_UP if timed < 0 else group):
                step(one, loaders[name])
            synchronize(device)
            if timed >= 0:
                times[name].append((time.perf_counter() - start) / group)
    plain = statistics.median(times["plain `Trainer`"])
    forward = _forward_seconds(made["online, 1 teacher"], loaders["online, 1 teacher"], device, scale.repeats)
    report.row("trainer", student=size.name, step="forward of one teacher", milliseconds=1000 * forward)
    for name, measured in times.items():
        base = plain + forward if name.startswith("online") else plain
        ratio = statistics.median(measured) / base
        bar = {"k": 1.03, "3": 1.05, "o": 1.05, "c": 1.25}.get(name[0])
        report.row(
            "trainer",
            student=size.name,
            step=name,
            milliseconds=1000 * statistics.median(measured),
            ratio=ratio,
            bar="" if bar is None else against(ratio, bar, least=False),
        )


def _trainers(scale: Scale, device: torch.device, size: Any, dataset: Any, folder: Path, teachers: list) -> dict:  # noqa: ANN401
    from benchmarks.trainer import CLASSES, plain_trainer, processor, resnet, settings
    from hf_ctkd.losses import CommitteeLoss
    from hf_ctkd.training import DistillationConfig, DistillationTrainer

    settings = {**settings(), "per_device_train_batch_size": scale.batch, "use_cpu": device.type == "cpu"}
    settings |= {"dataloader_num_workers": scale.workers, "dataloader_persistent_workers": scale.workers > 0}

    def distilled(count: int, **changes: object) -> DistillationTrainer:
        loss = changes.pop("loss", None)
        args = {"cache_student_inputs": True, "cache_dir": str(folder / "cache"), **settings, **changes}
        return DistillationTrainer(
            resnet(size.hidden_sizes, size.depths, len(CLASSES), seed=0),
            DistillationConfig(str(folder / "distilled"), **args),
            teachers=teachers[:count],
            loss=loss,
            train_dataset=dataset,
            processing_class=processor(),
        )

    return {
        "plain `Trainer`": plain_trainer(size, dataset, folder, **settings),
        "kept, 1 teacher": distilled(1),
        "3 kept teachers": distilled(3),
        "online, 1 teacher": distilled(1, cache_teacher_outputs=False),
        "committee of 3": distilled(3, loss=CommitteeLoss()),
    }


def _forward_seconds(online: Any, loader: Iterator, device: torch.device, repeats: int) -> float:  # noqa: ANN401
    """Of the teacher on a batch that is on the device."""
    inputs = next(loader)["teacher_inputs"][0]
    teacher = online.teacher_runner.teachers[0]
    return seconds(lambda: teacher.outputs(inputs), device, repeats)[0]


# ---- extraction and scoring ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extraction:
    """A teacher with random weights, its rows, and what is timed with them."""

    teacher: Any
    rows: Any
    scale: Scale
    device: torch.device

    @classmethod
    def of(cls, folder: Path, scale: Scale, device: torch.device) -> "Extraction":
        from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

        from hf_ctkd.data import TargetRows
        from hf_ctkd.hub import folder_teachers
        from hf_ctkd.teachers import Teacher

        side, patch, width, layers, heads = scale.teacher
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            image_size=side,
            patch_size=patch,
            num_labels=max(scale.classes, 10),
        )
        ViTForImageClassification(config).save_pretrained(folder / "vit")
        ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder / "vit")
        candidate = next(iter(folder_teachers(folder / "vit")))
        rows = TargetRows.of(photographs(scale.rows, side, scale.classes))
        return cls(Teacher.load(candidate, "image", device=device), rows, scale, device)

    def bare_loop(self) -> int:
        """A plain loop: `DataLoader` and `model(x)`, predictions back to the CPU at the end."""
        from torch.utils.data import DataLoader

        loader = DataLoader(
            self._batches(),
            batch_size=None,
            num_workers=self.scale.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=self._inputs,
        )
        parts = []
        with torch.inference_mode():
            for batch in loader:
                inputs = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
                parts.append(self.teacher.model(**inputs).logits)
        return len(torch.cat(parts).cpu())

    def forward_alone(self) -> float:
        """Seconds that the forward passes take on inputs that are on the device."""
        batch = self._batches()[0]
        inputs = {name: tensor.to(self.device) for name, tensor in self._inputs(batch).items()}
        with torch.inference_mode():
            each = seconds(lambda: self.teacher.model(**inputs), self.device, self.scale.repeats)[0]
        return each * len(self.rows) / len(batch)

    def outputs(self, cache_dir: Path | None = None) -> Any:  # noqa: ANN401
        from hf_ctkd.teachers import compute_outputs

        return compute_outputs(
            self.teacher,
            self.rows,
            batch_size=self.scale.batch,
            workers=self.scale.workers,
            cache_dir=cache_dir,
            progress=False,
        )

    def _batches(self) -> list[list[int]]:
        numbers = range(len(self.rows))
        return [list(numbers[start : start + self.scale.batch]) for start in numbers[:: self.scale.batch]]

    def _inputs(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        return self.teacher.collator(self.rows.inputs(numbers))


def photographs(count: int, side: int, classes: int) -> Any:  # noqa: ANN401
    """Smooth pictures as JPEG files, all different, with labels."""
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as PILImage

    generator, stored = np.random.default_rng(0), []
    for _ in range(count):
        stream = io.BytesIO()
        coarse = PILImage.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), PILImage.Resampling.BILINEAR).save(stream, "JPEG", quality=90)
        stored.append({"bytes": stream.getvalue(), "path": None})
    names = [f"class {number}" for number in range(classes)]
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": stored, "label": [row % classes for row in range(count)]}, features=features)


def extraction(report: Report, scale: Scale, device: torch.device) -> None:
    """Rows a second through a teacher: ours against a plain loop and against the forward pass alone."""
    with tempfile.TemporaryDirectory() as name:
        made = Extraction.of(Path(name), scale, device)
        alone = made.forward_alone()
        report.row("extraction", way="forward pass alone", rows_a_second=scale.rows / alone)
        bare, _ = seconds(made.bare_loop, device, 1)
        report.row("extraction", way="`DataLoader` and `model(x)`", rows_a_second=scale.rows / bare)
        folders = iter(range(1_000))
        ways = {
            "`compute_outputs` in memory": made.outputs,
            "`compute_outputs` on disk": lambda: made.outputs(Path(name) / f"outputs {next(folders)}"),
        }
        for way, call in ways.items():
            elapsed, _ = seconds(call, device, 1)
            report.row(
                "extraction",
                way=way,
                rows_a_second=scale.rows / elapsed,
                share_of_the_loop=bare / elapsed,
                share_of_the_forward=alone / elapsed,
                bar=against(bare / elapsed, 0.8, least=True),
            )


def scoring(report: Report, scale: Scale, device: torch.device) -> None:
    """What metrics add to a plain loop over the same rows."""
    from hf_ctkd import metrics
    from hf_ctkd.costs import PrototypeCost

    special = {"TransferabilityMetric", "FOTCE", "OTCE", "TransportScore"}  # no metric, and those with arguments
    made = [getattr(metrics, name)() for name in metrics.__all__ if name not in special]
    made.append(metrics.TransportScore(PrototypeCost()))
    with tempfile.TemporaryDirectory() as name:
        run = Extraction.of(Path(name), scale, device)
        bare, _ = seconds(run.bare_loop, device, 1)
        report.row("scoring", what="`DataLoader` and `model(x)`", seconds=bare)
        extract, outputs = seconds(run.outputs, device, 1)
        report.row("scoring", what="extraction", seconds=extract, share=extract / bare)
        total = 0.0
        for metric in made:
            elapsed, score = seconds(partial(metric.score, outputs, run.rows.labels), device, 1)
            total += elapsed
            row: Row = {"what": metric.name, "seconds": elapsed, "share": elapsed / bare, "score": score}
            if metric.name == metrics.InformationGain.name:
                row["bar"] = against(elapsed / bare, 0.05, least=False)
            report.row("scoring", **row)
        bar = against(total / bare, 0.1, least=False)
        report.row("scoring", what="all metrics", seconds=total, share=total / bare, bar=bar)


SECTIONS = {
    "solvers": solvers,
    "clouds": clouds,
    "trainer": trainer,
    "extraction": extraction,
    "scoring": scoring,
}


def run(sections: list[str], report: Report, scale: Scale, device: torch.device) -> int:
    """Run the sections, each whatever became of those before; how many failed."""
    failed = 0
    for name in sections:
        start = time.perf_counter()
        try:
            SECTIONS[name](report, scale, device)
            report.note(name, f"Took {time.perf_counter() - start:.0f} s.")
        except ModuleNotFoundError as error:
            report.note(name, f"Not run to its end: the package {error.name} is not installed.")
        except FAILURES as error:
            failed += 1
            traceback.print_exc()
            report.note(name, f"Failed: {type(error).__name__}: {error}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--device", default="cuda", help="such as cuda, cuda:1 or cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs an accelerator, and torch sees none here. Give --device cpu --small.")
    report = Report(options.output, facts(device))
    return int(run(options.sections, report, SMALL if options.small else LARGE, device) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
