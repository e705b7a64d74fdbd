"""What trackers recorded, read from the files that they write without a network."""

import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

Run = dict[int, dict[str, float]]
"""Values by step, and by name."""
_BLOCK, _HEADER, _FILE_HEADER = 32768, 7, 7
_WHOLE, _LAST = 1, 4


def tensorboard_run(folder: Path) -> Run:
    """The scalars of the only run in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps: Run = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(file)).Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                steps.setdefault(event.step, {})[name] = event.value
    return steps


def wandb_runs(folder: Path) -> dict[str, tuple[dict, Run]]:
    """Configuration and history of each offline run of Weights & Biases, by the name of the run."""
    return dict(_wandb_run(file) for file in sorted(folder.rglob("run-*.wandb")))


def trackio_runs(file: Path) -> dict[str, tuple[dict, Run]]:
    """Configuration and history of each run of Trackio, by the name of the run."""
    connection = sqlite3.connect(file)
    try:
        runs = {
            name: (json.loads(config), {})
            for name, config in connection.execute("select run_name, config from configs")
        }
        for name, values in connection.execute("select run_name, metrics from metrics order by id"):
            _add(runs[name][1], json.loads(values))
    finally:
        connection.close()
    return runs


def _wandb_run(file: Path) -> tuple[str, tuple[dict, Run]]:
    name, config, steps = "", {}, {}
    for record in _wandb_records(file.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            name = record.run.display_name
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update if item.key}
        elif kind == "history":
            _add(
                steps,
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item},
            )
    return name, (config, steps)


def _wandb_records(content: bytes) -> Iterator:
    """The records of a file in LevelDB's log format, whose public reader wandb no longer has."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, parts = _FILE_HEADER, b""
    while position + _HEADER <= len(content):
        if (left := _BLOCK - position % _BLOCK) < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(parts)
            parts = b""


def _add(steps: Run, values: dict[str, float]) -> None:
    if "train/global_step" in values:  # which predictions lack
        steps.setdefault(int(values["train/global_step"]), {}).update(values)
