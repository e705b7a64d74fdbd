"""The same student without distillation: what the distilled one is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, set_seed
from transformers.trainer_utils import PredictionOutput
from transformers.utils.logging import get_logger

from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.evaluation import EvaluationSettings, gain_over
from hf_ctkd.records import Confidence, DistillationRecord
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training import DistillationConfig, DistillationTrainer

logger = get_logger(__name__)

_RECORD = "distillation.json"


@dataclass(frozen=True, eq=False)
class Baseline:
    """A student that was trained on the labels alone.

    Args:
        results: its metrics with their intervals.
        predictions: its logits for the evaluation rows.
    """

    results: Mapping[str, Confidence]
    predictions: np.ndarray


def train_baseline(
    student: Callable[[Path | None], tuple[PreTrainedModel, ProcessingClass]],
    config: DistillationConfig,
    *,
    task: StudentTask,
    rows: TargetRows,
    evaluation: Dataset,
    again: bool = True,
) -> Baseline:
    """Train on the labels alone, and evaluate.

    It sees labelled rows only, so that none of its steps is spent on rows that it cannot learn from: with as many steps
    as the distilled student this is the harder comparison.

    Args:
        student: loads the student anew, or as it was saved in a folder.
        config: of the baseline: its `max_steps` are those of the distilled student, its folder is its own.
        task: what the student is for.
        rows: the training rows.
        evaluation: raw rows to evaluate on.
        again: train even where the folder holds a finished baseline of the same rows and settings.
    """
    labelled, folder = rows.select(task.rows_with_label(rows)), Path(str(config.output_dir))
    finished = not again and _is_finished(folder, task.fingerprint(labelled), config)
    _end_run(config)
    set_seed(config.seed)
    model, processing_class = student(folder if finished else None)
    trainer = DistillationTrainer(
        model=model,
        args=config,
        train_dataset=labelled.dataset,
        eval_dataset=evaluation,
        processing_class=processing_class,
    )
    if not finished:
        logger.warning("Now the same student without distillation, for `--baseline`:")
        trainer.train()
    trainer.evaluate()
    if not finished:
        trainer.save_model()
    return Baseline(trainer.results, np.asarray(trainer.predict(trainer.eval_dataset).predictions))


def gain_of(
    prediction: PredictionOutput, baseline: Baseline, task: StudentTask, config: DistillationConfig
) -> Mapping[str, Confidence]:
    """The student's metrics minus those of its baseline, with intervals over the evaluation rows.

    Args:
        prediction: of the distilled student, for the evaluation rows.
        baseline: the same student without distillation, on the same rows.
        task: what the student is for.
        config: of the distilled student.
    """
    settings = EvaluationSettings(
        metrics=config.metrics, bootstrap_resamples=config.bootstrap_resamples, seed=config.seed
    )
    labels, predictions = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
    return gain_over(task, labels, predictions, baseline.predictions, settings)


def _end_run(config: DistillationConfig) -> None:
    """End the student's run of Weights & Biases, which would hold the baseline too: it has one run at a time."""
    if "wandb" in config.report_to:
        import wandb

        wandb.finish()


def _is_finished(folder: Path, fingerprint: str, config: DistillationConfig) -> bool:
    if not (folder / _RECORD).is_file():
        return False
    record = DistillationRecord.load(folder / _RECORD)
    return record.task.fingerprint == fingerprint and record.training.get("steps") == config.max_steps
