from collections import Counter

from benchmarks.evidence.packages.splits import split_of


def test_sources_are_split_two_to_one_to_six_and_always_alike():
    splits = [split_of(f"source {number}") for number in range(9000)]
    shares = {name: count / 1000 for name, count in Counter(splits).items()}
    assert {name: round(share) for name, share in shares.items()} == {"test": 2, "validation": 1, "train": 6}
    assert [split_of(source) for source in ("git", "perl", "vim", "zsh")] == ["train", "test", "train", "test"]
