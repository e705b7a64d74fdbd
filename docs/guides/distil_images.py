from datasets import load_dataset
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherRanking

images = load_dataset("imagefolder", data_dir="images")  # or load_dataset("me/flowers")
ranking = TeacherRanking.load("ranking.json")  # of the guide before
student = "students/resnet"  # or "apple/mobilevit-xx-small"

trainer = DistillationTrainer(
    model=AutoModelForImageClassification.from_pretrained(student, num_labels=10, ignore_mismatched_sizes=True),
    args=DistillationConfig("image-student", max_steps=300, per_device_train_batch_size=32, save_strategy="no"),
    processing_class=AutoImageProcessor.from_pretrained(student),
    teachers=ranking.top(1),
    train_dataset=images["train"],
    eval_dataset=images["test"],
    ranking=ranking,
)
trainer.train()
trainer.evaluate()
for name, result in trainer.results.items():
    print(name, result.text())  # with a 95 % interval
trainer.save_model()  # the student alone, for `from_pretrained`
trainer.create_model_card()
