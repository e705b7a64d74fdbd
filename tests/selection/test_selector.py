import dataclasses
import json
import weakref

import pytest
import torch
from datasets import Dataset, Image
from safetensors.torch import load_file
from tiny_models import image_processor, tiny_resnet
from transformers import BitsAndBytesConfig

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError, NoTeacherLeftError, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.metrics import LEEP, InformationGain, TransferabilityMetric
from hf_ctkd.records import TeacherCandidate, TeacherRanking, default_cache
from hf_ctkd.selection import TeacherSelector, scorer
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs
from hf_ctkd.types import Needs


@pytest.fixture
def selector(tmp_path):
    return TeacherSelector(cache_dir=tmp_path / "cache", progress=False)


def of(ranking: TeacherRanking) -> dict:
    return {teacher.candidate.name: teacher for teacher in ranking.teachers}


def numbers(ranking: TeacherRanking) -> dict:
    return {name: dict(teacher.scores) for name, teacher in of(ranking).items()}


def test_every_candidate_is_scored_or_says_why_not(selector, zoo, rows):
    ranking = selector.rank(folder_teachers(zoo), rows)
    teachers = of(ranking)
    assert len(teachers) == 8
    assert [teacher.candidate.name for teacher in ranking.scored] == [t.name for t in ranking.top(9)]
    gains = [teacher.scores["information_gain"] for teacher in ranking.scored]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == 3
    controls = {"parameters", "random"}
    beside = {"information_gain", "nearest_neighbour"}
    logits = {"leep", "transport_empirical", "transport_prototype"}
    assert set(teachers["first"].scores) == controls | beside | logits
    assert set(teachers["headless"].scores) == controls | beside
    assert "NaN" in teachers["bad-nan"].skipped
    assert "not image rows" in teachers["bad-modality"].skipped
    assert "cannot be loaded" in teachers["bad-processor"].skipped
    assert "config.json is not valid JSON" in teachers["bad-config"].skipped
    assert "model.safetensors are cut short" in teachers["bad-weights"].skipped
    assert teachers["first"].rows == 54
    assert teachers["first"].seconds > 0
    assert teachers["first"].candidate.license == "mit"
    for name in teachers:
        assert name in str(ranking)


def test_scores_are_those_of_the_metrics_on_the_labelled_rows(selector, zoo, rows):
    found = numbers(selector.rank(zoo / "first", rows))["first"]
    labelled = TargetRows.of(rows)
    labelled = labelled.select(labelled.labelled.tolist())
    outputs = compute_outputs(Teacher.load(next(folder_teachers(zoo / "first")), "image"), labelled, progress=False)
    assert found["information_gain"] == pytest.approx(InformationGain().score(outputs, labelled.labels), abs=1e-6)
    assert found["leep"] == pytest.approx(LEEP().score(outputs, labelled.labels), abs=1e-6)


def test_the_ranking_says_what_it_was_made_from(selector, zoo, rows, tmp_path):
    ranking = selector.rank(zoo / "first", rows)
    assert ranking.dataset["fingerprint"] == TargetRows.of(rows).fingerprint
    facts = {"rows": 60, "labelled_rows": 54, "scored_rows": 54, "input_column": "image", "label_column": "label"}
    assert facts.items() <= ranking.dataset.items()
    assert ranking.dataset["scored_rows_of_class"] == {"dark": 18, "stripes": 18, "bright": 18}
    assert ranking.settings["metrics"]["leep"] == LEEP.citation
    assert {"hf_ctkd", "torch", "transformers"} <= set(ranking.settings["versions"])
    assert (ranking.settings["seed"], ranking.settings["max_rows"]) == (0, 2000)
    ranking.save(tmp_path / "ranking.json")
    loaded = TeacherRanking.load(tmp_path / "ranking.json")
    assert json.dumps(loaded.to_dict()) == json.dumps(ranking.to_dict())


def test_scores_that_are_means_over_rows_have_intervals(selector, zoo, rows):
    student = dataclasses.replace(selector, student=str(zoo / "first"))
    ranking = student.rank([zoo / "first", zoo / "second", zoo / "headless"], rows)
    for scored in (*ranking.scored, ranking.baseline):
        low, high = scored.interval
        assert low < scored.scores["information_gain"] < high and scored.seconds_per_1000_rows > 0
    assert ranking.tied >= 1 and ranking.speed_up(ranking.scored[0]) > 0
    # Computed as a score beside the other one before, now it orders: its values on the rows are needed too.
    ordered = dataclasses.replace(selector, metric="leep").rank(zoo / "first", rows).scored[0]
    assert ordered.interval[0] < ordered.scores["leep"] < ordered.interval[1]
    without = dataclasses.replace(selector, metric="hscore").rank(zoo / "first", rows)
    assert without.scored[0].interval is None and without.tied is None


def test_again_nothing_is_computed_and_no_teacher_loaded(selector, zoo, rows, passes, monkeypatch):
    first = selector.rank(zoo, rows)
    assert passes
    count = len(passes)
    loads = []
    plain = Teacher.load.__func__

    def counted(cls, candidate, *arguments, **settings):
        loads.append(candidate.name)
        return plain(cls, candidate, *arguments, **settings)

    monkeypatch.setattr(Teacher, "load", classmethod(counted))
    again = selector.rank(zoo, rows)
    assert again.to_dict() == first.to_dict()
    assert len(passes) == count
    # Those that failed may have been mended, so they are tried again.
    assert all(name.startswith("bad") for name in loads)


def test_more_rows_or_another_metric_computes_only_what_is_missing(selector, zoo, rows, passes):
    dataclasses.replace(selector, max_rows=12).rank(zoo / "first", rows)
    assert sum(count for _, count in passes) == 12
    selector.rank(zoo / "first", rows)
    assert sum(count for _, count in passes) == 54
    ranking = dataclasses.replace(selector, metric="leep").rank(zoo / "first", rows)
    assert sum(count for _, count in passes) == 54
    assert ranking.metric == "leep"


def test_interrupted_and_run_again(selector, zoo, rows, passes, monkeypatch):
    names = ("first", "headless", "second")
    plain = Teacher.outputs

    def interrupted(self, batch, *arguments, **settings):
        if self.candidate.name == "second":
            raise KeyboardInterrupt
        return plain(self, batch, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "outputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            selector.rank([zoo / name for name in names], rows)
    assert {name for name, _ in passes} == {"first", "headless"}
    passes.clear()
    ranking = selector.rank([zoo / name for name in names], rows)
    assert {name for name, _ in passes} == {"second"}
    assert len(ranking.scored) == 3


def test_scores_of_quantised_teachers_are_kept_apart(selector, zoo, rows, tmp_path):
    """Random weights are not quantised, so that this needs no package for it, but they are keyed alike."""
    random = dataclasses.replace(next(folder_teachers(zoo / "first")), random_weights=True)
    options = LoadOptions(quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    folder = tmp_path / "apart"
    plain = dataclasses.replace(selector, cache_dir=folder)
    rankings = [one.rank(random, rows) for one in (plain, dataclasses.replace(plain, options=options))]
    assert rankings[0].scored[0].scores == rankings[1].scored[0].scores
    with_scores = [path for path in (folder / "scores").glob("*.json") if '"quantization"' in path.read_text()]
    assert len(with_scores) == 1


def test_candidates_in_any_form_and_each_once(selector, zoo, rows):
    first = next(folder_teachers(zoo / "first"))
    given = [first, str(zoo / "first"), zoo / "first", dataclasses.replace(first, random_weights=True)]
    ranking = selector.rank(iter(given), rows)
    assert sorted(of(ranking)) == ["first", "random weights like first"]
    assert len(selector.rank(first, rows).teachers) == 1
    with pytest.raises(InvalidArgumentError, match="is no folder. Check the spelling"):
        selector.rank(zoo / "nowhere", rows)


def test_no_teacher_left(selector, zoo, rows):
    empty = selector.rank([], rows)
    assert str(empty) == "No candidates."
    with pytest.raises(NoTeacherLeftError, match="out of 0"):
        empty.top(1)
    gated = TeacherCandidate("org/gated", "abc", problem="it is gated: ask for access.")
    ranking = selector.rank([gated, zoo / "bad-nan"], rows)
    with pytest.raises(NoTeacherLeftError, match="bad-nan: .*NaN.*; org/gated: it is gated"):
        ranking.top(1)


def test_a_source_that_breaks_off_keeps_what_it_gave(selector, zoo, rows):
    def search():
        yield next(folder_teachers(zoo / "first"))
        raise TeacherUnavailableError("The Hub cannot be searched: the Hub failed (HTTP 503).")

    ranking = selector.rank(search(), rows)
    assert [teacher.candidate.name for teacher in ranking.scored] == ["first"]
    assert "HTTP 503" in of(ranking)["all further candidates"].skipped


def test_a_metric_that_needs_logits_cannot_order_headless_teachers(selector, zoo, rows):
    ranking = dataclasses.replace(selector, metric="leep").rank(zoo, rows)
    assert "cannot be ranked by 'leep': it has no head" in of(ranking)["headless"].skipped
    assert [teacher.candidate.name for teacher in ranking.scored].count("first") == 1


@dataclasses.dataclass(frozen=True)
class Mine(TransferabilityMetric):
    """A metric from elsewhere."""

    worth: float = 1.0
    name = "mine"
    citation = "nobody"
    needs = Needs.FEATURES

    def of_rows(self, outputs, labels):
        return self.worth if outputs.logits is None else float("nan")


def test_a_metric_of_ones_own(selector, zoo, rows):
    mine = dataclasses.replace(selector, metric=Mine(), metrics=("leep",))
    ranking = mine.rank([zoo / "first", zoo / "headless"], rows)
    assert [teacher.candidate.name for teacher in ranking.scored] == ["headless"]
    assert "give no finite score" in of(ranking)["first"].skipped
    changed = dataclasses.replace(selector, metric=Mine(2.0), metrics=())
    assert changed.rank(zoo / "headless", rows).scored[0].scores["mine"] == 2.0


def test_transport_to_a_students_predictions(selector, zoo, rows):
    labels = selector.rank(zoo / "first", rows)
    uniform = torch.full((60, 3), 1 / 3)
    student = selector.rank(zoo / "first", rows, student_probabilities=uniform)
    assert student.settings["target_of_transport"] == "student"
    before, after = (numbers(ranking)["first"] for ranking in (labels, student))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"transport_empirical", "transport_prototype"}
    sharp = torch.nn.functional.one_hot(torch.tensor(rows["label"][:]).clamp_min(0), 3).float()
    sharp = numbers(selector.rank(zoo / "first", rows, student_probabilities=sharp))["first"]
    # Predictions that are the labels leave one plan only: the score against labels.
    assert sharp["transport_empirical"] == pytest.approx(before["transport_empirical"], abs=1e-3)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (torch.full((3, 3), 1 / 3), r"must be \[rows, classes\] = \[60, 3\], got \[3, 3\]"),
        (torch.full((60, 2), 1 / 2), r"got \[60, 2\]"),
        (torch.full((60, 3), torch.nan), "must be finite and at least 0"),
        (torch.full((60, 3), 1.0), "must sum to one over classes. Take a softmax"),
    ],
)
def test_a_students_predictions_are_checked(selector, zoo, rows, student, message):
    with pytest.raises(InvalidArgumentError, match=f"`student_probabilities` {message}|{message}"):
        selector.rank(zoo / "first", rows, student_probabilities=student)


def test_oversized_teachers_are_skipped(selector, zoo, rows):
    small = dataclasses.replace(selector, options=LoadOptions(max_bytes=1000))
    assert "more than `max_bytes`" in of(small.rank(zoo / "first", rows))["first"].skipped


def test_a_bad_row_is_named_or_left_out(selector, zoo, rows):
    stored = [row["image"] for row in rows.cast_column("image", Image(decode=False))]
    stored[31] = {"bytes": b"x", "path": None}
    broken = Dataset.from_dict({"image": stored, "label": rows["label"][:]}, features=rows.features)
    with pytest.raises(DatasetError, match="Row 31 of `image`"):
        selector.rank(zoo / "first", broken)
    assert selector.rank(zoo / "first", broken, skip_bad_rows=True).scored[0].rows == 53


@pytest.mark.parametrize(("name", "value"), [("max_rows", 0), ("batch_size", -1), ("teacher_workers", -1)])
def test_settings_are_checked(name, value):
    least = 0 if name == "teacher_workers" else 1
    with pytest.raises(InvalidArgumentError, match=f"`{name}` must be at least {least}, got {value}"):
        TeacherSelector(**{name: value})


def test_a_budget_has_limits_by_name():
    selector = TeacherSelector()
    object.__setattr__(selector, "budget", 600)  # as users may, where no test checks the types of a call
    with pytest.raises(InvalidArgumentError, match=r"`budget` must be a SelectionBudget, got 600. .*SelectionBudget\("):
        selector.__post_init__()


def test_rows_are_prepared_by_workers_if_asked(selector, zoo, rows, monkeypatch):
    asked, plain = [], scorer.compute_outputs
    monkeypatch.setattr(
        scorer,
        "compute_outputs",
        lambda *words, **options: asked.append(options["workers"]) or plain(*words, **options),
    )
    loaded = tiny_resnet(3)
    loaded.config.name_or_path = "org/loaded"
    with_workers = dataclasses.replace(selector, student=loaded, processing_class=image_processor(), teacher_workers=1)
    ranking = with_workers.rank(zoo / "first", rows)
    assert asked == [1, 1], "the student and the teacher"
    assert ranking.scored[0].scores == selector.rank(zoo / "first", rows).scored[0].scores


def test_where_results_are_kept(monkeypatch, tmp_path, zoo, rows):
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    TeacherSelector(progress=False).rank(zoo / "first", rows)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"outputs", "scores"}


def test_progress_is_told_for_each_teacher(tmp_path, zoo, rows, capfd):
    TeacherSelector(cache_dir=tmp_path / "cache").rank([zoo / "first", zoo / "bad-nan"], rows)
    said = capfd.readouterr()
    assert said.out == ""
    assert "first: information_gain " in said.err
    assert "bad-nan: skipped, " in said.err
    # Bars of rows and of scores, with rate and time left.
    assert "scores of first: " in said.err and "score/s" in said.err and "row/s" in said.err
    TeacherSelector(cache_dir=tmp_path / "other", progress=False).rank([zoo / "first"], rows)
    assert capfd.readouterr().err == ""


def test_teachers_on_the_hub_one_gated_one_broken_off(selector, make_teacher, rows, tmp_path, hub, no_waiting):
    for number, name in enumerate(("good", "better")):
        hub.add(f"org/{name}", make_teacher(tmp_path / name, seed=number), downloads=10 * number)
    hub.add("org/gated", make_teacher(tmp_path / "gated"), gated="manual")
    hub.add("org/cut", make_teacher(tmp_path / "cut"))
    hub.fault("GET /org/cut/resolve/.*safetensors", truncate=True)
    hub.fault("/api/models/org/limited", status=429, headers={"Retry-After": "600"})
    asked = ("org/good", "org/better@main", "org/gated", "org/cut", "org/limited", "org/missing")
    ranking = selector.rank(hub_teachers(*asked), rows)
    teachers = of(ranking)
    assert {teacher.candidate.name for teacher in ranking.scored} == {"org/good", "org/better"}
    assert teachers["org/better"].scores["downloads"] == 10
    assert "gated" in teachers["org/gated"].skipped
    assert "broke off" in teachers["org/cut"].skipped
    assert "429" in teachers["org/limited"].skipped
    assert "private or missing" in teachers["org/missing"].skipped
    assert all(len(teacher.candidate.revision) == 40 for teacher in ranking.scored)
    # The same by name; and what is scored needs no Hub.
    weights = len(hub.seen("GET /org/(good|better)/resolve/.*safetensors"))
    again = selector.rank(["org/good", "org/better"], rows)
    assert [teacher.scores for teacher in again.scored] == [teacher.scores for teacher in ranking.scored]
    assert len(hub.seen("GET /org/(good|better)/resolve/.*safetensors")) == weights


def test_memory_of_a_teacher_is_freed_before_the_next(selector, zoo, rows, monkeypatch):
    alive = []
    plain = Teacher.load.__func__

    def watched(cls, *arguments, **settings):
        assert all(reference() is None for reference in alive)
        teacher = plain(cls, *arguments, **settings)
        alive.append(weakref.ref(teacher.model))
        return teacher

    collections = []
    monkeypatch.setattr(Teacher, "load", classmethod(watched))
    monkeypatch.setattr("hf_ctkd.selection.scorer.gc.collect", lambda: collections.append(1))
    assert len(selector.rank([zoo / "first", zoo / "second", zoo / "headless"], rows).scored) == 3
    assert len(alive) == 3 and not collections, "a search for garbage, a third of a second each, was not needed"


def test_the_weights_of_the_zoo_are_left_alone(selector, zoo, rows):
    before = load_file(zoo / "first" / "model.safetensors")
    selector.rank(zoo / "first", rows)
    after = load_file(zoo / "first" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
