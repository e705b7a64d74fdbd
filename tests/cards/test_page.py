"""The page, as text and in a browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hf_ctkd.cards import PageSection, StudentOutcome, render_page, write_page
from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.records import Confidence, RankedTeacher, TeacherCandidate, TeacherFreeBaseline, TeacherRanking

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='run'</script>"


def teacher(name, score, seconds=2.0, *, parameters=1_000_000, **facts):
    candidate = TeacherCandidate(name, "ab12", parameters=parameters, **facts)
    return RankedTeacher(candidate, {"information_gain": score, "random": 0.5}, rows=20, seconds=seconds)


@pytest.fixture
def ranking():
    teachers = [
        teacher("org/best", 0.9, parameters=5_000_000, license="mit"),
        teacher("org/small", 0.7, 0.5),
        teacher("/home/me/zoo/local", 0.3, source="folder"),
        teacher("org/best", 0.2, random_weights=True),
        teacher(f"org/{HOSTILE}", 0.1),
        RankedTeacher(
            TeacherCandidate("org/gated", "ab12"), skipped=f"ask {HOSTILE} first", skipped_code=ProblemCode.GATED
        ),
    ]
    return TeacherRanking.of(
        teachers,
        "information_gain",
        controls=("random",),
        dataset={"name": "me/pets", "scored_rows_of_class": {"cat": 10, "dog": 10}, "scored_rows": 20, "rows": 30},
        settings={"seed": 3},
        baseline=TeacherFreeBaseline({"information_gain": 0.4}),
    )


@pytest.fixture
def section(ranking, image_record):
    return PageSection(ranking, record=image_record)


class Outline(HTMLParser):
    """Text, and elements with their attributes; fails at tags that are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(page)
        assert not self.open

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))


def test_what_stands_on_the_page(section):
    outline = Outline(render_page([section], title="Pets"))
    text = outline.text
    for words in (
        "Teachers for me/pets",
        "2 teachers know more of this task than the input features alone tell (information_gain 0.400).",
        "5M parameters, licence mit",
        "random weights like org/best control",
        "input features (no teacher): a teacher to the left knows no more",
        "chance level",
        "Parameters against information_gain",
        "Seconds to score it against information_gain",
        "How the classes of zoo/letters were carried over to yours",
        "Why others fell out",
        "org/gated",
        "accuracy 0.915 [0.880, 0.945] 0.773 [0.720, 0.820] +0.142 [+0.100, +0.190]",
    ):
        assert words in text, words
    ranks = [words for words in outline.texts if words in {"1", "2", "3", "4", "5"}]
    assert ranks[:5] == ["1", "2", "3", "4", "5"]
    assert text.index("org/small") < text.index("input features (no teacher)") < text.index("local"), "the line"


def test_marks_stand_where_the_scores_are(section):
    rows = {(row.kind, row.name): row for row in section.rows}
    lines = dict(section.lines)
    assert lines["student"] == rows["student", "input features (no teacher)"].share
    assert (
        lines["chance"] < rows["teacher", f"org/{HOSTILE}"].share < lines["student"] < rows["teacher", "org/best"].share
    )
    assert [row.below for row in section.rows if row.kind != "student"] == [False, False, True, True, True]


def test_intervals_and_costs(section):
    best = replace(section.ranking.teachers[0], interval=(0.5, 1.5), seconds_per_1000_rows=6.0)
    baseline = replace(section.ranking.baseline, interval=(0.35, 0.45), seconds_per_1000_rows=2.0)
    teachers = (best, *section.ranking.teachers[1:])
    measured = replace(section, ranking=replace(section.ranking, teachers=teachers, baseline=baseline, tied=2))
    outline = Outline(render_page([measured], title="Pets"))
    for words in ("0.900 0.500 to 1.500", "s / 1,000 rows", "6 student 3x as fast", "The first 2 cannot be told apart"):
        assert words in outline.text, words
    spreads = [facts for tag, facts in outline.elements if tag == "line" and facts["class"].startswith("spread")]
    assert [facts["class"] for facts in spreads] == ["spread teacher", "spread student", "spread"]
    assert all(0 < float(facts[end].strip("%")) < 100 for facts in spreads[:2] for end in ("x1", "x2"))
    assert "interval of the score" not in Outline(render_page([section], title="Pets")).text


def test_nothing_is_loaded_and_no_path_of_this_machine_is_there(section):
    page = render_page([section], title="Pets")
    assert "/home/me" not in page
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "use"} & {tag for tag, _ in outline.elements}
    assert not {name for _, attributes in outline.elements for name in attributes} & {"src", "href", "onload"}
    assert "url(" not in page and "@import" not in page
    assert ("meta", "default-src 'none'; style-src 'unsafe-inline'") in [
        (tag, attributes.get("content")) for tag, attributes in outline.elements
    ]


def test_names_are_shown_and_not_run(section):
    page = render_page([replace(section, title=HOSTILE)], title=f"</title>{HOSTILE}")
    assert HOSTILE not in page
    assert f"org/{HOSTILE}" in Outline(page).texts


def test_students_with_their_gains(ranking):
    students = [
        StudentOutcome("labels alone", 0.7),
        StudentOutcome("best teacher", 0.8, Confidence(0.1, 0.05, 0.15)),
        StudentOutcome("other teacher", 0.71, Confidence(0.01)),
    ]
    section = PageSection(ranking, students=students, controls=frozenset({"org/small"}))
    text = Outline(render_page([section], title="Pets")).text
    assert "gain in points over labels alone" in text
    assert "best teacher 80.0" in text and "+10.0 +5.0 to +15.0" in text
    assert [row.name for row in section.rows if row.kind == "control"] == ["org/small", "random weights like org/best"]


def test_what_teachers_are_expected_to_add(ranking):
    section = PageSection(replace(ranking, dataset={**ranking.dataset, "rows": 200, "labelled_rows": 20}))
    beyond, expected = (section.ranking.expected_gain(teacher) for teacher in section.ranking.scored[:2])
    text = Outline(render_page([section], title="Pets")).text
    assert f"{expected.points:+.1f} {expected.low:+.1f} to {expected.high:+.1f}" in text
    assert f"more than {beyond.points:+.1f} {beyond.low:+.1f} or more" in text
    assert "covers 95 % of the outcomes" in text and not PageSection(ranking).has_gains


def test_a_budget_is_told_with_the_rows_of_each_teacher(ranking):
    first, *others = ranking.teachers
    fewer = [replace(teacher, rows=87) for teacher in others]
    settings = {**ranking.settings, "budget": {"summary": "Within the budget: 700 rows; " + "the first is sure. " * 12}}
    dataset = {**ranking.dataset, "scored_rows": 850, "rows": 900}
    teachers = (replace(first, rows=225), *fewer)
    section = PageSection(replace(ranking, teachers=teachers, baseline=None, settings=settings, dataset=dataset))
    text = Outline(render_page([section], title="Pets")).text
    assert section.ranking.certainty.strip() in text and "at most 225 scored of 900" in text
    assert "87 not compared" in text and "225 not compared" not in text
    assert not any(row.below for row in section.rows if row.rows_note) and section.ranking.apart in text
    assert "not compared" not in Outline(render_page([PageSection(ranking)], title="Pets")).text


def test_a_ranking_without_a_teacher_says_why(ranking):
    skipped = TeacherRanking(ranking.teachers[-1:], "information_gain")
    text = Outline(render_page([PageSection(skipped)], title="Pets")).text
    assert "No teacher could be scored; the reasons are below." in text and "org/gated" in text


def test_scores_that_leave_rows_out_are_counted(ranking):
    partly = replace(ranking, teachers=(replace(ranking.teachers[0], rows=10, not_finite=3), *ranking.teachers[1:]))
    text = Outline(render_page([PageSection(partly)], title="Pets")).text
    assert "Its outputs are NaN or infinite for 3 of 13 rows, which were left out of its scores." in text


def test_long_rankings_are_cut(ranking):
    many = [teacher(f"org/{number}", number / 200) for number in range(150)]
    section = PageSection(TeacherRanking.of(many, "information_gain", dataset={}, settings={}))
    page = render_page([section], title="Pets")
    assert section.left_out == 50 and "50 further teachers are in the ranking's file." in page
    assert len(page) < 300_000


def test_a_page_that_cannot_be_written(section, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write .*report.html: .* Choose a folder"):
        write_page(tmp_path / "file" / "report.html", [section], title="Pets")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_draws_it_without_complaint(section, tmp_path):
    path = write_page(tmp_path / "report.html", [section, section], title="Pets")
    picture = tmp_path / "page.png"
    common = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    arguments = ["--enable-logging=stderr", "--window-size=1200,2400", path.as_uri()]
    dumped = subprocess.run(
        [*common, "--dump-dom", *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in dumped.stderr, dumped.stderr
    assert "<title>Pets</title>" in dumped.stdout, "a name was run as a script"
    names = [row.name for row in section.rows]
    shown = re.sub("&lt;", "<", re.sub("&gt;", ">", dumped.stdout))
    assert len(names) == 6 and all(name in shown for name in names)
    subprocess.run([*common, f"--screenshot={picture}", *arguments], capture_output=True, timeout=120, check=True)
    from PIL import Image

    with Image.open(picture) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24)}
        assert image.size[0] == 1200 and (36, 100, 168) in colours, "the teachers' marks are drawn"
