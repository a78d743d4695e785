"""A set of answers as a tree of tokens, which restricts decoding to these answers.

The tree is three arrays of edges, whose size is the total length of the answers, not vocabulary
times nodes: thousands of answers (the 3,129 of VQAv2) take a few hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from zv_jax.errors import DataError

ROOT = 0
LEAF = -1


class Edges(NamedTuple):
    """Edges of the tree; `</s>` leads to `LEAF`.

    Attributes:
      parent: the node where an edge starts; `ROOT` is the first.
      token: its token.
      child: the node where it ends.
    """

    parent: Int32[np.ndarray, " N"]
    token: Int32[np.ndarray, " N"]
    child: Int32[np.ndarray, " N"]


@dataclass(frozen=True)
class Trie:
    """A set of answers.

    Attributes:
      edges: of the tree.
      depth: tokens of the longest answer, with `</s>`.
      answers: number of different answers.
    """

    edges: Edges
    depth: int
    answers: int


def build(answers: Sequence[Sequence[int]], eos_id: int) -> Trie:
    """The tree of answers, given as ids without `</s>`.

    Equal answers count once; an answer may begin another.

    Raises:
      DataError: there is no answer, or one is empty.
    """
    if not answers or not all(answers):
        raise DataError(
            "no answers, or an empty one",
            where="choices",
            expected="at least one answer of at least one token",
        )
    nodes: list[dict[int, int]] = [{}]
    for ids in answers:
        at = ROOT
        for token in ids:
            if token not in nodes[at]:
                nodes[at][token] = len(nodes)
                nodes.append({})
            at = nodes[at][token]
        nodes[at][eos_id] = LEAF
    edges = [(n, token, to) for n, out in enumerate(nodes) for token, to in out.items()]
    arrays = Edges(*np.array(edges, np.int32).T)
    depth = 1 + max(map(len, answers))
    return Trie(arrays, depth, int((arrays.child == LEAF).sum()))
