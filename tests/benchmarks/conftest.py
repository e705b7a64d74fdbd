import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def few_resamples(monkeypatch):
    """For tests of tables and sections, whose intervals have a width that no assertion depends on."""
    from benchmarks.evidence import analysis, committee_report
    from benchmarks.evidence.generic import analysis as generic_analysis
    from hf_ctkd.demo import comparison

    for module, name in (
        (analysis, "RESAMPLES"), (committee_report, "RESAMPLES"), (generic_analysis, "RESAMPLES"),
        (comparison, "_RESAMPLES"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 100)
