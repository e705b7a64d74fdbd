from hf_ctkd.cards.mark import CardMark, blank_mark, seal


def test_a_card_knows_its_repository_and_whether_it_was_changed():
    card = seal(f"# Title\n{blank_mark('me/x')}\ntext\n")
    assert CardMark.read(card) == CardMark("me/x", untouched=True)
    assert CardMark.read(card.replace("text", "text of mine")) == CardMark("me/x", untouched=False)
    assert CardMark.read(card.replace("Title", "My title")) == CardMark("me/x", untouched=False)


def test_a_card_for_a_folder():
    assert CardMark.read(seal(blank_mark(None))) == CardMark(None, untouched=True)


def test_only_the_comment_on_a_line_of_its_own_counts():
    name = "<!-- hf_ctkd card of evil/x, digest 0000000000000000 -->"
    card = seal(f"---\nname: {name}\n---\n{blank_mark('me/x')}\n")
    assert CardMark.read(card) == CardMark("me/x", untouched=True)
    assert name in card


def test_cards_of_others_have_no_mark():
    assert CardMark.read("# A card\n<!-- generated automatically -->\n") is None
