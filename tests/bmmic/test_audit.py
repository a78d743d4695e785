"""The page on which people judge pairs, and how their decisions are compared with the filters."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shutil

import pytest
import scripted
from bmmic_server import Model
from PIL import Image

from zv_jax.bmmic import config as config_lib
from zv_jax.bmmic import run as run_lib
from zv_jax.bmmic.audit import decisions, origins, page, sample
from zv_jax.bmmic.audit import run as audit
from zv_jax.bmmic.filters.detector import NAMES
from zv_jax.bmmic.pair import Pair, turns
from zv_jax.bmmic.view import View
from zv_jax.cli import main as cli
from zv_jax.data.records.record import ImageRef, Object
from zv_jax.errors import ConfigError, DataError
from zv_jax.html.markup import policy

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' & 引号"


class Page(html.parser.HTMLParser):
    """Collects tags with their attributes, and the words of each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.raw, self.open = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.words.append(data)

    def having(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A filtered run against a scripted model with planted faults, and its page."""
    root = tmp_path_factory.mktemp("audit")
    scripted.write_images(root / "data")
    scripted.write_questions(root / "data")
    model = Model(scripted.Script())
    images = {"name": "records", "root": str(root / "data" / "scenes.jsonl")}
    asked = {"name": "vqav2", "root": str(root / "data" / "vqav2.jsonl"), "split": "train"}
    config = config_lib.validate(
        config_lib.recipe(
            shard_size=4,
            symbols={"sources": (images,), "licence": "CC BY 4.0"},
            translate={"sources": (asked,), "batch": 3},
            rewrite={"share": 1.0},
            server={"url": model.url, "model": "scripted", "tries": 2},
            export={"formats": ("records",)},
        )
    )
    run_lib.run(config, root / "run", lambda text: None)
    model.shutdown()
    file, count = audit.run(config, root / "run", 40)
    return root / "run", config, file, count


@pytest.fixture(scope="module")
def items(world):
    return sample.draw(world[1], world[0], 40)


@pytest.fixture(scope="module")
def shown(world):
    return Page(world[2].read_text("utf-8"))


def test_half_of_the_sample_is_dropped_and_every_filter_that_dropped_is_there(world, items):
    workdir = world[0]
    dropped = [item for item in items if item.dropped]
    assert len(items) == world[3] == 40 and len({item.pair.id for item in items}) == 40
    assert len(dropped) == 20
    every = {
        kind
        for name in ("generated", "rewritten", "translated")
        for _, kind, _ in scripted.dropped(workdir, name)
    }
    assert {item.dropped for item in dropped} == every
    assert {(item.pair.lang, bool(item.dropped)) for item in items} == {
        (lang, bad) for lang in ("en", "zh") for bad in (True, False)
    }


def test_the_verdicts_are_those_of_the_run(items):
    for item in items:
        assert (item.dropped in item.verdicts) if item.dropped else not item.verdicts


def test_the_same_run_gives_the_same_page(world):
    workdir, config, file, count = world
    before = file.read_bytes()
    audit.run(config, workdir, count)
    assert file.read_bytes() == before


def test_prompts_and_replies_are_those_of_the_ledger(world, items):
    workdir, config, _, _ = world
    found = origins.find(config, run_lib.packs(config), workdir, items)
    kinds = {(item.pair.kind == "translate", bool(item.pair.rewriting)) for item in items}
    assert kinds == {(False, False), (False, True), (True, False)}
    for item, origin in zip(items, found, strict=True):
        assert origin.messages[0]["role"] == "system" and origin.messages[-1]["role"] == "user"
        assert origin.reply
        for text in item.pair.answers:
            assert json.dumps(text, ensure_ascii=False)[1:-1] in origin.reply


def test_a_prompt_of_another_recipe_is_not_passed_off_as_the_one_that_was_sent(world, items):
    workdir, config, _, _ = world
    server = dataclasses.replace(config.server, max_tokens=7)
    other = dataclasses.replace(config, server=server)
    found = origins.find(other, run_lib.packs(other), workdir, items)
    assert all(origin.messages is None and origin.reply for origin in found)


def test_a_changed_ledger_is_an_error(world, items, tmp_path):
    workdir, config, _, _ = world
    for name in ("generated", "rewritten", "translated"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "step.json").write_bytes((workdir / name / "step.json").read_bytes())
    text = (workdir / "ledger.jsonl").read_text("utf-8")
    (tmp_path / "ledger.jsonl").write_text(text.replace("scripted-1", "scripted-2", 1), "utf-8")
    with pytest.raises(DataError):
        origins.find(config, run_lib.packs(config), tmp_path, items)


def test_other_thresholds_than_those_of_the_run_are_refused(world):
    workdir, config, _, _ = world
    filters = dataclasses.replace(config.filters, off=("spatial",))
    with pytest.raises(ConfigError, match="other settings"):
        audit.run(dataclasses.replace(config, filters=filters), workdir, 10)


def test_the_page_shows_image_boxes_texts_and_every_verdict(shown, items):
    text = " ".join("".join(shown.words).split())
    assert len(shown.having("article")) == len(items)
    boxes = sum(len(item.pair.view.objects) for item in items)
    assert len(shown.having("rect")) == boxes > 40
    pictures = shown.having("img")
    assert len(pictures) == len(items)
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in pictures)
    for item in items:
        assert all(" ".join(turn.text.split()) in text for turn in item.pair.turns)
        assert all(why in text for why in item.verdicts.values())
    assert sum(a.get("class") in ("good", "bad") for a in shown.having("td")) == len(items) * len(
        NAMES
    )


def test_verdicts_are_closed_until_a_person_has_decided(shown):
    closed = [a for a in shown.having("details") if a.get("class") == "verdicts"]
    assert closed and not any("open" in a for a in closed)


def test_words_of_the_page_are_there_in_both_languages(shown):
    marked = [a for _, a in shown.tags if a.get("class") == "t"]
    assert sum(a["lang"] == "en" for a in marked) == sum(a["lang"] == "zh-Hans" for a in marked)


def test_the_policy_allows_this_style_and_this_script_only(shown):
    (rules,) = [a["content"] for a in shown.having("meta") if "http-equiv" in a]
    assert rules.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in rules
    for name in ("style", "script"):
        (text,) = shown.raw[name]
        found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{found}'" in rules
    for _, attributes in shown.tags:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "data:,") == "data:,"


def hostile_page():
    view = View(
        id=HOSTILE,
        image=ImageRef(path="x.png"),
        captions={"en": (HOSTILE,)},
        objects=(Object((0.1, 0.1, 0.4, 0.5), HOSTILE, tag_zh=HOSTILE),),
    )
    said = turns(HOSTILE, HOSTILE)
    pair = Pair(HOSTILE, "zh", "detail", said, view, "deepen", said, HOSTILE, said)
    bad = sample.Item(pair, "objects", {"objects": HOSTILE}, (pair,))
    unread = dataclasses.replace(pair, turns=(), fault=HOSTILE)
    messages = [{"role": HOSTILE, "content": HOSTILE}]
    origin = origins.Origin(messages, HOSTILE)

    def find(one):
        if one is unread:
            raise DataError(HOSTILE, where=HOSTILE)
        return Image.new("RGBA", (2000, 900))

    items = [bad, sample.Item(unread, "schema", {"schema": HOSTILE}, (unread,))]
    return page.render(items, [origin, origin], find, HOSTILE)


def test_hostile_words_stay_words():
    text = hostile_page()
    found = Page(text)
    assert len(found.having("script")) == 1 and len(found.having("img")) == 1
    assert "<script>alert" not in text and HOSTILE in "".join(found.words)
    assert {a["data-id"] for a in found.having("article")} == {HOSTILE}
    assert not re.search(r"<img[^>]*onerror", text)


def test_a_missing_image_and_a_reply_without_turns_are_said_plainly():
    words = "".join(Page(hostile_page()).words)
    assert "no image" in words and "No turns:" in words


def test_a_policy_is_of_the_text_to_the_letter():
    assert policy("a", "b") != policy("a ", "b") != policy("a ", "b ")


# Decisions.


def saved(world, tmp_path, who, reject, name="decisions.json", **more):
    """The file that the page would save for a person who rejects by `reject(row)`."""
    rows = [json.loads(line) for line in (world[0] / "audit" / "items.jsonl").open()]
    name_of_page = Page(world[2].read_text("utf-8")).having("main")[0]["data-audit"]
    given = {row["id"]: "reject" if reject(row) else "accept" for row in rows}
    file = tmp_path / name
    text = json.dumps({"audit": name_of_page, "who": who, "decisions": given} | more)
    file.write_text(text, "utf-8")
    return file


def test_a_person_who_agrees_with_the_detector_has_a_kappa_of_one(world, tmp_path):
    file = saved(world, tmp_path, "Ann", lambda row: row["dropped"])
    found = decisions.report(world[0], [file])
    rows = {(row["filter"], row["lang"]): row for row in found["filters"]}
    assert len(rows) == 2 * (len(NAMES) + 1)
    assert rows["any", "en"]["kappa"] == rows["any", "zh"]["kappa"] == 1
    assert rows["any", "en"]["n"] + rows["any", "zh"]["n"] == found["people"]["Ann"] == 40
    one = rows["meta_talk", "zh"]
    assert one["both"] == 1 and one["other_only"] == 0 and 0 < one["kappa"] < 1
    assert json.loads((world[0] / "audit" / "agreement.json").read_text()) == found


def test_two_people_are_compared_with_each_other(world, tmp_path):
    one = saved(world, tmp_path, "Ann", lambda row: row["dropped"])
    other = saved(world, tmp_path, "Ann", lambda row: not row["dropped"], "other.json")
    found = decisions.report(world[0], [one, other])
    assert found["between"][0]["people"] == ["Ann", "Ann 2"]
    assert found["between"][0]["kappa"] == -1
    assert "Ann and Ann 2: 0 of 40 alike, kappa -1.00" in decisions.render(found)


def test_a_report_that_cannot_be_written_is_one_error(world, tmp_path):
    file = saved(world, tmp_path, "Ann", lambda row: row["dropped"])
    shutil.copytree(world[0] / "audit", tmp_path / "audit")
    (tmp_path / "audit" / "agreement.json").unlink(missing_ok=True)
    (tmp_path / "audit" / "agreement.json").mkdir()
    with pytest.raises(DataError, match="the report cannot be written") as refused:
        decisions.report(tmp_path, [file])
    assert refused.value.where and refused.value.expected and refused.value.fix


def test_kappa_is_that_of_the_textbook():
    assert decisions.Table(both=20, people=5, other=10, neither=15).kappa == pytest.approx(0.4)
    assert decisions.Table(both=0, people=0, other=0, neither=9).kappa is None
    assert decisions.Table().kappa is None
    found = decisions.compare([(True, True), (True, False), (False, True), (False, False)])
    assert found == decisions.Table(1, 1, 1, 1) and found.kappa == 0


@pytest.mark.parametrize(
    "more, said",
    [
        ({"audit": "another"}, "another page"),
        ({"decisions": {"nobody": "accept"}}, "no pair of the page"),
        ({"decisions": []}, "holds no decisions"),
    ],
)
def test_decisions_on_something_else_are_refused(world, tmp_path, more, said):
    file = saved(world, tmp_path, "Ann", lambda row: True, **more)
    with pytest.raises(DataError, match=said):
        decisions.report(world[0], [file])


def test_a_decision_that_is_none_is_refused(world, tmp_path):
    file = saved(world, tmp_path, "Ann", lambda row: True)
    file.write_text(file.read_text().replace('"reject"', '"perhaps"'))
    with pytest.raises(DataError, match="is no decision"):
        decisions.report(world[0], [file])
    with pytest.raises(DataError, match="no such file"):
        decisions.report(world[0], [tmp_path / "none.json"])
    with pytest.raises(DataError, match="no page"):
        decisions.report(tmp_path, [file])


def test_the_command_compares_decisions(world, tmp_path, capsys):
    file = saved(world, tmp_path, "", lambda row: row["dropped"])
    assert cli.main(["bmmic", "audit", f"--workdir={world[0]}", f"--decisions={file}"]) == 0
    shown = capsys.readouterr().out
    assert "people only" in shown and re.search(r"any +zh .* 1\.00", shown)


def test_the_command_needs_a_filtered_run(tmp_path, capsys):
    recipe = "--config=configs/bmmic/quickstart.py"
    assert cli.main(["bmmic", "audit", recipe, f"--workdir={tmp_path}"]) != 0
    assert "nothing was filtered yet" in capsys.readouterr().err
