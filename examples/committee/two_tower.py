"""A two-tower recommender as a teacher: one tower for each item of a pair, and a classifier on top."""

import hashlib

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ctkd.data import Preprocessor
from hf_ctkd.demo.architectures import wordpiece_tokenizer
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import FeatureReader, Teacher
from hf_ctkd.types import LabelSpace


class TwoTowerConfig(PreTrainedConfig):
    """Sizes, and the id of the token between the two items."""

    model_type = "two-tower"

    def __init__(self, vocab_size: int = 1000, width: int = 64, separator_id: int = 3, **kwargs) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.width, self.separator_id = vocab_size, width, separator_id


class TwoTower(PreTrainedModel):
    """A linear tower over the mean embedding of each item; a classifier reads their products and distances."""

    config_class = TwoTowerConfig
    main_input_name = "input_ids"

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.first = nn.Linear(config.width, config.width)
        self.second = nn.Linear(config.width, config.width)
        self.classifier = nn.Linear(2 * config.width, 2)

    def get_input_embeddings(self) -> nn.Module:
        return self.tokens

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> SequenceClassifierOutput:
        """Logits of each pair."""
        in_second = (input_ids == self.config.separator_id).cumsum(1) > 0
        words = self.tokens(input_ids)
        means = [
            (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
            for mask in (attention_mask * ~in_second, attention_mask * in_second)
        ]
        first, second = self.first(means[0]).tanh(), self.second(means[1]).tanh()
        pair = torch.cat([first * second, (first - second).abs()], dim=1)
        return SequenceClassifierOutput(logits=self.classifier(pair))


def train_two_tower(rows: Dataset, *, epochs: int = 12, seed: int = 0) -> Teacher:
    """A two-tower model trained on pairs, as a teacher for a committee."""
    tokenizer = wordpiece_tokenizer(rows["text"][:], vocabulary=2000, length=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoTower(TwoTowerConfig(len(tokenizer), separator_id=tokenizer.convert_tokens_to_ids("[SEP]")))
        preprocessor = Preprocessor.of(tokenizer, "text", model.config)
        batch, labels = preprocessor(rows["text"][:]), torch.tensor(rows["label"][:])
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
        for _ in range(epochs):
            for rows_of_step in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                logits = model(batch["input_ids"][rows_of_step], batch["attention_mask"][rows_of_step]).logits
                nn.functional.cross_entropy(logits, labels[rows_of_step]).backward()
                optimizer.step()
    model.requires_grad_(False).eval()
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    candidate = TeacherCandidate(
        "two-tower",
        hashlib.sha256(weights).hexdigest(),
        source="folder",
        label_names=tuple(rows.features["label"].names),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        role="complementary",
    )
    return Teacher(candidate, preprocessor, FeatureReader(model), LabelSpace(candidate.label_names))
