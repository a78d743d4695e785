"""A dialogue that a model reads on: what it has read is kept, and read again where it differs.

`Model.stream` reads each prompt anew, and compiles for every length. Here a row has a cache of
fixed size whose places are its positions, and two kinds of programs: `_start` reads the tokens of a
prompt that are new, and `_advance` one token more. There are few sizes of either, so that little is
compiled, and `prepare` compiles the likely ones in the background. A search reads what is new with
`_read`, and then `_search` finds the answers.

What need not be read again is a matter of arithmetic, not of the kind of model: a place is as it
was if its token, or the visual token there, and all before it are. The visual tokens of Base depend
on the image alone: all that was said stays. Those of Chat change with the question: what precedes
the first image stays, and all of it if the same question is asked again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from zv_jax.arrays import Array
from zv_jax.inference import beam
from zv_jax.inference.decoding import Beam, Decoding, Sample
from zv_jax.inference.logits import Drawing, Rules
from zv_jax.inference.model import Model
from zv_jax.inference.program import Prefilled, Sequences, cache_sharding, compiled
from zv_jax.inference.prompts import Question, existing
from zv_jax.inference.sample import Fixed, SamplingState, choose
from zv_jax.inference.seen import VisualTokens
from zv_jax.models.axes import on_mesh
from zv_jax.models.llama import Cache, Layers
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

_SHORTEST, _APART = 64, 4  # tokens read at once: 64, 256, 1024, ...
_KEPT = 64  # images


class Reading:
    """The latest dialogue that `model` has read.

    Args:
        model: of stage 1 or 2, or a language model alone.
        decoding: a search has its tokens at its end.
        max_new_tokens: of the longest answer.

    Attributes:
        looks: the visual tokens of images.
        kept: how many tokens of its prompt the latest answer did not have to read again.
    """

    def __init__(self, model: Model, decoding: Decoding, max_new_tokens: int):
        self.model, self.max_new_tokens = model, max_new_tokens
        self.decoding = decoding
        self.looks = VisualTokens(model, _KEPT)
        self.kept = 0
        self._drawing, self._rules = _how(model, decoding)
        self._held: tuple[list[Hashable], Layers] = [], ()  # what is at each place, and its cache
        self._programs: dict[Hashable, Future] = {}
        self._worker = ThreadPoolExecutor(2, thread_name_prefix="compile")

    def prepare(self) -> None:
        """Compiles, in the background, what a short question about an image needs."""
        if self.model.sees:
            self._program("looks", self.looks.prepare)
        places = self._room(_SHORTEST)
        self._start_for(_SHORTEST, places)
        if isinstance(self.decoding, Beam):
            self._search_for(places)
        else:
            self._advance_for(places)
        self._start_for(_size(_SHORTEST + 1, places), places)

    def answer(self, question: Question, seed: int) -> Iterator[int]:
        """The tokens of an answer, each as soon as it is chosen; it ends with the answer.

        Not for a search. Raises:
            DataError: an image cannot be read.
        """
        identities, layers, size, rows = self._new(question)
        places = jax.tree.leaves(layers)[0].shape[-2]
        fixed = self._fixed(len(identities), seed)
        start = self._start_for(size, places).result()
        state = start(self.model.variables, layers, fixed, *rows)
        chosen: list[int] = []
        try:
            while True:
                chosen.append(int(np.asarray(state.ids)[0]))
                yield chosen[-1]
                if bool(np.asarray(state.ended)[0]) or len(chosen) == self.max_new_tokens:
                    return
                advance = self._advance_for(places).result()
                state = advance(self.model.variables, fixed, state)
        finally:
            self._held = [*identities, *chosen[:-1]], state.cache.new

    def search(self, question: Question) -> Sequences:
        """The answers of a search, the best first: numpy arrays [n, T].

        Raises:
            DataError: an image cannot be read.
        """
        assert isinstance(self.decoding, Beam)
        identities, layers, size, rows = self._new(question)
        places = jax.tree.leaves(layers)[0].shape[-2]
        read = self._start_for(size, places).result()
        logits, layers = read(self.model.variables, layers, *rows)
        self._held = identities, layers
        search = self._search_for(places).result()
        fixed = self._fixed(len(identities), 0)
        found = search(self.model.variables, layers, logits, fixed)
        best = self.decoding.n
        return jax.tree.map(lambda leaf: np.asarray(leaf)[0][:best], found)

    def close(self) -> None:
        """Ends the compilation of what was prepared and is not needed."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    # --- what is read -----------------------------------------------------------------------

    def _identities(
        self, question: Question, pixels: UInt8[np.ndarray, "I height width 3"]
    ) -> tuple[list[Hashable], np.ndarray]:
        """What is at each place, equal where it is the same; and the visual tokens [IQ, D]."""
        image_id = self.model.config.model.image_token_id
        if len(pixels):
            self._program("looks", self.looks.prepare).result()
        looks = [self.looks.of(image, question.qformer_ids) for image in pixels]
        width = self.model.config.model.llm.width
        tokens = [tokens for _, tokens in looks] or [np.zeros((0, width), np.float32)]
        each = iter([(key, k) for key, rows in looks for k in range(len(rows))])
        ids = question.input_ids
        return [next(each) if token == image_id else token for token in ids], np.concatenate(tokens)

    def _take(self, places: int) -> tuple[list[Hashable], Layers]:
        """What has been read, in a cache of that size. It is gone if nobody puts it back."""
        (before, layers), self._held = self._held, ([], ())
        leaves = jax.tree.leaves(layers)
        if not leaves or leaves[0].shape[-2] != places or leaves[0].is_deleted():
            return [], self._empty(places)
        return before, layers

    def _new(self, question: Question) -> tuple[list[Hashable], Layers, int, tuple[Any, ...]]:
        """What is at each place of the prompt, the cache, and what of it is to be read: how many
        tokens at once, and the arguments that say which."""
        pixels = self.model.processor.images(question.images)
        identities, visual = self._identities(question, pixels)
        places = self._room(len(identities))
        before, layers = self._take(places)
        same = _common(before, identities)
        size = _size(len(identities) - same, places)
        self.kept = min(same, places - size)  # a program of this size has room for no later start
        return identities, layers, size, self._rows(question, visual, self.kept, size)

    def _rows(
        self, question: Question, visual: Float[np.ndarray, "IQ D"], index: int, size: int
    ) -> tuple[Any, ...]:
        """The arguments of a program that reads the prompt from `index` on."""
        cfg = self.model.config.model
        ids = question.input_ids
        earlier = sum(token == cfg.image_token_id for token in ids[:index])
        some = visual[earlier:][:size]
        shown = np.zeros((size, cfg.llm.width), cfg.dtype)
        shown[: len(some)] = some
        row = np.full(size, self._rules.pad_id, np.int32)
        row[: len(ids) - index] = ids[index:]
        repeated = self.model.repeated
        numbers = np.int32(index), np.int32(len(ids) - index - 1)
        return repeated(shown), repeated(row), *numbers

    def _room(self, length: int) -> int:
        """Places of the cache for a prompt and its answer: one of few numbers."""
        most = self.model.config.model.llm.max_positions
        wanted, places = length + self.max_new_tokens, _SHORTEST * _APART
        while places < wanted:
            places *= _APART
        return min(places, most)

    # --- programs ---------------------------------------------------------------------------

    def _program(self, key: Hashable, make: Callable[[], Any]) -> Future:
        """What `make` returns, once, made on another thread."""

        def made() -> Any:
            with on_mesh(self.model.mesh):
                return make()

        if key not in self._programs:
            self._programs[key] = self._worker.submit(made)
        return self._programs[key]

    def _start_for(self, size: int, places: int) -> Future:
        def make() -> Any:
            cfg, repeated = self.model.config.model, self.model.repeated
            shown = repeated(np.zeros((size, cfg.llm.width), cfg.dtype))
            rows = shown, repeated(np.zeros(size, np.int32)), np.int32(0), np.int32(0)
            if isinstance(self.decoding, Beam):
                return self._compiled(_read, self._abstract(places), *rows)
            arguments = self._abstract(places), self._fixed(1, 0), *rows
            return self._compiled(_start, *arguments, new=self.max_new_tokens)

        return self._program((size, places), make)

    def _advance_for(self, places: int) -> Future:
        def make() -> Any:
            layers, fixed = self._abstract(places), self._fixed(1, 0)
            rows = jax.ShapeDtypeStruct((self.model.rows, _SHORTEST), np.int32)
            width = self.model.config.model.llm.width
            shown = jax.ShapeDtypeStruct((*rows.shape, width), self.model.config.model.dtype)
            begin = functools.partial(_start, cfg=self.model.config.model, new=self.max_new_tokens)
            zero = np.int32(0)
            state = jax.eval_shape(
                begin, self.model.variables, layers, fixed, shown, rows, zero, zero
            )
            return self._compiled(_advance, fixed, self._placed(state), donated=2)

        return self._program(places, make)

    def _search_for(self, places: int) -> Future:
        def make() -> Any:
            size = self.model.config.model.llm.vocab_size
            logits = jax.ShapeDtypeStruct((self.model.rows, size), np.float32)
            arguments = self._abstract(places), self._placed(logits), self._fixed(1, 0)
            settings = dict(decoding=self.decoding, new=self.max_new_tokens)
            return self._compiled(_search, *arguments, donated=(), **settings)

        return self._program(places, make)

    def _compiled(
        self, function: Any, *arguments: Any, donated: int | tuple[()] = 1, **settings: Any
    ) -> Any:
        """The program of one of the functions below; all but `_search` take the memory of the
        cache."""
        program = functools.partial(function, cfg=self.model.config.model, **settings)
        state = jax.eval_shape(program, self.model.variables, *arguments)
        places = jax.tree.map(lambda leaf: leaf.sharding, self._placed(state))
        return compiled(
            program, self.model.variables, *arguments, donate_argnums=donated, out_shardings=places
        )

    def _placed(self, tree: Any) -> Any:
        place = functools.partial(cache_sharding, self.model.mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place(leaf)), tree
        )

    def _abstract(self, places: int) -> Layers:
        """Shapes of the keys and values of one row."""
        ids, mask = (
            jax.ShapeDtypeStruct((self.model.rows, 1), kind) for kind in (np.int32, np.bool_)
        )
        read = functools.partial(ZiyaVisual(self.model.config.model).apply, method="prefill")
        _, one = jax.eval_shape(read, self.model.variables, None, ids, mask)
        longer = lambda leaf: jax.ShapeDtypeStruct(
            (*leaf.shape[:-2], places, leaf.shape[-1]), leaf.dtype
        )
        return self._placed(jax.tree.map(longer, one))

    def _empty(self, places: int) -> Layers:
        with on_mesh(self.model.mesh):
            shapes = self._abstract(places)
        zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
        return jax.tree.map(zeros, shapes)

    def _fixed(self, length: int, seed: int) -> Fixed:
        rows = self.model.rows
        return Fixed(
            jnp.full(rows, length, jnp.int32), jnp.full(rows, seed, jnp.uint32), self._drawing,
            self._rules,
        )  # fmt: skip


def _start(
    variables: dict,
    layers: Layers,
    fixed: Fixed,
    visual: Float[Array, "W T D"],
    input_ids: Int[Array, "W T"],
    index: Int[Array, ""],
    last: Int[Array, ""],
    *,
    cfg: ModelConfig,
    new: int,
) -> SamplingState:
    """Reads the rest of a prompt and chooses the first token; the W rows are equal."""
    logits, cache = _read_on(variables, layers, visual, input_ids, index, last, cfg=cfg)
    rows = len(input_ids)
    state = SamplingState(
        step=jnp.int32(0),
        ids=jnp.zeros(rows, jnp.int32),
        ended=jnp.zeros(rows, bool),
        tokens=jnp.full((rows, new), fixed.rules.pad_id, jnp.int32),
        logprobs=None,
        cache=cache,
    )
    return choose(fixed, state, logits)


def _read_on(
    variables: dict,
    layers: Layers,
    visual: Float[Array, "W T D"],
    input_ids: Int[Array, "W T"],
    index: Int[Array, ""],
    last: Int[Array, ""],
    *,
    cfg: ModelConfig,
) -> tuple[Float[jax.Array, "W V"], Cache]:
    """The logits behind a prompt, and the cache with it."""
    # A prompt of one place, which nobody sees: all that is read is in the places behind it.
    one = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[..., :1, :]), layers)
    cache = Cache(one, jnp.zeros((len(input_ids), 1), bool), layers)
    return ZiyaVisual(cfg).apply(variables, visual, input_ids, cache, index, last, method="read_on")


def _read(
    variables: dict, layers: Layers, *rows: Any, cfg: ModelConfig
) -> tuple[Float[Array, "W V"], Layers]:
    """Reads the rest of a prompt, for a search."""
    logits, cache = _read_on(variables, layers, *rows, cfg=cfg)
    return logits, cache.new


def _search(
    variables: dict,
    layers: Layers,
    logits: Float[Array, "W V"],
    fixed: Fixed,
    *,
    cfg: ModelConfig,
    decoding: Beam,
    new: int,
) -> Sequences:
    """The answers to a prompt that has been read; its places are its positions."""
    places = jax.tree.leaves(layers)[0].shape[-2]
    seen = jnp.arange(places) < fixed.lengths[:, None]
    read = Prefilled(logits, layers, seen, fixed.lengths)
    return beam.search_from(
        variables, read, fixed.rules, cfg=cfg, max_new_tokens=new,
        num_beams=decoding.num_beams, length_penalty=decoding.length_penalty,
    )  # fmt: skip


def _advance(
    variables: dict, fixed: Fixed, state: SamplingState, *, cfg: ModelConfig
) -> SamplingState:
    """Reads the latest token, behind the prompt and the tokens before it, and chooses the next."""
    at = fixed.lengths + state.step - 1
    logits, cache = ZiyaVisual(cfg).apply(
        variables, state.ids, at, state.cache, at[0], method="decode"
    )
    return choose(fixed, state._replace(cache=cache), logits)


def _how(model: Model, decoding: Decoding) -> tuple[Drawing | None, Rules]:
    """The settings of drawing, and the rules for all tokens, as arrays of fixed types."""
    tokenizer = existing(model.tokenizer, "answers")
    penalty = decoding.repetition_penalty
    number = functools.partial(np.asarray, dtype=np.int32)
    real = functools.partial(np.asarray, dtype=np.float32)
    rules = Rules(
        number([tokenizer.eos_id]),
        number(tokenizer.pad_id),
        number(model.config.model.image_token_id),
        number(decoding.min_new_tokens),
        None if penalty == 1 else real(penalty),
    )
    if not isinstance(decoding, Sample):
        return None, rules
    drawing = Drawing(
        real(decoding.temperature), real(decoding.top_p), number(decoding.top_k),
        real(decoding.min_p),
    )  # fmt: skip
    return drawing, rules


def _common(before: Sequence[Hashable], now: Sequence[Hashable]) -> int:
    """Places at the start that are equal; the last of `now` has to be read in any case."""
    same = 0
    for old, new in zip(before, now[:-1], strict=False):
        if old != new:
            break
        same += 1
    return same


def _size(tokens: int, places: int) -> int:
    """How many tokens to read at once: the smallest size that is enough."""
    size = _SHORTEST
    while size < tokens:
        size *= _APART
    return min(size, places)
