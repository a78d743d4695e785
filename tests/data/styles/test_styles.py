"""Scenes in another drawing style, from a package like those of npm; photographs with captions."""

import io
import json
import tarfile

import pytest
from PIL import Image

from zv_jax.cli import main as cli
from zv_jax.configs.eval.carry_over import get_config
from zv_jax.data.openmoji.concepts import load_concepts
from zv_jax.data.public import catalogue
from zv_jax.data.readers import stamps
from zv_jax.data.sources.open import open_source
from zv_jax.data.styles import iconify, scenes
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.config import validate

SQUARE = '<rect x="4" y="8" width="16" height="8" fill="#102030"/>'


def package(file, icons=None, chars=None):
    """A package of npm that draws every everyday concept as the same bar."""
    names = {c.hex.lower(): c.key.replace("_", "-") for c in load_concepts("everyday")}
    icons = {"prefix": "bars", "width": 32, "height": 24,
             "icons": {name: {"body": SQUARE} for name in names.values()},
             "aliases": {"hound": {"parent": "dog"}}} | (icons or {})  # fmt: skip
    contents = {"package.json": {"license": "MIT"}, "icons.json": icons,
                "chars.json": names if chars is None else chars}  # fmt: skip
    with tarfile.open(file, "w:gz") as out:
        for name, value in contents.items():
            data = json.dumps(value).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return file


def test_drawings_are_found_by_their_code_points_and_through_aliases(tmp_path):
    chars = {"1f436": "hound", "1f408-200d-fe0f": "cat"}
    style = iconify.open_package(package(tmp_path / "a.tgz", chars=chars))
    assert (style.name, style.licence) == ("bars", "MIT")
    assert set(style.bodies) == {"1F436", "1F408-200D"}
    assert style.bodies["1F436"] == (SQUARE, (0, 0, 32, 24))
    drawn = style.draw("1F436", 20)
    assert drawn.size == (20, 10) and drawn.getpixel((10, 5))[:3] == (16, 32, 48)
    with pytest.raises(DataError, match="bars does not draw '1F999'"):
        style.draw("1F999", 20)


@pytest.mark.parametrize("data", [b"", b"no archive", None])
def test_what_is_no_package_is_refused(tmp_path, data):
    file = tmp_path / "a.tgz"
    if data is None:
        package(file, icons={"icons": 5})
    else:
        file.write_bytes(data)
    with pytest.raises(DataError, match="no package of emoji"):
        iconify.open_package(file)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    file = package(folder / "bars.tgz")
    words = ["data", "styles", f"--packages={file}", f"--out={folder / 'out'}", "--scenes=6"]
    assert cli.main(words) == 0
    return folder / "out"


def test_a_scene_has_the_boxes_that_this_style_draws(written):
    source = open_source("jsonl", str(written / "test.jsonl"), "test")
    records = [source.record(n) for n in range(len(source))]
    assert {r.lang for r in records} == {"en", "zh"}
    assert {r.source for r in records} == {scenes.NAME}
    found = next(r for r in records if r.task == "ref_ground")
    image = source.image(found.images[0])
    x0, y0, x1, y1 = (round(v * image.width) for v in found.objects[0].box)
    part = image.crop((x0, y0, x1, y1)).convert("RGB")
    assert part.getpixel((part.width // 2, part.height // 2)) == (16, 32, 48)
    assert abs((x1 - x0) - 2 * (y1 - y0)) <= 2, "a bar is twice as wide as high"
    assert "MIT" in (written / "ATTRIBUTION.md").read_text()


def test_the_same_scenes_are_written_again(written, tmp_path):
    style = iconify.open_package(written.parent / "bars.tgz")
    again = scenes.write([style], tmp_path, 6)
    assert again.read_bytes() == (written / "test.jsonl").read_bytes()


def test_the_command_without_a_package_says_where_they_are_from(tmp_path, capsys):
    assert cli.main(["data", "styles", f"--out={tmp_path}"]) != 0
    assert "npm pack @iconify-json/twemoji" in capsys.readouterr().err


def test_both_suites_have_controls():
    for arg in ("styles", "stamps"):
        suite = validate(get_config(arg))
        assert set(suite.controls) == {"untrained", "shuffled_images", "chance"}
    with pytest.raises(ConfigError, match="did you mean 'stamps'"):
        get_config("stamp")


def stamp(root, path, english, chinese):
    file = root / f"usr/share/tuxpaint/stamps/{path}"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (6, 8), (9, 9, 9, 90)).save(file.with_suffix(".png"))
    lines = [english, "de.utf8=Ein Bild.", *([f"zh_CN.utf8={chinese}"] if chinese else [])]
    file.with_suffix(".txt").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    for number in range(5):
        stamp(tmp_path, f"animals/birds/{number}", f"Bird {number}.", f"{number}号鸟。")
    stamp(tmp_path, "animals/birds/twin", "Bird 1.", "另一只鸟。")
    stamp(tmp_path, "food/nut", "A nut.", "")
    stamp(tmp_path, "sports/cartoon/ball", "A ball.", "一个球。")
    stamp(tmp_path, "symbols/a", "A letter.", "一个字母。")
    monkeypatch.setattr(stamps, "COUNT", 5)
    return tmp_path


def test_stamps_are_photographs_with_both_captions(photographs):
    english, chinese = (list(catalogue.read("stamps", photographs, s)) for s in ("en", "zh"))
    assert [r.images for r in english] == [r.images for r in chinese] and len(english) == 5
    assert {r.lang for r in english} == {"en"} and {r.lang for r in chinese} == {"zh"}
    said = {r.answers for r in english}
    assert len(said) == 5 and all(text.startswith("Bird") for (text,) in said)
    assert all((photographs / r.images[0].path).is_file() for r in english)


def test_too_few_stamps_are_another_release(photographs, monkeypatch):
    monkeypatch.setattr(stamps, "COUNT", 100)
    with pytest.raises(DataError, match="5 images with both captions"):
        list(catalogue.read("stamps", photographs, "en"))


def test_the_tasks_of_stamps_look_for_one_in_a_hundred():
    for name, lang in (("stamps", "en"), ("stamps_zh", "zh")):
        task = task_lib.load(name)
        assert (task.expected, task.langs, task.kind) == (100, (lang,), "retrieval")
