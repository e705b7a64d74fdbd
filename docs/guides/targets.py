from datasets import load_dataset

from hf_ctkd import soft_targets

images = load_dataset("imagefolder", data_dir="images", split="train")
rows = soft_targets(images, ["teachers/handwriting-parity"])
print(rows.features["label"].names, rows[0]["soft_targets"])  # probabilities in the order of the classes
rows.save_to_disk("images-with-targets")
