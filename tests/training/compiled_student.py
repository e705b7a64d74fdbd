"""Two steps of a student as it is and compiled, in a process without the runtime checks of types, which dynamo cannot
trace: python compiled_student.py FOLDER."""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import tiny  # noqa: E402

from hf_ctkd.losses import RowTransportLoss  # noqa: E402
from hf_ctkd.training import DistillationConfig, DistillationTrainer  # noqa: E402


def steps(folder: Path, teacher: Path, **changes: object) -> list[dict]:
    settings = {"max_steps": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 1}
    quiet = {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "report_to": "none"}
    trainer = DistillationTrainer(
        model=tiny.image_student(),
        args=DistillationConfig(
            str(folder / "student"), cache_dir=str(folder / "cache"), **settings, **quiet, **changes
        ),
        teachers=[str(teacher)],
        loss=RowTransportLoss(),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )
    trainer.train()
    return [log for log in trainer.state.log_history if "task_loss" in log]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    teacher = tiny.save_image_teacher(folder / "squares")
    # Traced by dynamo and run by eager torch, so that no compiler is needed.
    compiled = steps(folder, teacher, torch_compile=True, torch_compile_backend="eager")
    print(json.dumps([steps(folder, teacher), compiled]))
