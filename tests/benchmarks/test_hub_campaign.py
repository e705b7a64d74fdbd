"""Models on a loopback Hub, a part of them broken in every way of the campaign."""

from collections import Counter

import pytest

from benchmarks.hub_campaign import WAYS, campaign, plan, section


def test_the_plan_follows_from_the_seed():
    models = plan(60, 1)
    counts = Counter(way for _, way in models)
    assert len(WAYS) == 15 and set(counts) == {*WAYS, None}
    assert counts[None] == 40 and len({name for name, _ in models}) == 60
    assert plan(60, 1) == models != plan(60, 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sound_teachers_are_ranked_as_without_the_broken_ones():
    assert {way for _, way in plan(30, 1, share=2) if way is not None} == set(WAYS)
    outcome = campaign(30, 1, share=2)
    assert outcome["faults"] == []
    assert len(outcome["all"]["scored"]) == 15 and len(outcome["all"]["skipped"]) == 15
    assert outcome["all"]["most_requests_of_a_model"] < 50
    assert "What was wrong: nothing." in section(outcome)
