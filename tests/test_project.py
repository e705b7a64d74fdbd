"""The files around the code: what they name exists."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    parts = {part for job in jobs.values() for part in job.get("strategy", {}).get("matrix", {}).get("part", [])}
    called = {name for command in commands for name in re.findall(r"^make ([a-z-]+)", command)} | parts
    assert commands and called <= TARGETS, called - TARGETS


def test_workflows_run_what_contributors_are_asked_to_run():
    called = " ".join(path.read_text() for path in WORKFLOWS)
    for target in ("test", "test-slow", "test-oldest", "test-breadth", "quality"):
        assert re.search(rf"\b{target}\b", called), target


def test_citation_names_the_project_and_its_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0" and "version" not in citation, "the version stands in _version.py alone"
    papers = {reference["url"].rsplit("/")[-1] for reference in citation["references"]}
    assert papers == {"2204.11526", "2403.14494", "2407.16040", "2402.14035"}


def test_security_names_the_switches_as_they_are():
    from dataclasses import fields

    from hf_ctkd.teachers import LoadOptions

    text = (ROOT / "SECURITY.md").read_text()
    names = {field.name for field in fields(LoadOptions)}
    for switch in ("allow_pickle", "trust_remote_code"):
        assert switch in text and switch in names


def test_issue_forms_have_required_fields():
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]
    for form in [form for form in forms if "body" in form]:
        assert form["name"] and any(field.get("validations", {}).get("required") for field in form["body"])
