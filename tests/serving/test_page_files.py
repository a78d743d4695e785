"""The page of `zv serve` without a browser: its files, their headers, its words, its libraries."""

import hashlib
import json
import random
import re
import shutil
import subprocess

import httpx2
import pytest

from zv_jax.data.text.dialogue import box_text
from zv_jax.evaluation.metrics.grounding import parse_box
from zv_jax.serving.static import FOLDER

KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/plain",
    ".mjs": "text/javascript",
    ".txt": "text/plain",
}
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*"))
OWN = sorted(FOLDER.glob("*.mjs"))
VENDOR = FOLDER / "vendor"


def policy(reply) -> dict[str, str]:
    """The Content-Security-Policy of a reply: directive to values."""
    parts = reply.headers["content-security-policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


def test_every_file_is_served_with_its_type_and_a_strict_policy(running):
    first = httpx2.get(f"{running.url}/")
    assert first.text == (FOLDER / "index.html").read_text("utf-8")
    replies = {name: httpx2.get(f"{running.url}/page/{name}") for name in FILES}
    for name, reply in {**replies, "index.html": first}.items():
        assert reply.status_code == 200, name
        assert reply.content == (FOLDER / name).read_bytes()
        kind = KINDS[f".{name.rpartition('.')[2]}"]
        assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
        assert reply.headers["x-content-type-options"] == "nosniff"
        rules = policy(reply)
        assert rules["default-src"] == rules["object-src"] == rules["base-uri"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["img-src"] == "'self' data: blob:" and rules["frame-ancestors"] == "'none'"


def test_a_file_that_has_not_changed_is_not_sent_again(running):
    for path in ("/", "/page/app.mjs"):
        first = httpx2.get(running.url + path)
        assert first.headers["cache-control"] == "no-cache"
        known = {"If-None-Match": first.headers["etag"]}
        again = httpx2.get(running.url + path, headers=known)
        assert again.status_code == 304 and again.content == b""
        assert policy(again) == policy(first)


@pytest.mark.parametrize("path", ["nothing.mjs", "../static.py", "%2e%2e/static.py", "", "vendor"])
def test_nothing_else_is_served(running, path):
    reply = httpx2.get(f"{running.url}/page/{path}")
    assert reply.status_code == 404 and reply.json()["error"]["type"] == "not_found_error"


def test_the_model_says_what_the_page_must_know(running, model):
    (about,) = httpx2.get(f"{running.url}/v1/models").json()["data"]
    assert about["box_decimals"] == model().config.data.box_decimals
    assert about["max_tokens"] == 32 and about["max_answers"] == 2 and about["sees"]


def test_libraries_are_the_published_files():
    rows = re.findall(r"^\| `(.+?)` .*\| (\d+) \| `(\w{64})` \|$", _third_party(), re.MULTILINE)
    listed = {name: (int(size), digest) for name, size, digest in rows}
    contents = {p.name: p.read_bytes() for p in VENDOR.iterdir() if p.name != "THIRD_PARTY.md"}
    found = {name: (len(b), hashlib.sha256(b).hexdigest()) for name, b in contents.items()}
    assert listed == found


def _third_party() -> str:
    return (VENDOR / "THIRD_PARTY.md").read_text("utf-8")


def test_the_page_names_no_other_server_and_has_no_script_of_its_own():
    texts = [*OWN, FOLDER / "style.css", FOLDER / "index.html"]
    for path in texts:
        text = path.read_text("utf-8")
        assert not re.search(r"(?<!\^)https?://", text), path.name
        assert "innerHTML" not in text and "eval(" not in text
    index = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", index) == [""]
    assert "style=" not in index and " on" not in re.sub(r">[^<]*<", "><", index)


def test_both_languages_have_the_same_words():
    en, zh = (
        json.loads((FOLDER / f"words/{name}.json").read_text("utf-8")) for name in ("en", "zh")
    )
    assert list(en) == list(zh)
    for key in en:
        assert set(re.findall(r"\{\w+\}", en[key])) == set(re.findall(r"\{\w+\}", zh[key])), key


def test_the_words_are_those_that_the_page_asks_for():
    text = "".join(path.read_text("utf-8") for path in OWN)
    asked = set(re.findall(r'\bt\("(\w+)"', text)) | set(re.findall(r'word: "(\w+)"', text))
    asked |= set(re.findall(r'new Unusable\("(\w+)"', text))
    asked |= set(re.findall(r'\{ name: "(\w+)"', (FOLDER / "settings.mjs").read_text("utf-8")))
    for one, other in re.findall(r't\(\w+ \? "(\w+)" : "(\w+)"', text):
        asked |= {one, other}
    assert asked == json.loads((FOLDER / "words/en.json").read_text("utf-8")).keys()


NODE = shutil.which("node")


def computed(module: str, expression: str, values: list):
    """What a function of a module gives for each value."""
    source = f"""
    import * as m from {json.dumps((FOLDER / module).as_uri())};
    const given = JSON.parse((await import("node:fs")).readFileSync(0));
    console.log(JSON.stringify(await Promise.all(given.map((value) => {expression}))));
    """
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", source],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


TEXTS = [
    "The cat is at [0.12,0.25,0.50,0.62].",
    "猫在［０.1，0.2， 0.5，0.6］。",
    "[0.1、0.2、0.5、0.6]",
    "[0。1,0.2,0.5,0.6]",
    "[ .1 , 0.2,\n0.5,0.6 ]",
    "[1.,0,1,1]",
    "[0,0,1,1]",
    "[0.5,0.2,0.1,0.6]",
    "[0.1,0.2,1.1,0.6]",
    "[0.1,0.2,0.3]",
    "[0.1,0.2,0.3,0.4,0.5]",
    "[-0.1,0.2,0.3,0.4]",
    "[1e-1,0.2,0.3,0.4]",
    "[0.1,0.2,0.1,0.4]",
    "[[0.1,0.2,0.3,0.4]]",
    "[a,b,c,d]",
    "[]",
    "no box",
    "(0.1,0.2,0.3,0.4)",
    "[0.1,0.2,0.3,0.4",
]


@pytest.mark.skipif(not NODE, reason="needs node; the browser's tests compare the same")
def test_the_page_reads_boxes_as_the_metric_does():
    found = computed("boxes.mjs", "m.find(value)[0]?.box ?? null", TEXTS)
    assert found == [box and list(box) for box in map(parse_box, TEXTS)]


def boxes_to_write() -> list[list[float]]:
    rng = random.Random(0)
    drawn = [[rng.random() for _ in range(4)] for _ in range(200)]
    halfway = [[n / 8, n / 16, n / 32, n / 1000 + 0.0005] for n in range(1, 9)]
    return [
        *drawn,
        *halfway,
        [0.125, 0.375, 0.625, 0.875],
        [0, 0, 1, 1],
        [0.245, 0.215, 0.005, 0.5],
    ]


@pytest.mark.skipif(not NODE, reason="needs node; the browser's tests compare the same")
@pytest.mark.parametrize("decimals", [2, 3])
def test_the_page_writes_boxes_as_training_does(decimals):
    boxes = boxes_to_write()
    written = computed("boxes.mjs", f"m.write(value, {decimals})", boxes)
    assert written == [box_text(box, decimals) for box in boxes]


@pytest.mark.skipif(not NODE, reason="needs node")
def test_the_place_of_most_attention_is_the_warmest():
    (found,) = computed("heat.mjs", "[...m.colours(value)]", [[0.2, 0.1, 0.5]])
    assert found == [255, 55, 0, 50, 255, 0, 0, 0, 255, 220, 0, 200]
    assert computed("heat.mjs", "[...m.colours(value)]", [[0.5, 0.5]])[0][3::4] == [0, 0]


@pytest.mark.skipif(not NODE, reason="needs node")
def test_sentences_are_read_aloud_as_soon_as_they_are_complete():
    texts = ["A cat", "A cat. It", "2.5 cats", "一只猫。在", "Really? Yes", "One\nTwo"]
    assert computed("sentences.mjs", "m.complete(value)", texts) == [0, 6, 0, 4, 7, 4]


@pytest.mark.skipif(not NODE, reason="needs node")
def test_events_are_read_over_all_cuts():
    stream = 'data: {"a": "图"}\r\n\r\n: ping\n\ndata: one\ndata: two\n\ndata: [DONE]\n\n'.encode()
    cuts = list(range(len(stream) + 1))
    reading = """await (async () => {
        const bytes = new TextEncoder().encode(text), out = [];
        const body = new ReadableStream({ start(c) {
            c.enqueue(bytes.slice(0, value)); c.enqueue(bytes.slice(value)); c.close();
        }});
        for await (const data of m.events(body)) out.push(data);
        return out;
    })()"""
    source = f"const text = {json.dumps(stream.decode())};"
    promised = f"(async () => {{ {source} return {reading}; }})()"
    gathered = computed("sse.mjs", promised, cuts)
    assert gathered == [['{"a": "图"}', "one\ntwo", "[DONE]"]] * len(cuts)
