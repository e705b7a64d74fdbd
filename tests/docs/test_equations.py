"""The page of equations: every method has an entry that converts, and no entry outlives its method."""

import inspect
import re

import pytest

from docs.generate import fills
from docs.generate.__main__ import pages
from docs.generate.equations import DISTANCES, EQUATIONS, SYMBOLS
from docs.generate.mathml import math, with_math
from docs.generate.sections import with_equation
from hf_ctkd import costs, losses, metrics, ot, probes
from hf_ctkd.costs import LabelCost
from hf_ctkd.losses import DistillationLoss, distances
from hf_ctkd.metrics import TransferabilityMetric

MODULES = {"losses": losses, "costs": costs, "metrics": metrics, "probes": probes, "ot": ot}
WITHOUT_EQUATION = {
    "costs": {"LabelCost", "Specification"},
    "losses": {"DistillationLoss", "LossContext"},
    "metrics": {"TransferabilityMetric"},
    # How a teacher's layers are listed and its probes run, not what a probe is.
    "probes": {"cross_fit_layers", "fit_layers", "views"},
    # Problems and solutions; the solver's entry has their equation.
    "ot": {"CloudProblem", "CloudSolution", "OTProblem", "OTSolution", "RowTransport", "Status"},
}
ENTRIES = [(module, name) for module, methods in EQUATIONS.items() for name in methods]
TEXTS = [*(text for pair in SYMBOLS.items() for text in pair)]
TEXTS += [equation.symbols for methods in [*EQUATIONS.values(), DISTANCES] for equation in methods.values()]
DISPLAYS = [
    latex
    for methods in [*EQUATIONS.values(), DISTANCES]
    for equation in methods.values()
    for latex in equation.displays
]


@pytest.fixture(scope="module")
def page():
    return pages()["equations.md"]


@pytest.mark.parametrize("module", MODULES)
def test_every_exported_method_has_an_equation_and_no_equation_is_an_orphan(module):
    assert set(EQUATIONS[module]) == set(MODULES[module].__all__) - WITHOUT_EQUATION[module]


@pytest.mark.parametrize(
    ("module", "base"), [("losses", DistillationLoss), ("costs", LabelCost), ("metrics", TransferabilityMetric)]
)
def test_no_method_is_excused_from_its_equation(module, base):
    excused = (vars(MODULES[module])[name] for name in WITHOUT_EQUATION[module])
    assert not [kind for kind in excused if issubclass(kind, base) and kind is not base]


def test_every_distance_of_a_projection_has_an_equation():
    assert set(DISTANCES) == set(distances.DISTANCES)


@pytest.mark.parametrize("latex", DISPLAYS)
def test_every_equation_is_converted(latex):
    converted = math(latex, display=True)
    assert converted.startswith("<math ") and 'display="block"' in converted and "\\" not in converted


@pytest.mark.parametrize("text", TEXTS)
def test_every_explanation_is_converted(text):
    assert "$" not in with_math(text)


def test_a_command_that_the_converter_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"\\unheard x holds a command that latex2mathml does not know\."):
        math(r"\unheard x")


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_an_entry_links_the_reference_and_says_where_the_method_comes_from(page, module, name):
    heading = f"### [`{name}`](reference/{module}.md#hf_ctkd.{module}.{name}) {{ #equation-{name} }}"
    section = page.partition(heading)[2].partition("\n##")[0]
    assert section.count('display="block"') >= len(EQUATIONS[module][name].displays)
    documented = "Reference:" in (inspect.getdoc(vars(MODULES[module])[name]) or "")
    assert ("*Source:* " in section) == documented


def test_a_source_has_the_year_of_the_citation(page):
    assert "*Source:* Reconstructed from Lu, Ye and Zhan" in page and "arXiv:2204.11526, 2022" in page


def test_numbers_of_the_paper_stand_where_they_are_known(page):
    entries = dict(re.findall(r"\{ #equation-(\w+) \}\n(.*?)(?=\n##|\Z)", page, re.DOTALL))
    numbered = {name for methods in EQUATIONS.values() for name, equation in methods.items() if equation.numbers}
    assert {"HScore", "LEEP", "LogME", "NCE", "Sinkhorn"} <= numbered
    assert {name for name, entry in entries.items() if "*Number:* (" in entry} == numbered


def test_links_between_entries_lead_somewhere(page):
    assert set(re.findall(r"\(#equation-(\w+)\)", page)) <= {name for _, name in ENTRIES}


def test_every_symbol_is_explained_at_the_top():
    assert len(fills.fill("symbols").splitlines()) == 2 + len(SYMBOLS)


def test_docstrings_link_their_equation_once_each():
    linked = with_equation("One sentence.\n\nMore.", "hf_ctkd.losses.kl.KLLoss")
    assert linked == "One sentence. [Equation][equation-KLLoss].\n\nMore."
    for path in ("hf_ctkd.losses.kl.KLLoss.forward", "hf_ctkd.types.LossContext", "hf_ctkd.cards.KLLoss"):
        assert with_equation("One sentence.", path) == "One sentence."
