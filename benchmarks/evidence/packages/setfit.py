"""SetFit, what a user with few labelled texts runs today: contrastive fine-tuning of a sentence encoder, then a head.

Tunstall et al., "Efficient few-shot learning without prompts", 2022; the package setfit (Apache 2.0), run with its
defaults but for the number of steps, which is chosen as for every other arm.
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset
from sklearn.linear_model import LogisticRegression

from hf_ctkd.demo.tasks import DemoTask

NAME = "SetFit"
LEARNING_RATE = 2e-5
"""The default of the package for the encoder."""
INSTALL = "pip install --no-deps setfit==1.2.0 sentence-transformers==6.2.0"


def available() -> bool:
    """Whether the packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("setfit", "sentence_transformers"))


def predictions(
    folder: Path, task: DemoTask, *, steps: int, texts: int, length: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Classes of the validation and the test rows, after training on the labelled rows.

    Args:
        folder: of the headless encoder; a text is the mean of its last hidden states.
        task: gives the rows.
        steps: of the contrastive phase.
        texts: in a step, two a pair.
        length: tokens a text.
        seed: of the pairs and of the head.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from setfit import SetFitModel, Trainer, TrainingArguments

    encoder = Transformer(str(folder), max_seq_length=length)
    body = SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension(), "mean")], device="cpu")
    model = SetFitModel(model_body=body, model_head=LogisticRegression(random_state=seed))
    with tempfile.TemporaryDirectory() as checkpoints:
        arguments = TrainingArguments(
            output_dir=checkpoints,
            batch_size=texts // 2,
            max_steps=steps,
            max_length=length,
            body_learning_rate=LEARNING_RATE,
            seed=seed,
            show_progress_bar=False,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
        )
        Trainer(model=model, args=arguments, train_dataset=_rows(task.labelled)).train()
    validation, test = (np.asarray(model.predict(_rows(rows)["text"][:])) for rows in (task.validation, task.test))
    return validation, test


def _rows(rows: Dataset) -> Dataset:
    return Dataset.from_dict({"text": rows["text"][:], "label": [int(label) for label in rows["label"]]})
