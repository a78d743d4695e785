"""`/v1/attention`: the maps of the model, for the question that is asked."""

import numpy as np
from asked import NAME, assistant, post, user


def look(url, *messages):
    return post(url, "/v1/attention", json={"model": NAME, "messages": list(messages)})


def maps(reply):
    return [np.reshape(one["weights"], (one["rows"], one["columns"])) for one in reply["data"]]


def test_the_maps_are_those_of_the_model(running, model, images):
    """The Q-Former of Chat reads the last question with every image, those of earlier turns too."""
    talk = [user("Where is it?", images[0]), assistant("left"), user("图里有什么？", images[1])]
    reply = look(running.url, *talk).json()
    expected = model().attention_maps(images[:2], ["图里有什么？"] * 2).mean(1)
    np.testing.assert_allclose(maps(reply), expected, atol=1e-6)
    assert [one["index"] for one in reply["data"]] == [0, 1]
    assert reply["model"] == NAME and reply["step"] == 1
    for one in maps(reply):
        assert abs(one.sum() - 1) < 1e-4 and (one >= 0).all()
    (other,) = maps(look(running.url, user("Where is it?", images[1])).json())
    assert not np.allclose(other, expected[1], atol=1e-6)


def test_what_has_no_map_is_refused(running, images):
    reply = look(running.url, user("Where is it?"))
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "messages"
    reply = look(running.url, user("Where is it?", images[0][:100]))
    assert reply.status_code == 400 and "image_url" in reply.json()["error"]["param"]
    body = {"model": NAME, "messages": [user("a", images[0])], "stream": True}
    assert post(running.url, "/v1/attention", json=body).json()["error"]["param"] == "stream"
