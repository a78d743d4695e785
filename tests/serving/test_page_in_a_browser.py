"""The page in a real browser, in front of a real server on loopback; run with make test-browser.

Chromium is that of the system (`ZV_CHROMIUM`, /usr/bin/chromium); none is downloaded.
"""

import base64
import contextlib
import io
import json
import os

import numpy as np
import pytest
from asked import NAME, assistant, chat, png, post, uri, user
from little_engine import LittleEngine
from PIL import Image
from running import serving
from test_page_files import TEXTS, boxes_to_write

from zv_jax.data.text.dialogue import box_text
from zv_jax.evaluation.metrics.grounding import parse_box
from zv_jax.serving.engine import Engine
from zv_jax.serving.jobs import Ended, Piece

api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("ZV_CHROMIUM", "/usr/bin/chromium")
WORDS = {
    "en": {"ask": "What is in the picture?", "point": "Point", "again": "And where?"},
    "zh": {"ask": "图里有什么？", "point": "框选", "again": "在哪里？"},
}


class Saying(LittleEngine):
    """An engine whose model says what a test wants, some characters at a time."""

    said = ""

    def _answer(self, ticket):
        self.open.wait()
        for start in range(0, len(self.said), 5):
            ticket.tell(Piece(self.said[start : start + 5], (1,), None))
        return Ended("stop", len(self.said), len(ticket.job.question.input_ids))


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        # In a container there is no sandbox to be had; the pages are ours.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """`opened(url, width=1280, **context)`: the page; its `asked` are the bodies of requests for
    answers, its `reached` the addresses of all requests, its `wrong` what went wrong in it."""
    with contextlib.ExitStack() as stack:

        def open_(url, width=1280, locale="en-GB", **context):
            made = browser.new_context(
                viewport={"width": width, "height": 800}, locale=locale, **context
            )
            stack.callback(made.close)
            page = made.new_page()
            page.asked, page.reached, page.wrong = [], [], []
            page.on("request", lambda one: _note(page, one))
            page.on("pageerror", lambda error: page.wrong.append(str(error)))
            page.on("dialog", lambda one: page.wrong.append(one.message))
            page.goto(url)
            api.expect(page).not_to_have_title("zv serve")
            return page

        yield open_


def _note(page, request) -> None:
    page.reached.append(request.url)
    if request.url.endswith("/chat/completions"):
        page.asked.append(request.post_data_json)


@pytest.fixture(scope="module")
def saying(model):
    with serving(model(), kind=Saying) as found:
        yield found


def show(page, *contents: bytes, name: str = "a.png", kind: str = "image/png") -> None:
    """Chooses files for the question."""
    before = page.locator(".strip img").count()
    files = [{"name": name, "mimeType": kind, "buffer": one} for one in contents]
    page.set_input_files("input[multiple]", files)
    api.expect(page.locator(".strip img")).to_have_count(before + len(contents))


def ask(page, text: str) -> None:
    page.fill("textarea", text)
    page.press("textarea", "Enter")
    answered(page)


def answered(page) -> None:
    page.wait_for_selector(".turn:last-child .answer[aria-busy=false]", timeout=60_000)


def exported(page) -> dict:
    with page.expect_download() as download:
        page.click("header .buttons > button:nth-of-type(2)")
    return json.loads(open(download.value.path(), encoding="utf-8").read())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_dialogue_is_that_of_the_api(opened, running, images, lang):
    words = WORDS[lang]
    page = opened(running.url, locale={"en": "en-GB", "zh": "zh-CN"}[lang])
    assert page.get_attribute("html", "lang") == {"en": "en", "zh": "zh-Hans"}[lang]
    assert (
        page.locator("header [aria-pressed=true]").inner_text() == {"en": "EN", "zh": "中文"}[lang]
    )
    page.click("summary")
    page.fill("[name=max_tokens]", "8")
    show(page, images[0], images[1])
    ask(page, words["ask"])
    show(page, images[2])
    ask(page, words["again"])

    first = [user(words["ask"], images[0], images[1])]
    said = chat(running.url, first).json()["choices"][0]["message"]["content"]
    second = [*first, assistant(said), user(words["again"], images[2])]
    answer = chat(running.url, second).json()["choices"][0]["message"]["content"]
    common = {"model": NAME, "max_tokens": 8, "stream": True}
    assert page.asked == [{"messages": first} | common, {"messages": second} | common]
    texts = [turn["answers"][0]["text"] for turn in exported(page)["turns"]]
    assert texts == [said, answer]
    assert page.locator("[data-spoken]").text_content() == answer
    assert page.wrong == [] and all(one.startswith((running.url, "data:")) for one in page.reached)


HOSTILE = """<img src=x onerror="document.title = 'run'"> <script>document.title = 'run'</script>
<svg onload="document.title='run'"><a href="javascript:document.title='run'">a</a></svg>

![an image](http://192.0.2.1/a.png) ![own](/metrics) <iframe src="/healthz"></iframe>

[press](javascript:document.title='run') [data](data:text/html,<script>alert(1)</script>)
[here](https://192.0.2.1/) <style>body{background:url(/metrics)}</style>
<form action="/v1/models"><button>send</button></form>
<div id="page" style="position:fixed">over</div>
"""


def test_what_a_model_says_fetches_nothing_and_runs_nothing(opened, saying):
    saying.engine.said = HOSTILE
    page = opened(saying.url)
    title, before = page.title(), len(page.reached)
    ask(page, "Well?")
    for link in page.locator(".answer a").all():
        assert link.get_attribute("href") == "https://192.0.2.1/"
        assert "noreferrer" in link.get_attribute("rel")
    assert page.locator(".answer .text a").count() == 1
    tags = "img, script, svg, iframe, style, form, [style], [id], [onerror], [onload]"
    assert page.locator(f".answer .text :is({tags})").count() == 0
    shown = page.locator(".answer .text").inner_text()
    assert "onerror" in shown and "http://192.0.2.1/a.png" in shown  # what it said can be read
    page.locator(".answer .text").get_by_text("press").click()
    page.wait_for_load_state("networkidle")
    assert page.reached[before:] == [f"{saying.url}/v1/chat/completions"]
    assert page.title() == title and page.wrong == []


def test_hostile_words_of_a_question_a_file_and_a_conversation(opened, saying, images):
    saying.engine.said = "Yes."
    page = opened(saying.url)
    evil = "<img src=x onerror=\"document.title = 'run'\">"
    show(page, images[0], name=f"{evil}.png")
    title = page.title()
    ask(page, evil)
    assert page.locator(".question .text").inner_text() == evil
    conversation = exported(page)
    for url in ("http://192.0.2.1/a.png", "data:image/svg+xml;base64,PHN2Zy8+", "javascript:1"):
        conversation["turns"][0]["images"][0]["url"] = url
        load(page, json.dumps(conversation))
        api.expect(page.locator(".notice")).to_contain_text("no exported conversation")
    assert page.title() == title and page.wrong == []
    assert not any("192.0.2.1" in one for one in page.reached)


def load(page, text: str) -> None:
    file = {"name": "a.json", "mimeType": "application/json", "buffer": text.encode()}
    page.set_input_files("header input[type=file]", file)


def test_a_conversation_comes_back_from_its_file(opened, saying, images):
    saying.engine.said = "It is at [0.10,0.20,0.50,0.60]."
    page = opened(saying.url)
    show(page, images[0], images[1])
    ask(page, "Where is [0.10,0.10,0.40,0.40]?")
    kept = exported(page)
    other = opened(saying.url)
    load(other, json.dumps(kept))
    api.expect(other.locator(".turn")).to_have_count(1)
    assert exported(other) == kept
    ask(other, "Why?")
    assert other.asked[-1]["messages"][:2] == [
        page.asked[0]["messages"][0],
        assistant(saying.engine.said),
    ]


def draw(page, x1, y1, x2, y2) -> tuple[float, ...]:
    """Draws a box with the mouse, corners in fractions of the image; the box of whole pixels of
    the screen that it became."""
    area = page.locator("dialog .shown")
    area.wait_for()
    at = area.bounding_box()
    xs = [round(at["x"] + x * at["width"]) for x in (x1, x2)]
    ys = [round(at["y"] + y * at["height"]) for y in (y1, y2)]
    page.mouse.move(xs[0], ys[0])
    page.mouse.down()
    page.mouse.move(xs[1], ys[1], steps=3)
    page.mouse.up()
    (left, right), (top, bottom) = (
        [(place - at[start]) / at[side] for place in places]
        for places, start, side in ((xs, "x", "width"), (ys, "y", "height"))
    )
    return left, top, right, bottom


@pytest.mark.parametrize("width", [360, 1280])
def test_a_box_drawn_on_an_image_asks_what_the_api_would(opened, saying, model, images, width):
    saying.engine.said = "A shape."
    page = opened(saying.url, width=width)
    show(page, png(noise(640, 480)))
    page.fill("textarea", "What is at ?")
    page.evaluate("document.querySelector('textarea').setSelectionRange(11, 11)")
    page.click(".strip button:has-text('Point')")
    drawn = draw(page, 0.25, 0.5, 0.75, 0.875)
    box = box_text(drawn, model().config.data.box_decimals)
    x1, y1, x2, y2 = (
        round(v * side) for v, side in zip(parse_box(box), (640, 480) * 2, strict=True)
    )
    pixels = f"({x1}, {y1}) to ({x2}, {y2}) of 640 × 480 pixels"
    api.expect(page.locator("dialog output")).to_contain_text(pixels)
    page.click("text=Use this box")
    api.expect(page.locator("textarea")).to_have_value(f"What is at {box}?")
    page.press("textarea", "Enter")
    answered(page)
    assert page.asked[0]["messages"] == [user(f"What is at {box}?", png(noise(640, 480)))]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".question .mention").inner_text() == box
    assert page.locator(".question .box").count() == 1


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_box_is_drawn_with_a_finger(opened, saying, images):
    page = opened(saying.url, width=360, has_touch=True, is_mobile=True)
    show(page, png(noise(400, 400)))
    page.tap(".strip button:has-text('Point')")
    area = page.locator("dialog .shown")
    area.wait_for()
    at = area.bounding_box()
    touch = page.context.new_cdp_session(page)
    spot = lambda x, y: [{"x": at["x"] + x * at["width"], "y": at["y"] + y * at["height"]}]
    for kind, points in (
        ("touchStart", spot(0.25, 0.25)),
        ("touchMove", spot(0.5, 0.5)),
        ("touchMove", spot(0.75, 0.5)),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.tap("text=Use this box")
    api.expect(page.locator("textarea")).not_to_have_value("")
    x1, y1, x2, y2 = parse_box(page.input_value("textarea"))
    assert (x1, y1, x2, y2) == pytest.approx((0.25, 0.25, 0.75, 0.5), abs=0.01)


def test_a_box_is_drawn_with_keys_alone(opened, saying, images, model):
    saying.engine.said = "A shape."
    page = opened(saying.url)
    show(page, images[0])
    page.focus("textarea")
    for _ in range(9):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent") == "Point":
            break
    page.keyboard.press("Enter")
    page.locator("dialog .shown").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    box = box_text((0.31, 0.4, 0.7, 0.8), model().config.data.box_decimals)
    api.expect(page.locator("textarea")).to_have_value(box)
    api.expect(page.locator("textarea")).to_be_focused()
    page.keyboard.type("?")
    page.keyboard.press("Enter")
    answered(page)
    assert page.asked[0]["messages"] == [user(f"{box}?", images[0])]
    page.click(".question button:has-text('Point')")
    page.keyboard.press("Escape")
    api.expect(page.locator("dialog")).to_have_count(0)


def test_boxes_of_an_answer_light_up_with_their_text(opened, saying):
    saying.engine.said = "A cat [0.10,0.20,0.50,0.60] and a dog ［0.6，0.1，0.9，0.5］."
    page = opened(saying.url)
    show(page, png(noise(200, 100)))
    ask(page, "Where?")
    drawn = page.locator(".question .box")
    assert [one.get_attribute("title") for one in drawn.all()] == [
        "(20, 20) to (100, 60) of 200 × 100 pixels",
        "(120, 10) to (180, 50) of 200 × 100 pixels",
    ]
    page.hover(".answer .mention >> nth=1")
    api.expect(page.locator(".box.lit")).to_have_attribute("data-box", "0.6,0.1,0.9,0.5")
    page.hover(".question .box >> nth=0")
    api.expect(page.locator(".answer .mention.lit")).to_have_text("[0.10,0.20,0.50,0.60]")
    at = page.locator(".shown img").bounding_box()
    box = drawn.nth(0).bounding_box()
    assert box["x"] - at["x"] == pytest.approx(0.1 * at["width"], abs=1)
    assert box["height"] == pytest.approx(0.4 * at["height"], abs=1)


def test_a_box_of_a_later_answer_is_shown_on_the_image_it_is_about(opened, saying, images):
    page = opened(saying.url)
    saying.engine.said = "A cat."
    show(page, images[0])
    ask(page, "What is it?")
    saying.engine.said = "[0.1,0.2,0.5,0.6]"
    ask(page, "Where?")
    assert page.locator(".turn >> nth=1 >> .box").count() == 1
    show(page, images[1], images[2])
    ask(page, "And here?")
    assert page.locator(".turn >> nth=2 >> .box.unsure").count() == 2


def test_enter_of_an_input_method_does_not_send(opened, saying):
    saying.engine.said = "是。"
    page = opened(saying.url, locale="zh-CN")
    page.focus("textarea")
    keys = page.context.new_cdp_session(page)
    keys.send("Input.imeSetComposition", {"text": "tu", "selectionStart": 2, "selectionEnd": 2})
    press = """(how) => document.querySelector("textarea").dispatchEvent(
        new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...how }))"""
    page.evaluate(press, {"isComposing": True})
    page.evaluate(press, {"keyCode": 229})  # Safari's last key of a composition
    keys.send("Input.insertText", {"text": "图"})
    page.press("textarea", "Shift+Enter")
    assert page.asked == [] and page.input_value("textarea") == "图\n"
    page.press("textarea", "Enter")
    answered(page)
    assert page.asked[0]["messages"] == [user("图")]


def test_an_answer_is_stopped_asked_again_and_its_question_edited(opened, saying, images):
    engine = saying.engine
    engine.said = "One. Two."
    page = opened(saying.url)
    show(page, images[0])
    engine.open.clear()
    page.fill("textarea", "Where?")
    page.press("textarea", "Enter")
    page.click(".answer button:has-text('Stop')")
    api.expect(page.locator(".answer")).to_contain_text("Stopped.")
    engine.open.set()
    page.click("text=Ask again")
    api.expect(page.locator(".answer .text")).to_have_text("One. Two.")
    page.fill("textarea", "half written")
    page.click(".question >> text=Edit")
    api.expect(page.locator("textarea")).to_have_value("Where?")
    api.expect(page.locator(".strip img")).to_have_count(1)
    page.click(".composer >> text=Cancel")
    api.expect(page.locator("textarea")).to_have_value("half written")
    page.click(".question >> text=Edit")
    ask(page, "Why?")
    assert page.locator(".turn").count() == 1
    assert [one["messages"] for one in page.asked[1:]] == [
        [user("Where?", images[0])],
        [user("Why?", images[0])],
    ]


def test_a_conversation_goes_on_from_the_answer_that_was_chosen(opened, running, images):
    page = opened(running.url)
    page.click("summary")
    for name, value in {"n": "2", "seed": "7", "max_tokens": "4", "temperature": "1.5"}.items():
        page.fill(f"[name={name}]", value)
    ask(page, "Where is it?")
    fields = {"n": 2, "seed": 7, "max_tokens": 4, "temperature": 1.5}
    choices = chat(running.url, [user("Where is it?")], **fields).json()["choices"]
    page.check(".choice >> nth=1 >> input")
    ask(page, "Why?")
    assert page.asked[1]["messages"][1] == assistant(choices[1]["message"]["content"])
    again = opened(running.url)
    assert again.input_value("[name=n]") == ""  # another person's browser


def test_errors_of_the_server_are_shown_as_they_are(opened, saying):
    page = opened(saying.url)
    page.click("summary")
    page.fill("[name=max_tokens]", "33")
    ask(page, "Where?")
    error = chat(saying.url, [user("Where?")], max_tokens=33).json()["error"]
    shown = page.locator(".answer .problem").inner_text()
    assert all(error[name] in shown for name in ("message", "param", "expected", "fix"))
    page.fill("[name=max_tokens]", "")
    ask(page, "Why?")
    assert page.asked[1]["messages"] == [user("Why?")]  # what has no answer is no history


def test_a_key_is_asked_for_and_sent(opened, browser, model):
    with serving(model(), kind=Saying, key="right") as found:
        found.engine.said = "Yes."
        context = browser.new_context()
        page = context.new_page()
        page.goto(found.url)
        for key in ("wrong", "right"):
            page.fill("[name=key]", key)
            page.press("[name=key]", "Enter")
        api.expect(page.locator("[name=key]")).to_have_count(0)
        page.reload()  # the tab remembers it
        api.expect(page).to_have_title("tiny")
        ask(page, "Well?")
        assert page.inner_text(".answer .text") == "Yes."
        context.close()


def test_a_server_that_is_away_is_waited_for(opened, saying):
    saying.engine.said = "Yes."
    page = opened(saying.url)
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.route("**/healthz", lambda route: route.abort())
    ask(page, "Well?")
    api.expect(page.locator("footer .notice")).to_contain_text("does not answer")
    page.unroute_all()
    api.expect(page.locator("footer .notice")).to_have_count(0, timeout=10_000)
    page.click("text=Ask again")
    api.expect(page.locator(".answer .text")).to_have_text("Yes.")


@pytest.mark.parametrize("lang, shown", [("en", "training step 1"), ("zh", "第 1 步")])
def test_answers_of_a_run_that_trains_name_their_step(opened, model, lang, shown):
    with serving(model(), kind=Engine, follows=True) as running:
        page = opened(running.url, locale={"en": "en-GB", "zh": "zh-CN"}[lang])
        ask(page, "Well?")
        api.expect(page.locator(".answer .hint", has_text=shown)).to_be_visible()


def test_images_are_dropped_pasted_moved_and_removed(opened, saying, images):
    saying.engine.said = "Yes."
    page = opened(saying.url)
    give = """([data, type, target]) => {
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], type + ".png", { type: "image/png" }));
        const given = type === "paste"
            ? new ClipboardEvent(type, { clipboardData: transfer, bubbles: true, cancelable: true })
            : new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.querySelector(target).dispatchEvent(given);
    }"""
    for number, (kind, target) in enumerate((("drop", "main"), ("paste", "textarea"))):
        page.evaluate(give, [base64.b64encode(images[number]).decode(), kind, target])
        api.expect(page.locator(".strip img")).to_have_count(number + 1)
    show(page, images[2], name="chosen.png")
    page.get_by_label("Move chosen.png forward").click()
    page.get_by_label("Remove drop.png").click()
    ask(page, "Well?")
    assert page.asked[0]["messages"] == [user("Well?", images[2], images[1])]


def test_an_image_turned_by_its_exif_and_a_large_one(opened, saying):
    saying.engine.said = "[0,0,0.5,0.5]"
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(noise(300, 200)).save(turned, "JPEG", exif=exif)
    page = opened(saying.url)
    show(page, turned.getvalue(), name="turned.jpg", kind="image/jpeg")
    api.expect(page.locator(".strip .size")).to_have_text("200 × 300")
    large = png(noise(2600, 1300))
    show(page, large)
    api.expect(page.locator(".strip .size >> nth=1")).to_have_text("2600 × 1300")
    ask(page, "Well?")
    first, second = (
        part["image_url"]["url"] for part in page.asked[0]["messages"][0]["content"][:2]
    )
    assert first == uri(turned.getvalue(), "jpeg")  # the very bytes: the server turns it, too
    sent = Image.open(io.BytesIO(base64.b64decode(second.partition(",")[2])))
    assert sent.width == 2 * sent.height <= 2048 and len(second) < len(large)
    assert page.locator(".question .box >> nth=1").get_attribute("title") == (
        "(0, 0) to (1300, 650) of 2600 × 1300 pixels"
    )


def test_files_that_no_server_reads_are_refused_with_a_reason(opened, saying):
    page = opened(saying.url)
    heic = b"\0\0\0\x18ftypheic" + b"\0" * 100
    for content, says in ((heic, "HEIC"), (b"no image", "no image")):
        file = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content}
        page.set_input_files("input[multiple]", file)
        api.expect(page.locator(".notice")).to_contain_text(says)
    assert page.locator(".strip img").count() == 0


def test_the_language_is_switched_and_kept(opened, saying):
    page = opened(saying.url)
    page.click("text=中文")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    page.reload()
    api.expect(page).not_to_have_title("zv serve")
    assert page.locator("[type=submit]").inner_text() == "发送"


def test_the_page_reads_and_writes_boxes_as_python_does(opened, saying):
    page = opened(saying.url)
    of = lambda how: (
        f"""async ([values, decimals]) => {{
        const m = await import("/page/boxes.mjs");
        return values.map((value) => {how});
    }}"""
    )
    found = page.evaluate(of("m.find(value)[0]?.box ?? null"), [TEXTS, 0])
    assert found == [box and list(box) for box in map(parse_box, TEXTS)]
    boxes = boxes_to_write()
    for decimals in (2, 3):
        written = page.evaluate(of("m.write(value, decimals)"), [boxes, decimals])
        assert written == [box_text(box, decimals) for box in boxes]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(opened, saying, images, width, scheme, tmp_path):
    saying.engine.said = (
        "A **cat** at [0.10,0.20,0.50,0.60].\n\n```\n" + "code " * 60 + "\n```\n" + "图" * 300
    )
    page = opened(saying.url, width=width, color_scheme=scheme)
    show(page, images[0], images[1], name=f"{'long-' * 30}.png")
    ask(page, "x" * 300)
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("lang, width", [("en", 360), ("zh", 1280)])
def test_where_the_model_looks_is_drawn_over_an_image(opened, running, images, lang, width):
    """With the keyboard alone; asked for once, for the question of the turn."""
    words = {"en": "Where it looks", "zh": "注视处"}[lang]
    page = opened(running.url, width=width, locale={"en": "en-GB", "zh": "zh-CN"}[lang])
    show(page, images[0], images[1])
    ask(page, WORDS[lang]["ask"])
    buttons = page.get_by_role("button", name=words)
    assert buttons.count() == 2
    buttons.nth(1).focus()
    page.keyboard.press("Enter")
    heat = page.locator(".turn figure").nth(1).locator("canvas")
    heat.wait_for(timeout=60_000)
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator("canvas").count() == 1 and heat.get_attribute("aria-label")
    body = {"model": NAME, "messages": [user(WORDS[lang]["ask"], images[0], images[1])]}
    one = post(running.url, "/v1/attention", json=body).json()["data"][1]
    read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    shares = np.array(heat.evaluate(read)).reshape(one["rows"], one["columns"], 4)[..., 3] / 200
    expected = np.reshape(one["weights"], shares.shape)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(shares, expected, atol=0.005)
    over, image = heat.bounding_box(), page.locator(".turn img").nth(1).bounding_box()
    assert over == pytest.approx(image, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    buttons.nth(0).press("Space")
    api.expect(page.locator("canvas")).to_have_count(2)
    buttons.nth(1).press("Enter")
    api.expect(page.locator("canvas")).to_have_count(1)
    assert sum(one.endswith("/v1/attention") for one in page.reached) == 1
    assert page.wrong == []
