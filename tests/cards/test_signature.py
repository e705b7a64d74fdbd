from hf_ctkd.cards.signature import CardSignature, blank_signature, seal


def test_a_card_knows_its_repository_and_whether_it_was_changed():
    card = seal(f"# Title\n{blank_signature('me/x')}\ntext\n")
    assert CardSignature.read(card) == CardSignature("me/x", untouched=True)
    assert CardSignature.read(card.replace("text", "text of mine")) == CardSignature("me/x", untouched=False)
    assert CardSignature.read(card.replace("Title", "My title")) == CardSignature("me/x", untouched=False)


def test_a_card_for_a_folder():
    assert CardSignature.read(seal(blank_signature(None))) == CardSignature(None, untouched=True)


def test_only_the_comment_on_a_line_of_its_own_counts():
    name = "<!-- hf_ctkd card of evil/x, digest 0000000000000000 -->"
    card = seal(f"---\nname: {name}\n---\n{blank_signature('me/x')}\n")
    assert CardSignature.read(card) == CardSignature("me/x", untouched=True)
    assert name in card


def test_cards_of_others_have_no_mark():
    assert CardSignature.read("# A card\n<!-- generated automatically -->\n") is None
