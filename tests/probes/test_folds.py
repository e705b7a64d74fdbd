import torch

from hf_ctkd.probes.folds import content_order, deal_folds, row_groups


def test_order_follows_from_content_alone():
    values, labels = torch.randn(30, 4), torch.arange(30) % 3
    order = content_order(values, labels)
    shuffle, names = torch.randperm(30), torch.tensor([2, 0, 1])
    again = content_order(values[shuffle], names[labels[shuffle]])
    assert torch.equal(values[order], values[shuffle][again])
    assert len(torch.unique_consecutive(labels[order])) == 3
    assert not torch.equal(content_order(values, labels, seed=1), order)


def test_folds_are_stratified_and_no_more_than_rows():
    values, labels = torch.randn(30, 4), torch.arange(30) % 3
    fold = deal_folds(values, labels, 5)
    counts = torch.zeros(3, 5).index_put_((labels, fold), torch.ones(30), accumulate=True)
    assert (counts == 2).all()
    assert sorted(deal_folds(values[:3], labels[:3], 5).tolist()) == [0, 1, 2]


def test_equal_rows_of_a_class_are_one_group_unless_it_has_no_others():
    values = torch.tensor([[1.0], [2.0], [1.0], [1.0], [3.0], [3.0]])
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    groups = row_groups(values, labels)
    assert groups[0] == groups[2]
    assert sorted(groups.tolist()) == [0, 0, 1, 2, 3, 4]


def test_copies_share_a_fold_whatever_their_order_and_names():
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn(30, 4, generator=generator), torch.arange(30) % 3
    copies = torch.cat([torch.arange(30), torch.arange(0, 30, 2), torch.arange(5)])
    shuffle, names = torch.randperm(len(copies), generator=generator), torch.tensor([2, 0, 1])
    fold = deal_folds(values[copies], labels[copies], 5)
    assert torch.equal(fold, fold[copies])
    # Nothing else changes: the rows that are no copies lie where they would lie alone.
    assert torch.equal(fold[:30], deal_folds(values, labels, 5))
    again = deal_folds(values[copies[shuffle]], names[labels[copies[shuffle]]], 5)
    assert torch.equal(again, fold[shuffle])


def test_a_class_of_equal_rows_is_dealt_row_by_row():
    values, labels = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])[:, None], torch.tensor([0, 0, 0, 1, 1, 1])
    assert len(set(deal_folds(values, labels, 3)[:3].tolist())) == 3
