import doctest
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_ctkd.cards import card as module
from hf_ctkd.cards import render_card
from hf_ctkd.cards.card import (
    citation_text,
    dataset_link,
    made_from,
    ranking_table,
    results_table,
    settings_table,
    skipped_list,
    teacher_link,
    teachers_table,
)
from hf_ctkd.cards.figures import FIGURES
from hf_ctkd.cards.signature import CardSignature
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import (
    HELD_OUT,
    Confidence,
    LossRecord,
    PoolRecord,
    RankedTeacher,
    TeacherFreeBaseline,
    TeacherRanking,
    TeacherRecord,
)

SECTIONS = [
    "## How to use it",
    "## Results",
    "## Calibration",
    "## Teachers and licence",
    "## How the teacher was chosen",
    "## Size and speed",
    "## Training",
    "## How to reproduce it",
    "## Limitations",
]


NOT_EVALUATED = [section for section in SECTIONS if section != "## Calibration"]


def headings(card: str) -> list[str]:
    outside = re.sub(r"^(`{3,}).*?^\1$", "", card, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ .*$", outside, re.MULTILINE)


def test_examples():
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_rows_that_were_held_out_are_not_called_a_split(image_record):
    card = render_card(replace(image_record, task=replace(image_record.task, eval_split=HELD_OUT)))
    assert "Measured on 300 rows held out of the training rows, with intervals" in card


def test_one_candidate_is_singular(image_record, ranking):
    alone = replace(ranking, teachers=ranking.scored[:1])
    assert "\n1 candidate was ranked by **transport**" in render_card(image_record, alone)


def test_everything_that_a_reader_needs_is_there(image_record, ranking):
    card = render_card(image_record, ranking, repo_id="me/digits-student", figures=FIGURES)
    assert headings(card) == ["# digits-student", *SECTIONS]
    for text in (
        "sorts images into 10 classes: zero, one,",
        "**Licence: cc-by-nc-4.0** (no commercial use)",
        "It comes from zoo/letters.",
        "Measured on 300 rows of the split test, with intervals (95 %).",
        "13 candidates were ranked by **transport** on 50 labelled rows. Higher is better.",
        "`ranking.json` lists 2 more.",
        "This ranking alone cannot show that transport chooses better teachers than a control does",
        "the share of the most frequent class (0.120) for accuracy.",
        "50 of 600 training rows have a label.",
        "78,000 parameters",
        "- closed/model: gated",
        "```bash\nhf-ctkd distill \\\n  --teachers ranking.json\n```",
        "| seed | 0 |",
        "torch 2.13.0",
        "```bibtex\n@misc{lu2022,",
        "| epsilon | 0.1 |",
        "Fingerprint of the training rows: `1f2e3d`",
        "Few labels",
        *(f"({name})" for name in FIGURES),
    ):
        assert text in card, text


def test_it_is_a_card_that_huggingface_hub_reads_and_writes_unchanged(image_record, ranking, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(render_card(image_record, ranking, repo_id="me/x"))
    card = ModelCard.load(path)
    assert str(card) == path.read_text()
    assert [(r.metric_type, r.metric_value) for r in card.data.eval_results] == [("accuracy", 0.915), ("f1", 0.912)]
    assert card.data.base_model == "org/tiny-resnet"
    assert card.data.license == "cc-by-nc-4.0"


def test_values_without_intervals_are_not_said_to_have_any(image_record):
    plain = replace(
        image_record, results={"accuracy": Confidence(0.9)}, baseline={"accuracy": Confidence(0.8)}, gain={}
    )
    card = render_card(plain, repo_id="me/x", figures=FIGURES)
    assert "Measured on 300 rows of the split test. How many of these rows" in card
    assert "was not counted. *Without distillation* is the same student" in card
    assert "with intervals" not in card and "interval of the difference" not in card


def test_the_same_records_give_the_same_text(image_record, ranking):
    first = render_card(image_record, ranking, figures=FIGURES)
    assert first == render_card(image_record, ranking, figures=FIGURES)
    assert first.endswith("\n")
    assert not first.endswith("\n\n")
    assert CardSignature.read(first) == CardSignature(None, untouched=True)


def test_no_blank_lines_pile_up(image_record, text_record, ranking):
    for card in (render_card(image_record, ranking, figures=FIGURES), render_card(text_record)):
        assert "\n\n\n" not in card


def test_a_student_of_which_little_is_known(text_record):
    card = render_card(text_record)
    assert headings(card)[1:] == NOT_EVALUATED
    assert "This model was not evaluated." in card
    assert "No teacher was used. The loss needs none." in card
    assert "No other model went into this one" in card
    assert "No teacher was chosen." in card
    assert "Speed was not measured." in card
    assert "figures/" not in card


def labels_only(record):
    return replace(record, teachers=(), loss=LossRecord("none", {}, ""), baseline={}, transport_map=None)


def test_a_student_of_labels_alone_is_not_called_distilled(image_record):
    card = render_card(labels_only(image_record))
    assert headings(card)[1:] == SECTIONS
    assert "It was trained with hf_ctkd on the labels alone, without distillation." in card
    assert "No teacher was used. The model was trained on labels alone." in card
    assert "Loss: the task loss on labelled rows only.\n" in card
    for wrong in (
        "-distillation",
        "needs no teacher",
        "The loss needs none",
        "**none**",
        "Reference:",
        "the effect of",
        "\n\n\n",
    ):
        assert wrong not in card, wrong


def test_what_a_missing_baseline_leaves_open_is_said_once_and_of_what_was_used(image_record, text_record):
    said = "No student was trained without distillation, so the effect of the teachers is unknown."
    assert render_card(replace(image_record, baseline={})).count(said) == 1
    alone = render_card(replace(text_record, results=image_record.results))
    assert said not in alone
    assert alone.count("not trained on the labels alone, so the effect of the loss is unknown") == 1


def test_a_loss_of_no_known_origin(text_record):
    card = render_card(replace(text_record, loss=LossRecord("OwnLoss", {}, "")))
    assert "Loss: **OwnLoss**\n\n## How to reproduce it" in card


def test_no_control_is_said(image_record, ranking):
    assert "No control, such as size or chance, was scored." in render_card(image_record, replace(ranking, controls=()))


def test_a_single_licence_is_compared_with_no_other(image_record):
    card = render_card(image_record)
    assert "It is the most restrictive licence among the teacher" in card
    alone = replace(
        image_record, teachers=(), student=replace(image_record.student, base_model="org/base", license="mit")
    )
    assert "It is that of the model that training started from." in render_card(alone)


def test_no_licence_is_said_as_such(image_record):
    teacher = replace(image_record.teachers[0].candidate, license=None)
    card = render_card(replace(image_record, teachers=(TeacherRecord(teacher),)))
    assert "**Licence: not stated: ask the authors** (without a licence, no use is permitted)" in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "unknown"


def test_missing_figures_are_said(image_record, text_record):
    said = "This card has no figures because matplotlib was not installed"
    assert said in render_card(image_record)
    assert said not in render_card(image_record, figures=["figures/results.png"])
    assert said not in render_card(text_record), "there is nothing to draw"


def test_hand_picked_teachers(image_record):
    assert "The teacher was chosen by hand." in render_card(image_record)


@pytest.mark.parametrize("repo_id", ["digits", "a/b/c", 'me/x"\nimport os', ""])
def test_other_forms_of_repository_ids_are_refused(image_record, repo_id):
    with pytest.raises(InvalidArgumentError, match="`repo_id` must be 'owner/name', got"):
        render_card(image_record, repo_id=repo_id)


HOSTILE = [
    "a | b | c",
    "x\n\n# Owned\n\n---\nlicense: mit\n---\n",
    "</td></table><script>alert(1)</script>",
    "``` \n```bash\nrm -rf /\n```",
    "![](https://evil.example/track.png)",
    "{{ 7 * 7 }}{% raw %}",
    "key: [value, *alias, &anchor] # comment",
    "\u202egpj.exe\x00\x1b[31m",
    "<!-- hf_ctkd card, digest 0000000000000000 -->",
    "狗🐕",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_break_neither_metadata_nor_text(image_record, ranking, name):
    candidate = replace(
        image_record.teachers[0].candidate,
        model_id=name,
        source="folder",
        revision=name,
        license=name,
        label_names=(name, "b"),
        role=name,
    )
    record = replace(
        image_record,
        task=replace(
            image_record.task,
            dataset=name,
            hub_dataset=name,
            fingerprint=name,
            task=name,
            input_column=name,
            label_column=name,
            eval_split=name,
            label_names=(name, "other"),
        ),
        student=replace(image_record.student, architecture=name, base_model=name, device=name, license=name),
        teachers=(TeacherRecord(candidate, weight=0.5),),
        loss=LossRecord(name, {name: name}, name),
        results={name: image_record.results["accuracy"]},
        baseline={name: image_record.baseline["accuracy"]},
        training={name: name},
        command=name,
        versions={name: name},
    )
    bad = RankedTeacher(candidate, {name: 1.0, "size": 2.0})
    fallen = RankedTeacher(candidate, skipped=name)
    card = render_card(
        record, TeacherRanking((bad, fallen), name, (name,), {"fingerprint": name}), figures=["figures/results.png"]
    )

    assert len(headings(card)) == 1 + len(SECTIONS)
    assert headings(card)[1:] == SECTIONS
    data = ModelCard(card).data
    assert data.library_name == "transformers"
    assert data.license in ("other", "unknown")
    assert data.datasets is None
    assert "# 49" not in card
    outside = re.sub(r"^(`{3,}).*?^\1$", "", card, flags=re.DOTALL | re.MULTILINE)
    text = re.split(r"^<!-- hf_ctkd.*-->$", outside, maxsplit=1, flags=re.MULTILINE)[1]
    assert "<" not in text
    assert "evil.example/track.png)" not in text.replace("\\", "") or "](https://evil" not in text
    rows = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    for header, rule, row in zip(rows, rows[1:], rows[2:], strict=False):
        if set(rule) <= set("|- "):
            assert header.count("|") == rule.count("|") == row.count("|")
    assert not {"\x00", "\x1b", "\u202e"} & set(card)
    assert CardSignature.read(card).untouched


@pytest.mark.parametrize("name", ["resnet", *HOSTILE])
def test_a_generic_teacher_states_its_pool(image_record, name):
    pool = PoolRecord({"family": name, "depths": [[1, 2], [1]]}, 1200, {name: (2, 4)}, {name: (0.25, 0.75)})
    card = render_card(replace(image_record, pool=pool, teachers=()))
    assert headings(card)[1:] == [SECTIONS[0], "## Students of this teacher", *SECTIONS[1:]]
    assert (
        "a generic teacher for a pool of 1,200 architectures of the family" in card and "| 2 (0.25), 4 (0.75) |" in card
    )
    assert "as a teacher for a whole pool of student architectures" in card
    assert "generic-teacher" in ModelCard(card).data.tags
    assert "\n\n\n" not in card
    assert "<script>" not in card and not {"\x00", "\x1b", "\u202e"} & set(card)


def test_a_pool_whose_paths_are_not_known_is_stated_without_probabilities(image_record):
    card = render_card(replace(image_record, pool=PoolRecord({"family": "vit"}, 2, {"heads": (2, 4)})))
    assert "| heads | 2, 4 |" in card and "its probability" not in card


def test_needs_neither_torch_nor_transformers_nor_matplotlib():
    code = (
        "import sys, hf_ctkd.cards\n"
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_beside_the_baseline(image_record):
    assert results_table(image_record).splitlines()[2:] == [
        "| accuracy | 0.915 (0.880 to 0.945) | 0.120 | 0.773 (0.720 to 0.820) | +0.142 (+0.100 to +0.190) |",
        "| f1 | 0.912 (0.875 to 0.941) | - | 0.905 (0.860 to 0.930) | +0.007 (-0.010 to +0.020) |",
    ]
    alone = results_table(replace(image_record, baseline={}))
    assert alone.splitlines()[0] == "| metric | student | chance |"
    half = replace(image_record, baseline={"accuracy": image_record.baseline["accuracy"]})
    assert results_table(half).endswith("| f1 | 0.912 (0.875 to 0.941) | - | - | - |")


def test_value_without_an_interval_stands_alone(image_record):
    plain = replace(image_record, results={"accuracy": Confidence(0.9)}, gain={})
    assert results_table(plain).splitlines()[2:] == ["| accuracy | 0.900 | 0.120 | 0.773 (0.720 to 0.820) | +0.127 |"]


def test_teachers_with_revision_licence_size_and_weight(image_record):
    [row] = teachers_table(image_record).splitlines()[2:]
    candidate = image_record.teachers[0].candidate
    assert f"[zoo/letters](https://huggingface.co/zoo/letters/tree/{candidate.revision})" in row
    assert "| 0123456789ab | 8: a, b, c, d, e, f and 2 more | 1.2 million | cc-by-nc-4.0 | 0.390 |" in row


def test_a_teacher_that_says_little(image_record):
    bare = replace(
        image_record.teachers[0].candidate,
        model_id="/home/me/zoo/own",
        source="folder",
        revision="ab12",
        license=None,
        label_names=None,
        parameters=None,
        role="foundation",
    )
    [row] = teachers_table(replace(image_record, teachers=(TeacherRecord(bare),))).splitlines()[2:]
    assert row == "| own (foundation) | ab12 | none, or not recorded | unknown | not stated: ask the authors | - |"
    assert teacher_link(bare) == "own", "no link and no path of the author"


def test_the_ten_best_with_controls_marked(image_record, ranking):
    lines = ranking_table(image_record, ranking).splitlines()
    assert "**transport** | leep | probe | parameters (control) | licence |" in lines[0]
    assert len(lines) == 12
    assert "| yes | -0.200 |" in lines[2]
    assert "| yes |" not in "".join(lines[3:])
    assert ranking_table(image_record, TeacherRanking((), "transport")) == "No candidate could be scored."


def test_the_line_where_the_student_stands(image_record, ranking):
    drawn = replace(ranking, baseline=TeacherFreeBaseline({"transport": -0.3}))
    names = [row.split(" | ")[1] for row in ranking_table(image_record, drawn).splitlines()[2:]]
    assert names.index("*input features*") == 3
    note = "Above it, by transport: 3 of 12 scored candidates. Those below it know no more of this task."
    assert note in render_card(image_record, drawn)
    assert "The row *input features* is what a linear probe reads" in render_card(image_record, drawn)
    below = replace(ranking, baseline=TeacherFreeBaseline({"transport": -5.0}, ranking.teachers[0].candidate))
    assert "student" not in ranking_table(image_record, below)  # the line stands below the ten that are shown
    none = replace(ranking, baseline=TeacherFreeBaseline({"transport": 0.5}, ranking.teachers[0].candidate))
    assert "*a student that starts from [zoo/letters]" in ranking_table(image_record, none).splitlines()[2]
    assert "No candidate scores above it: none knows more of this task." in render_card(image_record, none)
    first, *others = ranking.teachers
    fewer = replace(drawn, teachers=(replace(first, rows=20), *(replace(other, rows=10) for other in others)))
    note = (
        "Above it, by transport: 1 of 1 scored candidates. Those below it know no more of this task. 11 teachers were"
    )
    assert f"{note} scored on fewer rows, and not compared" in render_card(image_record, fewer)
    control = replace(first, candidate=replace(first.candidate, random_weights=True), scores={"transport": -0.25})
    teachers = (*ranking.teachers[:2], control, *ranking.teachers[2:])
    note = "Above it and above random weights, by transport: 2 of 12 scored candidates without random weights."
    assert note in render_card(image_record, replace(drawn, teachers=teachers))
    best = replace(drawn, teachers=(replace(control, scores={"transport": 0.0}), *ranking.teachers))
    note = "No candidate without random weights scores above it and above random weights: none knows more of this task."
    assert note in render_card(image_record, best)


def test_scores_that_leave_rows_out_are_counted(image_record, ranking):
    first = replace(ranking.teachers[0], not_finite=3)
    card = render_card(image_record, replace(ranking, teachers=(first, *ranking.teachers[1:])))
    assert f"- {first.candidate.name}: Its outputs are NaN or infinite for 3 of " in card.replace("\\", "")
    assert "NaN or infinite" not in render_card(image_record, ranking)
    student = TeacherFreeBaseline({ranking.metric: -0.3}, first.candidate, rows=20, not_finite=2)
    assert "NaN or infinite for 2 of 22 rows" in render_card(image_record, replace(ranking, baseline=student))


def test_skipped_teachers_have_their_reason(ranking):
    assert skipped_list(ranking) == "- closed/model: gated: ask its owner for access"
    many = TeacherRanking(
        tuple(RankedTeacher(ranking.teachers[0].candidate, skipped="gone") for _ in range(25)), "transport"
    )
    assert skipped_list(many).endswith("- and 5 more, in `ranking.json`")


def test_what_it_was_made_from(image_record, text_record):
    assert made_from(image_record).startswith("distilled with hf_ctkd from the teacher zoo/letters. In cross-task")
    assert "a committee of 2 teachers: zoo/letters" in made_from(
        replace(image_record, teachers=image_record.teachers * 2)
    )
    assert made_from(text_record) == "trained with hf_ctkd, with a loss that needs no teacher"
    plain = replace(text_record, loss=replace(text_record.loss, name="none"))
    assert made_from(plain) == "trained with hf_ctkd on the labels alone, without distillation"


def test_only_data_sets_on_the_hub_are_linked(image_record, text_record):
    assert dataset_link(image_record.task) == "[me/digits](https://huggingface.co/datasets/me/digits)"
    assert dataset_link(text_record.task) == "docstrings of scipy"
    assert dataset_link(replace(image_record.task, hub_dataset=None)) == "me/digits"


def test_settings_by_name():
    assert settings_table({"a|b": [1]}).splitlines()[2] == r"| a\|b | \[1\] |"


BIBTEX = "@article{lu2022,\n  title = {Selective {Cross-Task} Distillation},\n  year = 2022\n}"


@pytest.mark.parametrize(
    ("citation", "blocks"),
    [
        ("", ""),
        ("Lu et al. 2022", "Lu et al. 2022"),
        (BIBTEX, f"```bibtex\n{BIBTEX}\n```"),
        (f"{BIBTEX}\n{BIBTEX}", f"```bibtex\n{BIBTEX}\n```\n\n```bibtex\n{BIBTEX}\n```"),
        (f"{BIBTEX}\n\nWith a *prior*.\n", f"```bibtex\n{BIBTEX}\n```\n\nWith a \\*prior\\*."),
        (f"As in\n{BIBTEX}", f"As in\n\n```bibtex\n{BIBTEX}\n```"),
        ("@article{cut, title = {", "@article{cut, title = {"),
    ],
)
def test_bibtex_entries_are_blocks_to_copy_and_words_are_sentences(text_record, citation, blocks):
    assert citation_text(citation) == blocks
    assert blocks in render_card(replace(text_record, loss=LossRecord("SpectralLoss", {}, citation)))


def test_a_result_that_is_not_above_chance_is_said(image_record):
    note = "**This model is not measurably better than chance in accuracy.**"
    assert note not in render_card(image_record)
    poor = replace(image_record, results={"accuracy": Confidence(0.13, 0.1, 0.16)})
    assert note in render_card(poor)
    unknown = replace(poor, task=replace(poor.task, majority_share=None))
    assert "one divided by the number of classes (0.100). The share of the most frequent class" in render_card(unknown)
    assert note in render_card(replace(unknown, results={"accuracy": Confidence(0.1)}))
    pixels = replace(poor.task, words=replace(poor.task.words, one_class_a_row=False))
    assert "chance" not in render_card(replace(poor, task=pixels, baseline={}))


def test_a_teacher_without_weight_taught_nothing(image_record):
    teacher = replace(image_record.teachers[0], weight=0.0)
    card = render_card(replace(image_record, teachers=(teacher,)))
    assert "trained with hf_ctkd; its teachers had no weight in the loss" in card and "distilled with" not in card
    assert not {"knowledge-distillation", "cross-task-distillation"} & set(ModelCard(card).data.tags)
    assert ModelCard(card).data.to_dict().get("teachers") is None


def test_a_result_below_chance_is_said(image_record):
    poor = replace(image_record, results={"accuracy": Confidence(0.08, 0.06, 0.11), "macro_f1": Confidence(0.1)})
    card = render_card(poor)
    assert "**This model is worse than chance in accuracy.** **This model is not measurably better" in card
    assert "- This model is worse than chance in accuracy." in card


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (None, "How many of these rows are also training rows was not counted."),
        (0, "None of these rows has the same input as a training row."),
        (12, "12 of the 300 evaluation rows have the same input as a training row."),
    ],
)
def test_evaluation_rows_that_are_training_rows_are_counted(image_record, count, sentence):
    card = render_card(replace(image_record, task=replace(image_record.task, eval_rows_in_training=count)))
    assert f"(95 %). {sentence}" in card
    assert ("The results may be better than on new data." in card) == bool(count)


def test_a_control_with_random_weights_is_not_the_model_that_it_is_like(image_record, ranking):
    control = replace(image_record.teachers[0].candidate, random_weights=True)
    record = replace(image_record, teachers=(replace(image_record.teachers[0], candidate=control),))
    card = render_card(record, ranking)
    metadata = ModelCard(card).data.to_dict()
    assert "teachers" not in metadata and metadata["base_model"] == "org/tiny-resnet" and metadata["license"] == "mit"
    assert "from the teacher random weights like zoo/letters" in card
    assert "| random weights like zoo/letters | 0123456789ab |" in card and "| none: random weights | 0.390 |" in card
    assert "| yes |" not in ranking_table(record, ranking)
    both = replace(ranking, teachers=(replace(ranking.teachers[0], candidate=control), *ranking.teachers))
    assert [row.split(" | ")[2] for row in ranking_table(record, both).splitlines()[2:5]] == ["yes", "-", "-"]
    alone = replace(record, student=replace(record.student, base_model=None))
    assert "No other model went into this one" in render_card(alone)


def test_a_teacher_without_weight_is_not_marked_as_used_and_does_not_bind(image_record, ranking):
    record = replace(image_record, teachers=(replace(image_record.teachers[0], weight=0.0),))
    assert "| yes |" not in ranking_table(record, ranking)
    assert ModelCard(render_card(record)).data.license == "mit"


def test_the_weight_and_the_map_are_explained_in_the_words_of_the_loss(image_record):
    loss = replace(image_record.loss, weight_meaning="its share, measured on rows held out")
    map = replace(image_record.transport_map, meaning="Each cell is a share of the rows.")
    card = render_card(replace(image_record, loss=loss, transport_map=map), figures=FIGURES)
    assert "The weight is its share, measured on rows held out." in card
    assert "onto those of this task. Each cell is a share of the rows." in card
    assert "The weight is" not in render_card(image_record)


def test_names_of_repositories_are_not_cut(image_record):
    name = f"{'o' * 60}/{'m' * 90}"
    teacher = replace(image_record.teachers[0].candidate, model_id=name)
    card = render_card(replace(image_record, teachers=(TeacherRecord(teacher),)))
    assert card.count(f"from the teacher {name}.") == 1 and card.count(f"[{name}](https://") == 1


def test_what_a_budget_left_open_is_on_the_card(image_record, ranking):
    settings = {
        **ranking.settings,
        "budget": {"summary": "Within the budget: 700 rows. Of the 2 of 5 teachers scored."},
    }
    first, *others = ranking.teachers
    spent = replace(ranking, settings=settings, teachers=(replace(first, rows=first.rows + 7), *others))
    card = render_card(image_record, spent)
    assert f"on at most {first.rows + 7} labelled rows" in card
    assert "Within the budget: 700 rows. Of the 2 of 5 teachers scored." in card
    assert "budget" not in render_card(image_record, ranking) and "at most" not in render_card(image_record, ranking)
