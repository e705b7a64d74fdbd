"""Features of repositories of sentence-transformers are the embeddings of that library, where it is installed."""

import pytest
from sentence_models import TEXTS, legacy, save_sentence_encoder

from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher

PROMPTS = {"prompts": {"query": "a red ", "document": ""}, "default_prompt_name": "query"}


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("sentence_transformers")


@pytest.mark.filterwarnings("ignore")  # of the library about its own versions
@pytest.mark.parametrize("settings", [None, PROMPTS], ids=["no prompt", "prompt"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "pooling",
    [
        legacy("mean_tokens"),
        legacy("cls_token"),
        legacy("cls_token", "mean_tokens"),
        {"pooling_mode": "max"},
        {"pooling_mode": ["mean_sqrt_len_tokens", "weightedmean"]},
        {"pooling_mode": "lasttoken"},
    ],
    ids=lambda pooling: "+".join(key for key, value in pooling.items() if value),
)
def test_features_are_the_embeddings_of_the_library(library, tmp_path, pooling, normalize, settings):
    folder = save_sentence_encoder(tmp_path / "encoder", pooling, normalize=normalize, settings=settings)
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    teacher = Teacher.load(next(folder_teachers(folder)), "text")
    features = teacher.outputs(teacher.collate(TEXTS)).features
    assert features.shape == expected.shape
    # The library pads each batch by itself: sums in another order.
    assert (features - expected).abs().max() < 1e-5


def test_what_the_library_saves_is_read(library, tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("cls_token"), normalize=True)
    model = library.SentenceTransformer(str(folder), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    teacher = Teacher.load(next(folder_teachers(tmp_path / "saved")), "text")
    features = teacher.outputs(teacher.collate(TEXTS)).features
    assert (features - model.encode(TEXTS, convert_to_tensor=True)).abs().max() < 1e-5
