"""Jobs for an engine, and what it tells about them."""

import queue

from zv_jax.inference.decoding import Greedy
from zv_jax.serving.jobs import Failed, Job, Piece

NEW = 24


class Heard:
    """What the engine tells about one job, waited for."""

    def __init__(self, engine, job):
        self.events = queue.SimpleQueue()
        self.ticket = engine.submit(job, self.events.put)

    def all(self):
        """The text, the ids and the end."""
        pieces = []
        while isinstance(event := self.events.get(timeout=60), Piece):
            pieces.append(event)
        assert not isinstance(event, Failed), event
        return "".join(p.text for p in pieces), [i for p in pieces for i in p.ids], event


def job(model, shown, text, images, decoding=None, **more):
    question = model.processor.question(text, [shown[i] for i in images], max_new_tokens=NEW)
    return Job(question, decoding or Greedy(), **({"max_new_tokens": NEW} | more))
