"""A request is addressed by its content."""

import hashlib
import json

import pytest

from zv_jax.errors import ConfigError, DataError
from zv_jax.llm.request import Failure, Reply, Request

MESSAGES = ({"role": "user", "content": "图里有什么?"},)


def test_the_key_is_that_of_the_content_whatever_the_order_of_fields():
    one = Request(MESSAGES, {"model": "m", "temperature": 0.2})
    two = Request(list(MESSAGES), {"temperature": 0.2, "model": "m"})
    assert one.key == two.key
    text = json.dumps(one.body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert one.key == hashlib.sha256(text.encode()).hexdigest()


def test_every_part_of_a_request_changes_its_key():
    requests = [
        Request(MESSAGES, {"model": "m"}),
        Request(MESSAGES, {"model": "n"}),
        Request(MESSAGES, {"model": "m", "seed": 1}),
        Request((*MESSAGES, *MESSAGES), {"model": "m"}),
        Request(MESSAGES, {"model": "m"}, images=("ab",)),
        Request(MESSAGES, {"model": "m"}, images=("ab", "cd")),
        Request(MESSAGES, {"model": "m"}, images=("cd", "ab")),
        Request(MESSAGES, {"model": "m"}, pack="ab"),
    ]
    assert len({request.key for request in requests}) == len(requests)


def test_image_sums_and_pack_are_not_sent():
    request = Request(MESSAGES, {"model": "m"}, images=("ab",), pack="cd")
    assert request.body == {"messages": list(MESSAGES), "model": "m"}


@pytest.mark.parametrize(
    "parameters", [{}, {"model": ""}, {"model": "m", "n": 2}, {"model": "m", "stream": True}]
)
def test_what_has_no_single_reply_is_refused(parameters):
    with pytest.raises(ConfigError, match="cannot be asked"):
        Request(MESSAGES, parameters)


@pytest.mark.parametrize(
    "content", [float("nan"), "half \ud800", object()], ids=["nan", "half", "object"]
)
def test_what_json_cannot_hold_is_refused_by_name(content):
    with pytest.raises(DataError, match="JSON cannot hold"):
        _ = Request(({"role": "user", "content": content},), {"model": "m"}).key


def test_the_server_marks_a_refusal_words_do_not():
    raw = {"model": "m-1", "choices": [{"message": {"content": None, "refusal": "No."}}]}
    assert Reply("No.", {}, "stop", raw).refused
    assert Reply("", {}, "content_filter", {"choices": [{"message": {}}]}).refused
    fine = Reply("I cannot see it.", {}, "stop", {"choices": [{"message": {}}]})
    assert not fine.refused and fine.model == "" and not fine.cached
    assert Failure("timeout").detail == ""
