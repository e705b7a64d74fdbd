from hf_ctkd.cards import render_card
from hf_ctkd.cards.__main__ import main


def test_renders_folders_again_for_the_repository_that_they_name(image_record, tmp_path, capsys):
    image_record.save(tmp_path / "distillation.json")
    card = tmp_path / "README.md"
    card.write_text(render_card(image_record, repo_id="me/x").replace("zero", "nought"))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(card)
    assert 'from_pretrained("me/x")' in card.read_text()
    assert "nought" not in card.read_text()
    assert "](figures/results.png)" in card.read_text()


def test_a_folder_without_a_card_gets_one(text_record, tmp_path):
    text_record.save(tmp_path / "distillation.json")
    assert main([str(tmp_path)]) == 0
    assert 'from_pretrained(".")' in (tmp_path / "README.md").read_text()


def test_a_readable_error_and_an_exit_code(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "Cannot read" in capsys.readouterr().err
