from datasets import load_dataset
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd import CommitteeLoss, DistillationConfig, DistillationTrainer, TeacherSelector, folder_teachers

images = load_dataset("imagefolder", data_dir="images")
committee = TeacherSelector().select_committee(folder_teachers("teachers"), images["train"], k=3)
print(committee)  # a teacher that adds nothing to the others is left out

student = "students/resnet"
trainer = DistillationTrainer(
    model=AutoModelForImageClassification.from_pretrained(student, num_labels=10, ignore_mismatched_sizes=True),
    args=DistillationConfig("committee-student", max_steps=300, per_device_train_batch_size=32, save_strategy="no"),
    processing_class=AutoImageProcessor.from_pretrained(student),
    teachers=committee.members,
    loss=CommitteeLoss(),  # the default, without `loss`, takes several teachers too
    train_dataset=images["train"],
    eval_dataset=images["test"],
    ranking=committee.ranking,
)
trainer.train()
print(trainer.evaluate()["eval_accuracy"])
