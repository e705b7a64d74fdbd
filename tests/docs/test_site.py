"""The pages of the site, before its generator sees them: complete, filled, and true to the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from transformers import TrainingArguments

import hf_ctkd
from docs.generate import code, fills, reference
from docs.generate.__main__ import filled, pages
from docs.generate.sections import as_markdown
from hf_ctkd import costs, losses, metrics
from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.help import help_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site():
    return pages()


def _navigation(entries):
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _navigation(target) if isinstance(target, list) else [target]


def test_every_page_is_in_the_navigation(site):
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(_navigation(configuration["nav"])) == sorted(site)


def test_every_public_name_is_in_the_reference(site):
    documented = {
        name for page in site.values() for name in re.findall(r"^::: hf_ctkd\.\w+\.(\w+)$", page, re.MULTILINE)
    }
    assert set(hf_ctkd.__all__) - {"__version__"} <= documented
    index = site["reference/overview.md"]
    assert all(f"`{name}`" in index for name in hf_ctkd.__all__)


def test_every_module_of_the_root_has_its_page():
    assert {module.removeprefix("hf_ctkd.") for module in hf_ctkd._DEFINED_IN.values()} <= set(reference.FOLDERS)


def test_the_page_of_results_has_a_title_of_its_own(site):
    assert site["results.md"].startswith("# Results\n\n")


def test_no_marked_place_stays_empty(site):
    assert not [name for name, page in site.items() if re.search(r"^<!-- (fill|code|output):", page, re.MULTILINE)]


@pytest.mark.parametrize("module", [losses, costs, metrics], ids=lambda module: module.__name__)
def test_every_method_is_in_its_table_and_says_when_to_use_it(module):
    rows = fills.fill(module.__name__.rpartition(".")[2]).splitlines()[2:]
    methods = [name for name in module.__all__ if f"[`{name}`]" in "\n".join(rows)]
    assert len(rows) == len(methods) > 3
    for row in rows:
        name, what, when, *_ = re.split(r" \| (?=(?:[^`]*`[^`]*`)*[^`]*$)", row.strip("| "))
        assert what.endswith(".") and when.strip(), f"{name}: its docstring says neither `Use it` nor when"


def test_advice_is_split_into_when_and_when_not():
    when, unless = fills.advice(losses.BTuningLoss)
    assert when.startswith("Use it for a pretrained student") and unless.startswith("Not for a student trained from")


def test_a_function_of_a_file_is_shown_alone():
    block = code.block("docs/guides/prepare.py#main")
    assert block.startswith('```python title="docs/guides/prepare.py"\ndef main() -> None:') and "import" not in block


def test_a_name_or_a_marker_that_is_gone_stops_the_build():
    with pytest.raises(ValueError, match="names no function or class"):
        code.block("docs/guides/prepare.py#gone")
    with pytest.raises(ValueError, match="must hold <!-- gone -->"):
        code.between("README.md", "<!-- gone -->", "<!-- demo:end -->")
    with pytest.raises(KeyError, match="gone"):
        filled("<!-- fill: gone -->")


def test_docstrings_become_sections_and_blocks():
    docstring = (
        "One sentence.\n\nReference:\n    @article{a,\n      year = {2020}\n    }\n\n"
        "Example:\n    A student::\n\n        train()"
    )
    expected = (
        "One sentence.\n\nReference:\n    ```bibtex\n    @article{a,\n      year = {2020}\n    }\n    ```\n\n"
        "Examples:\n    A student:\n\n        train()"
    )
    assert as_markdown(docstring) == expected


def test_the_flags_of_the_commands_on_the_pages_exist(site):
    of_trainer = {f"--{field.name}" for field in fields(TrainingArguments)}
    lines = "\n".join(re.sub(r"\\\n\s*", "", page) for name, page in site.items() if not name.startswith("reference"))
    commands = re.findall(r"^(?:accelerate launch .*-m hf_ctkd|hf-ctkd) ([a-z-]+) ([^\n`]*)", lines, re.MULTILINE)
    assert {"select", "distill", "evaluate", "predict", "publish"} <= {name for name, _ in commands}
    for name, flags in commands:
        known = of_trainer | set(re.findall(r"--\w+", help_text(name, COMMANDS[name])))
        assert set(re.findall(r"--\w+", flags.partition("#")[0])) <= known, f"hf-ctkd {name} {flags}"


def test_links_of_the_pages_to_other_hosts_are_few_and_https(site):
    pages_by_hand = [page for name, page in site.items() if not name.startswith(("reference/", "results"))]
    links = {link for page in pages_by_hand for link in re.findall(r"\]\((\w+:[^)]*)\)", page)}
    assert all(link.startswith("https://huggingface.co/docs/") for link in links)


@pytest.mark.parametrize("kind", [losses.AFTLoss, losses.BTuningLoss])
def test_losses_that_ran_on_pretrained_students_alone_lead_there(kind):
    assert fills._evidence(kind, {}) == "[Pretrained students](results.md#pretrained-students)"
