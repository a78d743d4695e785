"""The dialogues of Figures 5 to 7 about images that somebody brings."""

import pytest
from PIL import Image

from zv_jax.cli import main as cli
from zv_jax.errors import DataError
from zv_jax.evaluation import cases


class Echo:
    """Says how many images it has seen, and in which turn it is asked."""

    made: list = []

    def __init__(self):
        self.asked, self.shown = [], []
        Echo.made.append(self)

    def ask(self, text, images=()):
        self.asked.append(text)
        self.shown += images
        return f"turn {len(self.asked)} | {len(self.shown)} images\n{text[:3]}"


@pytest.fixture(autouse=True)
def _none_made():
    Echo.made = []


def test_every_turn_of_a_story_brings_its_own_image(tmp_path):
    images = {5: [], 7: ["a", "b", "c"]}
    page = cases.run(Echo, images, {7: ["a.png", "b.png", "c.png"]}, tmp_path, say=lambda _: None)
    english, chinese = Echo.made
    assert english.shown == chinese.shown == ["a", "b", "c"]
    assert len(english.asked) == len(chinese.asked) == 4
    assert english.asked[2] == "Continuing the story to match the current picture:"
    assert chinese.asked[3].startswith("整合上面的故事")
    text = page.read_text("utf-8")
    assert "Figure 7" in text and "Figure 5" not in text and "| b.png | **Continuing" in text
    assert "turn 3 \\| 2 images<br>Con | turn 3 \\| 2 images<br>继续写 |" in text


def test_both_languages_ask_in_the_same_turns_about_the_same_images():
    assert list(cases.figures()) == [5, 6, 7]
    for figure in cases.figures().values():
        english, chinese = figure.dialogues["en"], figure.dialogues["zh"]
        assert [image for _, image in english] == [image for _, image in chinese]
        assert max(image for _, image in english) == figure.images


def test_images_that_do_not_fit_a_figure_are_refused():
    with pytest.raises(DataError, match="2 images for Figure 7"):
        cases.check({7: ["a", "b"]})
    with pytest.raises(DataError, match="no figure has an image"):
        cases.check({5: [], 6: [], 7: []})


def test_the_command_refuses_before_a_model_is_loaded(tmp_path, capsys):
    words = ["eval", "cases", "--checkpoint=nowhere", f"--workdir={tmp_path}"]
    assert cli.main(words) == 2 and "no figure has an image" in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert cli.main([*words, f"--figure7={tmp_path / 'a.png'}"]) == 2
    assert "1 images for Figure 7" in capsys.readouterr().err
