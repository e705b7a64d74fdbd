"""The same student without distillation: what the distilled one is compared with."""

from collections.abc import Callable, Mapping
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, set_seed
from transformers.utils.logging import get_logger

from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.records import Confidence, DistillationRecord
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training import DistillationConfig, DistillationTrainer

logger = get_logger(__name__)

_RECORD = "distillation.json"


def train_baseline(
    student: Callable[[], tuple[PreTrainedModel, ProcessingClass]],
    config: DistillationConfig,
    *,
    task: StudentTask,
    rows: TargetRows,
    evaluation: Dataset,
    again: bool = True,
) -> Mapping[str, Confidence]:
    """Train on the labels alone, and give the metrics with their intervals.

    It sees labelled rows only, so that none of its steps is spent on rows that it cannot learn from: with as many steps
    as the distilled student this is the harder comparison.

    Args:
        student: loads the student anew.
        config: of the baseline: its `max_steps` are those of the distilled student, its folder is its own.
        task: what the student is for.
        rows: the training rows.
        evaluation: raw rows to evaluate on.
        again: train even where the folder holds the record of a finished baseline of the same rows and settings.
    """
    labelled = rows.select(task.rows_with_label(rows))
    set_seed(config.seed)
    model, processing_class = student()
    trainer = DistillationTrainer(
        model=model,
        args=config,
        train_dataset=labelled.dataset,
        eval_dataset=evaluation,
        processing_class=processing_class,
    )
    folder = Path(str(config.output_dir))
    if not again and (folder / _RECORD).is_file():
        record = DistillationRecord.load(folder / _RECORD)
        if record.task.fingerprint == task.fingerprint(labelled) and record.training.get("steps") == config.max_steps:
            return record.results
    logger.warning("Now the same student without distillation, for `--baseline`:")
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    return dict(trainer.record().results)
