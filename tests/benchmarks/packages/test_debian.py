import subprocess

import pytest

from benchmarks.evidence.packages import debian


@pytest.fixture
def lists(monkeypatch):
    """Lists of packages in which every section has as many sources as wanted, two packages each."""

    def make(sources):
        blocks = [
            f"Package: {section}-{number}-{part}\nSource: {section}-{number} (1.0)\nSection: {section}\n"
            f"Description: {section} tool {number}, part {part}\n more\nTag: use::{section},\n role::program"
            for section in debian.SECTIONS
            for number in range(sources)
            for part in "ab"
        ]
        blocks += ["Package: x\nSection: libs\nDescription: a library", "Package: y\nSection: web"]
        blocks += [
            f"Package: z{section}\nSection: {section}\nDescription: in two sections" for section in ("web", "net")
        ]
        output = subprocess.CompletedProcess([], 0, stdout="\n\n".join(blocks))
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: output)
        debian._descriptions.cache_clear()
        debian._pools.cache_clear()

    yield make
    debian._descriptions.cache_clear()
    debian._pools.cache_clear()


def test_packages_of_one_source_are_in_one_split(lists):
    lists(30)
    task = debian.debian_sections(labels=80, seed=0)
    splits = [set(rows["text"]) for rows in (task.train(), task.validation, task.test)]
    sources = [{text.split(",")[0] for text in split} for split in splits]
    assert sum(len(split) for split in splits) == len(set().union(*splits)) == 20 * 30 * 2
    assert not sources[0] & (sources[1] | sources[2]) and not sources[1] & sources[2]
    assert not any("two sections" in text or "library" in text for split in splits for text in split)
    assert task.label_names == debian.SECTIONS and len(task.labelled) == 80


def test_no_class_has_more_rows_than_its_share(lists):
    lists(300)
    task = debian.debian_sections(labels=80, seed=0)
    assert len(task.test) == 1000 and len(task.train()) == 3000 and len(task.validation) == 500
    assert set(task.test["label"]) == set(range(20))


def test_without_lists_the_way_to_get_them_is_said(lists):
    lists(0)
    assert debian.available() is False
    with pytest.raises(FileNotFoundError, match="apt-get update"):
        debian.debian_sections(labels=80, seed=0)
