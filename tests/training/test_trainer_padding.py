"""Students without a padding token, such as GPT-2, are given one and keep it."""

import pytest
import tiny
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
)


def gpt2() -> GPT2ForSequenceClassification:
    torch.manual_seed(0)
    return GPT2ForSequenceClassification(
        GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=14, num_labels=2, bos_token_id=3, eos_token_id=3)
    )


def tokenizer_without_padding() -> PreTrainedTokenizerFast:
    backend = tiny.tokenizer().backend_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]", model_max_length=32)


@pytest.mark.parametrize("given", ["model", "model_init"])
def test_a_student_without_a_padding_token_trains_and_is_saved_with_one(make, tmp_path, given):
    student = {"model": gpt2()} if given == "model" else {"model": None, "model_init": lambda: gpt2()}
    trainer = make(
        **student,
        train_dataset=tiny.text_rows(),
        eval_dataset=tiny.text_rows(9),
        processing_class=tokenizer_without_padding(),
    )
    trainer.train()
    predicted = trainer.predict(tiny.text_rows(9)).predictions
    trainer.save_model()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert tokenizer.pad_token == "[SEP]" and model.config.pad_token_id == tokenizer.pad_token_id
    batch = tokenizer(list(tiny.text_rows(9)["text"]), padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, torch.tensor(predicted))
