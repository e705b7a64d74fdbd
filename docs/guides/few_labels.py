from datasets import concatenate_datasets, load_dataset
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherFreeLoss

images = load_dataset("imagefolder", data_dir="images")
more = load_dataset("imagefolder", data_dir="unlabelled", split="train")
more = more.add_column("label", [-1] * len(more)).cast(images["train"].features)
rows = concatenate_datasets([images["train"], more])


def train(folder: str, **settings) -> float:
    student = "students/resnet"  # or "apple/mobilevit-xx-small"
    trainer = DistillationTrainer(
        model=AutoModelForImageClassification.from_pretrained(student, num_labels=10, ignore_mismatched_sizes=True),
        args=DistillationConfig(folder, max_steps=300, per_device_train_batch_size=32, save_strategy="no"),
        processing_class=AutoImageProcessor.from_pretrained(student),
        eval_dataset=images["test"],
        **settings,
    )
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


print("labels alone", train("plain", train_dataset=images["train"]))
print("no teacher, unlabelled rows", train("control", train_dataset=rows, loss=TeacherFreeLoss()))
print("teacher, unlabelled rows", train("distilled", train_dataset=rows, teachers=["teachers/handwriting-parity"]))
