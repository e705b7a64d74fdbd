from datasets import load_dataset

from hf_ctkd import evaluate_student
from hf_ctkd.evaluation import predict

images = load_dataset("imagefolder", data_dir="images")
evaluation = evaluate_student("image-student", images["test"], teacher="teachers/handwriting-parity")
print(evaluation)
evaluation.save("evaluation")

unlabelled = load_dataset("imagefolder", data_dir="unlabelled", split="train")
print(predict("image-student", unlabelled)[:3])
