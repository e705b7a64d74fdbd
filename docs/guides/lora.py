from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_ctkd import DistillationConfig, DistillationTrainer

rows = load_dataset("csv", data_files="texts.csv", split="train").train_test_split(test_size=0.3, seed=0)
checkpoint = "students/bert"  # or "microsoft/deberta-v3-small"
model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3, ignore_mismatched_sizes=True)

trainer = DistillationTrainer(
    model=get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])),
    args=DistillationConfig("lora-student", max_steps=50, save_strategy="no", merge_adapter=True),
    processing_class=AutoTokenizer.from_pretrained(checkpoint),
    teachers=["text-teachers/bert"],
    train_dataset=rows["train"],
    eval_dataset=rows["test"],
)
trainer.train()
trainer.save_model()  # one model, since `merge_adapter=True`; the adapter alone without it
