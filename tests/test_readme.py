"""The README's example runs as written, on small data, and its commands have the flags that it names."""

import re
from pathlib import Path

import datasets
import tiny
from huggingface_hub import HfApi

from hf_ctkd.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALLER = {
    "num_labels=102": "num_labels=3",
    "num_train_epochs=20": "max_steps=2, use_cpu=True, disable_tqdm=True, logging_strategy='no'",
}


def test_the_twenty_lines_run_as_written(hub, logged_in, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for text, smaller in SMALLER.items():
        assert text in code
        code = code.replace(text, smaller)
    hub.add("apple/mobilevit-xx-small", tiny.save_image_teacher(tmp_path / "student", classes=5))
    teacher = tiny.save_image_teacher(tmp_path / "teacher", seed=1)
    (teacher / "README.md").write_text("---\nlicense: mit\npipeline_tag: image-classification\n---\n# A teacher\n")
    hub.add("org/teacher", teacher)
    rows = {"train": tiny.image_rows(), "test": tiny.image_rows(12, seed=5)}
    monkeypatch.setattr(datasets, "load_dataset", lambda name: rows)
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    exec(compile(code, "README.md", "exec"), {})

    assert "org/teacher" in capsys.readouterr().out
    assert HfApi().model_info("me/flowers-student").private


def test_the_commands_have_the_flags_that_it_names(capsys):
    commands = re.findall(r"^hf-ctkd (\S+)(.*)$", README, re.MULTILINE)
    assert [name for name, _ in commands] == ["select", "distill", "evaluate", "predict", "publish"]
    for name, words in commands:
        assert main([name, "--help"]) == 0
        printed = capsys.readouterr().out
        assert all(flag in printed for flag in re.findall(r"--\w+", words))


def test_paths_and_links_exist():
    root = Path(__file__).parents[1]
    paths = {*re.findall(r"\]\((\w[^):]*)\)", README), *re.findall(r"`(examples/\w+|benchmarks/[\w.]+)`", README)}
    assert len(paths) > 4
    assert all((root / path).exists() for path in paths)
