import pytest
from index_teachers import teacher

from hf_ctkd.index import TeacherIndex
from hf_ctkd.records import TeacherCandidate

PETS = ["tabby cat", "Persian_cat", "golden retriever", "beagle dog"]


@pytest.fixture
def teachers() -> list[TeacherCandidate]:
    return [
        teacher("pets", PETS, task="image-classification", parameters=10**6, license="mit", downloads=5),
        teacher("pets-popular", PETS[::-1], task="image-classification", parameters=10**8, downloads=500),
        teacher("cars", ["sports car", "pickup truck", "racing car"], task="image-classification", license="mit"),
        teacher("mood", ["positive", "negative"], task="text-classification", languages=("en", "de"), downloads=9),
        teacher("numbered", ["LABEL_0", "LABEL_1"], task="text-classification"),
        teacher("encoder", None),
    ]


@pytest.fixture
def index(teachers, tmp_path) -> TeacherIndex:
    return TeacherIndex.build(teachers, tmp_path / "index")
