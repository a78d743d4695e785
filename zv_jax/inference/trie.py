"""A set of answers as a tree of tokens, so that decoding can give nothing but one of them.

The tree is three arrays of edges, as large as the answers together and not as the vocabulary times
the nodes: thousands of answers (the 3,129 of VQAv2) cost a few hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zv_jax.errors import DataError

ROOT = 0
LEAF = -1


class Edges(NamedTuple):
    """Edges from a node along a token to a node, all int32 [E]; `</s>` leads to `LEAF`.

    Attributes:
      parent: the node an edge starts at; `ROOT` is the first.
      token: the token along it.
      child: where it ends.
    """

    parent: np.ndarray
    token: np.ndarray
    child: np.ndarray


@dataclass(frozen=True)
class Trie:
    """A set of answers.

    Attributes:
      edges: of the tree.
      depth: the longest answer in tokens, `</s>` counted.
      answers: how many different ones there are.
    """

    edges: Edges
    depth: int
    answers: int


def build(answers: Sequence[Sequence[int]], eos_id: int) -> Trie:
    """The tree of answers given as ids without `</s>`.

    Equal answers are one; an answer may be the beginning of another.

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
