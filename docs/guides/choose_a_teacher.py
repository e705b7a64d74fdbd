from datasets import load_dataset

from hf_ctkd import TeacherSelector, folder_teachers

images = load_dataset("imagefolder", data_dir="images")  # or load_dataset("me/flowers")
candidates = folder_teachers("teachers")  # or hub_teachers(task="image-classification", limit=50, max_parameters=300e6)

ranking = TeacherSelector().rank(candidates, images["train"])
print(ranking)
ranking.save("ranking.json")
