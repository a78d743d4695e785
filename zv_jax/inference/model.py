"""`from_pretrained` and the `Model` it returns, which answers, ranks, embeds and matches."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast, overload

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32, Int, Int32, Shaped, UInt32

from zv_jax import trees
from zv_jax.arrays import Array
from zv_jax.checkpoints import contents
from zv_jax.config.schema import Config
from zv_jax.convert import export, formats
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.data.text.dialogue import Exchange
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import CheckpointError, ConfigError, DataError, unknown_name
from zv_jax.inference import answers as answers_lib
from zv_jax.inference import beam, embed, sample
from zv_jax.inference import ranking as ranking_lib
from zv_jax.inference import trie as trie_lib
from zv_jax.inference.answers import Answer, Growing
from zv_jax.inference.decoding import Beam, Decoding, Keywords, Sample, from_keywords
from zv_jax.inference.inputs import Inputs, check_inputs
from zv_jax.inference.logits import Drawing
from zv_jax.inference.program import Sequences
from zv_jax.inference.prompts import Image, Processor, Prompt, Question, bucket, existing, no_text
from zv_jax.inference.ranking import Ranking
from zv_jax.inference.trie import Trie
from zv_jax.models import layout
from zv_jax.models.axes import on_mesh
from zv_jax.models.placeholders import RowImages
from zv_jax.models.presets import DTYPES
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import batch_sharding, make_mesh

BATCH = 64  # maximum number of rows computed at once
_SPEAKS = ("llm",)
_SEES = ("vision", "qformer", "projector")
_RETRIEVAL = ("vision", "qformer", "heads")
SEEDS_APART = 1_000_003  # between the draws of one row
# Of LLaMA models, for a checkpoint without tokenizer.
_EOS, _PAD = 2, 0


def from_pretrained(
    path: str | Path,
    dtype: str = "float32",
    untrained: bool = False,
    mesh: MeshConfig | None = None,
) -> Model:
    """A trained or converted model, on the devices of this process.

    Args:
        path: a workdir (its latest checkpoint), its `checkpoints` directory, or one step's; a
            directory in the layout of Hugging Face transformers; a LAVIS checkpoint file, or a
            GGUF file.
        dtype: of weights and computation, whatever it was in training.
        untrained: random weights from the run's seed instead of the trained ones.
        mesh: how to shard weights and rows over several devices; by default every device has all
            weights and a part of the rows.

    Raises:
        CheckpointError: there is no readable checkpoint, or its tokenizers are missing or differ.
        ConversionError: the path is no model that we can read.
        ConfigError: the dtype is unknown, or the mesh does not fit the devices.
    """
    return loaded(formats.open_any(path), dtype, untrained, mesh)


def loaded(
    stored: OwnCheckpoint,
    dtype: str = "float32",
    untrained: bool = False,
    mesh: MeshConfig | None = None,
) -> Model:
    """The same for a checkpoint that is opened already; arguments and errors as there."""
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES, "dtype")
    model = dataclasses.replace(stored.config.model, dtype=dtype, param_dtype=dtype, remat="none")
    config = dataclasses.replace(stored.config, model=model)
    devices = make_mesh(mesh or MeshConfig(), jax.local_devices())
    if untrained:
        with on_mesh(devices):
            flat = contents.untrained(config, devices, stored.specs)
    else:
        flat = _weights(stored, config, devices)
    return Model(config, flat, stored.tokenizers, devices, stored.provenance)


def _weights(stored: OwnCheckpoint, config: Config, devices: Mesh) -> dict[str, jax.Array]:
    """All leaves of a checkpoint, on the devices."""
    # The report of a converted checkpoint lists missing leaves, which are never used.
    whole = not stored.converted
    with on_mesh(devices):
        return stored.read(contents.placed(config, devices, stored.specs, whole))


class Model:
    """A loaded model; `from_pretrained` makes it.

    Every method takes any number of rows and computes them in batches of a few sizes, so that
    little is compiled.

    Attributes:
        config: of the run that trained it, with the dtype it was loaded in.
        tokenizer, qformer_tokenizer: of the language model and the Q-Former; None if not there.
        variables: all leaves as `ZiyaVisual.apply` takes them, in the layout of `layout`.
        towers: the parts it has, of vision, ln_vision, qformer, heads, projector, llm.
        rows: devices that share rows: a batch has a multiple of it.
    """

    def __init__(
        self,
        config: Config,
        flat: dict[str, jax.Array],
        tokenizers: tuple[Tokenizer | None, Tokenizer | None],
        mesh: Mesh,
        provenance: Mapping[str, Any],
    ):
        self.config, self.mesh, self._provenance = config, mesh, provenance
        self.tokenizer, self.qformer_tokenizer = tokenizers
        self.towers = frozenset(name.split("/")[1] for name in flat)
        self.variables = trees.unflatten(layout.for_inference(flat))
        self.rows = mesh.shape["data"] * mesh.shape["fsdp"]

    def __repr__(self) -> str:
        """What it is, how big, and which parts it has."""
        model, stage = self.config.model, self.config.stage
        leaves = jax.tree.leaves(self.variables)
        count, size = (sum(getattr(leaf, of) for leaf in leaves) for of in ("size", "nbytes"))
        step = "converted" if self.step is None else f"step {self.step}"
        parts = ", ".join(sorted(self.towers))
        return (
            f"<zv_jax.Model {model.preset or stage.variant}, {stage.name}, {step}: {count:,} "
            f"parameters ({parts}), {size / 2**30:.2f} GiB in {model.dtype}>"
        )

    @property
    def step(self) -> int | None:
        """The training step of its weights; None if they were converted."""
        return self._provenance.get("step")

    def at(self, path: str | Path) -> Model:
        """The model of another checkpoint of the same run; nothing is compiled anew for it.

        Raises:
            CheckpointError: it cannot be read, or its model or its tokenizers are others.
        """
        stored = formats.open_any(path)
        own = self.config.model
        model = dataclasses.replace(
            stored.config.model, dtype=own.dtype, param_dtype=own.param_dtype, remat=own.remat
        )
        marks = lambda both: [one and one.fingerprint for one in both]
        tokenizers = self.tokenizer, self.qformer_tokenizer
        if model != own or marks(stored.tokenizers) != marks(tokenizers):
            raise CheckpointError(
                "a checkpoint of another model",
                where=str(path),
                expected="the configuration and the tokenizers of the model that is loaded",
                fix="load it by from_pretrained",
            )
        flat = _weights(stored, self.config, self.mesh)
        return Model(self.config, flat, tokenizers, self.mesh, stored.provenance)

    @property
    def processor(self) -> Processor:
        """Makes `Inputs`: `model.processor(texts=["What is here?"], images=[["a.png"]])`."""
        return Processor(self.config, self.tokenizer, self.qformer_tokenizer)

    @property
    def sees(self) -> bool:
        """Whether the model can read images for its answers."""
        return self.towers >= set(_SEES)

    def repeated(self, row: Shaped[np.ndarray, "*row"]) -> Shaped[np.ndarray, "*rows"]:
        """A row once for each device that shares rows: the smallest batch."""
        return np.repeat(row[None], self.rows, 0)

    @property
    def has_llm(self) -> bool:
        """Whether the model can answer."""
        return "llm" in self.towers

    @property
    def has_heads(self) -> bool:
        """Whether the model can embed and match."""
        return "heads" in self.towers

    # --- ids: logits and generation ---------------------------------------------------------

    @overload
    def __call__(self, inputs: Inputs) -> Float32[np.ndarray, "B T V"]: ...

    @overload
    def __call__(
        self,
        *,
        images: RowImages | None = None,
        input_ids: Int[Array, "B T"],
        attention_mask: Bool[Array, "B T"],
        qformer_input_ids: Int[Array, "B S"] | None = None,
        qformer_attention_mask: Bool[Array, "B S"] | None = None,
    ) -> Float32[np.ndarray, "B T V"]: ...

    def __call__(self, inputs: Inputs | None = None, **arrays: Any) -> Float32[np.ndarray, "B T V"]:
        """Logits of the next token at every position.

        Args:
            inputs: padded on either side; or its fields as keywords.

        Raises:
            ConfigError: the checkpoint has no language model, or cannot read images.
            DataError: the arrays do not fit each other or the model.
        """
        inputs = self._checked(_one_inputs(inputs, arrays), "logits")
        run = functools.partial(embed.apply, self.config.model, "__call__")
        return self._batched(lambda variables, rows: run(variables, *rows), inputs)

    @overload
    def generate(
        self,
        inputs: Inputs,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[int] = (),
        trie: Trie | None = None,
    ) -> Int32[np.ndarray, "B N"]: ...

    @overload
    def generate(
        self,
        *,
        images: RowImages | None = None,
        input_ids: Int[Array, "B T"],
        attention_mask: Bool[Array, "B T"],
        qformer_input_ids: Int[Array, "B S"] | None = None,
        qformer_attention_mask: Bool[Array, "B S"] | None = None,
        max_new_tokens: int = 32,
        stop: Sequence[int] = (),
        trie: Trie | None = None,
        **keywords: Unpack[Keywords],
    ) -> Int32[np.ndarray, "B N"]: ...

    def generate(
        self,
        inputs: Inputs | None = None,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[int] = (),
        trie: Trie | None = None,
        **keywords: Any,
    ) -> Int32[np.ndarray, "B {max_new_tokens}"]:
        """Ids that continue rows of ids; `answer` does the same with texts.

        It needs no tokenizer: without one, `</s>` is id 2 and padding id 0, as in LLaMA.

        Args:
            inputs: padded on the left; or its fields as keywords.
            decoding: `Greedy()` (the default), `Sample(...)` or `Beam(...)`; or their fields as
                keywords: `temperature` above 0 samples, `num_beams` above 1 searches.
            max_new_tokens: the maximum number of new ids.
            stop: ids that end a row, in addition to `</s>`.
            trie: the only answers allowed.

        Returns:
            The new ids; padding follows the id that ends a row.

        Raises:
            ConfigError: the checkpoint has no language model (stage 0) or cannot read images, a
                number is out of range, or the rows are too long for the language model.
            DataError: the arrays do not fit each other, for example a row's placeholders do not
                match its images.
        """
        arrays = {name: keywords.pop(name) for name in Inputs._fields if name in keywords}
        inputs = _one_inputs(inputs, arrays)
        decoding = from_keywords(decoding, cast(Keywords, keywords), trie is not None)
        found = self._decoded(inputs, decoding, max_new_tokens, stop, trie, False)
        return np.asarray(found.tokens)[:, 0]

    def sequences(
        self,
        inputs: Inputs,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[int] = (),
        trie: Trie | None = None,
    ) -> Sequences:
        """All sequences of each row, not only the best, with log-probabilities.

        Args:
            inputs, max_new_tokens, stop, trie: as in `generate`.
            decoding: its `n` is the number of sequences for each row.

        Returns:
            numpy arrays; the log-probabilities are those of the model itself, before any penalty or
            temperature. If only fewer sequences are allowed, the scores of the rest are -1e9.

        Raises:
            ConfigError, DataError: as in `generate`.
        """
        decoding = from_keywords(decoding, Keywords(), trie is not None)
        return self._decoded(inputs, decoding, max_new_tokens, stop, trie, True)

    def _decoded(
        self,
        inputs: Inputs,
        decoding: Decoding,
        max_new_tokens: int,
        stop: Sequence[int],
        trie: Trie | None,
        logprobs: bool,
    ) -> Sequences:
        inputs = self._continued(inputs, max_new_tokens)
        common = self._common(decoding, max_new_tokens, stop) | {"logprobs": logprobs}
        if isinstance(decoding, Beam):
            edges = None if trie is None else trie.edges
            common |= dict(num_beams=decoding.num_beams, length_penalty=decoding.length_penalty)

            def search(variables: dict, rows: Inputs) -> Sequences:
                found = beam.beam_search(variables, rows, edges, **common)
                return jax.tree.map(lambda kept: kept[:, : decoding.n], found)

            return self._batched(search, inputs)
        seeds, drawing = _drawing(decoding, len(inputs.input_ids))
        run = functools.partial(sample.generate, drawing=drawing, **common)
        return self._batched(run, inputs, seeds)

    def stream(
        self,
        inputs: Inputs,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[int] = (),
    ) -> Iterator[Int32[np.ndarray, " Bn"]]:
        """The columns of what `generate` returns, each as soon as it is chosen.

        It ends when all rows have ended. Arguments and errors as in `generate`, but `decoding` is
        no `Beam`: a search has no token before its end. With n draws for each row, a column has
        B * n tokens.
        """
        inputs = self._continued(inputs, max_new_tokens)
        decoding = from_keywords(decoding, Keywords(), False)
        if isinstance(decoding, Beam):
            raise ConfigError(
                "a search has no token before its end",
                where="decoding",
                expected="Greedy or Sample",
                fix="use generate",
            )
        seeds, drawing = _drawing(decoding, len(inputs.input_ids))
        with on_mesh(self.mesh):
            placed = self._placed((inputs, seeds))
            settings = self._common(decoding, max_new_tokens, stop)
            for ids in sample.stream(self.variables, *placed, drawing=drawing, **settings):
                yield _fetch(ids)[: seeds.size]

    # --- texts: answers and rankings --------------------------------------------------------

    def answer(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image]] | None = None,
        max_new_tokens: int = 32,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        decoding: Decoding | None = None,
        choices: Sequence[str] | None = None,
        stop: Sequence[str] = (),
        **keywords: Unpack[Keywords],
    ) -> list[str]:
        """Answers questions, in their order.

        Args:
            prompts: questions, or dialogues with a last exchange to answer.
            images: for each prompt a list of all its images, those of its history first.
            max_new_tokens: the maximum length of an answer.
            history: for each prompt the exchanges before it.
            instructions: for each prompt the text that the Q-Former of Chat reads instead of the
                last question.
            decoding: as in `generate`, or its fields as keywords. Prompt i draws by `seed` + i,
                whatever the other prompts are.
            choices: the only answers allowed, for all prompts.
            stop: words that end an answer and are not part of it.

        Raises:
            ConfigError: the checkpoint has no language model (stage 0) or cannot read images, or a
                number is out of range.
            DataError: an image, a dialogue or a choice is invalid.
        """
        decoding = from_keywords(decoding, keywords, choices is not None)
        found = self._answers(
            prompts, images, history, instructions, decoding, max_new_tokens, choices, stop, False
        )
        return [row[0].text for row in found]

    def candidates(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image]] | None = None,
        max_new_tokens: int = 32,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        decoding: Decoding | None = None,
        choices: Sequence[str] | None = None,
        stop: Sequence[str] = (),
        **keywords: Unpack[Keywords],
    ) -> list[list[Answer]]:
        """`n` answers to each question: of a search, best first, or several draws.

        Arguments and errors as in `answer`; `n` is a field of `Sample` and `Beam`. The images and
        the prompt are read once for all answers of a row. There are fewer answers if only fewer are
        allowed.
        """
        decoding = from_keywords(decoding, keywords, choices is not None)
        return self._answers(
            prompts, images, history, instructions, decoding, max_new_tokens, choices, stop, True
        )

    def tree(self, choices: Sequence[str]) -> Trie:
        """The only answers that `generate` is to give, as tokens.

        Raises:
            DataError: there is none, or one is empty.
        """
        no_text(choices, "choices", '["yes", "no"]')
        tokenizer, prompt = existing(self.tokenizer, "answers"), self.config.model.prompt
        encoded = [tokenizer.encode(prompt.answer(choice)) for choice in choices]
        return trie_lib.build(encoded, tokenizer.eos_id)

    def _answers(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image]] | None,
        history: Sequence[Sequence[Exchange]] | None,
        instructions: Sequence[str] | None,
        decoding: Decoding,
        max_new_tokens: int,
        choices: Sequence[str] | None,
        stop: Sequence[str],
        logprobs: bool,
    ) -> list[list[Answer]]:
        self._need(_SPEAKS, "answers")
        tokenizer, prompt = existing(self.tokenizer, "answers"), self.config.model.prompt
        trie = None
        if choices is not None:
            trie = self.tree(choices)
            max_new_tokens = trie.depth
        questions = self.processor.questions(
            prompts, images, history, instructions, max_new_tokens=max_new_tokens
        )
        answers: list[list[Answer]] = [[] for _ in questions]
        for part, inputs in self._parts(questions, max_new_tokens):
            method = decoding
            if isinstance(method, Sample):
                seeds = method.seeds(len(questions))
                method = dataclasses.replace(method, seed=tuple(seeds[part].tolist()))
            if stop and not logprobs and not isinstance(method, Beam):
                found = Sequences(self._until(inputs, method, max_new_tokens, stop))
            else:
                found = self._decoded(inputs, method, max_new_tokens, (), trie, logprobs)
            for row, i in enumerate(part):
                one = jax.tree.map(operator.itemgetter(row), found)
                answers[i] = list(answers_lib.of(one, tokenizer, prompt, stop))
        return answers

    def _until(
        self, inputs: Inputs, decoding: Decoding, max_new_tokens: int, stop: Sequence[str]
    ) -> Int32[np.ndarray, "B n T"]:
        """Tokens until every row has ended or contains one of the words of `stop`."""
        tokenizer, prompt = existing(self.tokenizer, "answers"), self.config.model.prompt
        columns: list[np.ndarray] = []
        growing: list[Growing] = []
        for column in self.stream(inputs, decoding, max_new_tokens=max_new_tokens):
            columns.append(column)
            growing = growing or [Growing(tokenizer, prompt, stop) for _ in column]
            for answer, token in zip(growing, column, strict=True):
                if not answer.ended:
                    answer.add(int(token))
            if all(answer.ended for answer in growing):
                break
        return np.stack(columns, 1).reshape(len(inputs.input_ids), -1, len(columns))

    def rank(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[str]],
        images: Sequence[Sequence[Image]] | None = None,
        history: Sequence[Sequence[Exchange]] | None = None,
        instructions: Sequence[str] | None = None,
        *,
        norm: str = "sum",
    ) -> list[Ranking]:
        """Ranks given answers by their probability, without generating text.

        Args:
            prompts, images, history, instructions: as in `answer`.
            choices: for each prompt its candidates.
            norm: `sum` of the log-probabilities of the tokens and of `</s>`; `token_mean` or
                `char`, that sum per token or per character; `pmi`, the sum minus that of the same
                words without the image.

        Raises:
            ConfigError, DataError: as in `answer`; or a prompt has no candidate.
        """
        self._need(_SPEAKS, "answers")
        no_text(prompts, "prompts", '["What is in the picture?"]')
        no_text(choices, "choices", '[["yes", "no"]], a list of candidates for every prompt')
        for texts in choices:
            no_text(texts, "choices", '[["yes", "no"]], a list of candidates for every prompt')
        ranking_lib.check(choices, norm)
        tokenizer, prompt = existing(self.tokenizer, "answers"), self.config.model.prompt
        rows = [
            [[*tokenizer.encode(prompt.answer(c)), tokenizer.eos_id] for c in texts]
            for texts in choices
        ]
        longest = max((len(ids) for row in rows for ids in row), default=1)
        questions = self.processor.questions(
            prompts, images, history, instructions, max_new_tokens=longest
        )
        if len(rows) != len(questions):
            raise DataError(
                f"{len(questions)} prompts and {len(rows)} lists of choices",
                where="rank",
                expected="a list of candidates for every prompt",
            )
        sums = self._scores(questions, rows, longest)
        blind: list[np.ndarray | None] = [None] * len(rows)
        if norm == "pmi":
            size = self.config.model.vision.image_size
            blind = list(self._scores(ranking_lib.blinded(questions, size), rows, longest))
        lengths = [np.array([len(ids) for ids in row], np.float32) for row in rows]
        return [
            ranking_lib.ranking(ranking_lib.normalise(total, length, texts, norm, without))
            for total, length, texts, without in zip(sums, lengths, choices, blind, strict=True)
        ]

    # --- images and texts: retrieval --------------------------------------------------------

    def embed_images(self, images: Sequence[Image]) -> Float32[np.ndarray, "N Q E"]:
        """The projected query outputs of every image, L2-normalised.

        Raises:
            ConfigError: the checkpoint has no heads: stage 0 makes them, and what starts from it
                keeps them.
            DataError: an image cannot be read.
        """
        self._need(_RETRIEVAL, "embeddings")
        run = functools.partial(embed.apply, self.config.model, "image_embed")
        return self._batched(run, self.processor.images(images))

    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "N E"]:
        """The projection of every text, L2-normalised.

        The similarity of an image and a text is the maximum over the image's queries.

        Raises:
            ConfigError: see `embed_images`.
        """
        self._need(_RETRIEVAL, "embeddings")
        no_text(texts, "texts", '["a red apple"]')
        run = functools.partial(embed.apply, self.config.model, "text_embed")
        return self._batched(run, *self.processor.qformer_texts([text.strip() for text in texts]))

    def match(self, images: Sequence[Image], texts: Sequence[str]) -> Float32[np.ndarray, " N"]:
        """The logit that image i matches text i (ITM).

        Raises:
            ConfigError: see `embed_images`.
            DataError: there are not as many images as texts, or an image cannot be read.
        """
        self._need(_RETRIEVAL, "match scores")
        no_text(images, "images", '["a.png"]')
        no_text(texts, "texts", '["a red apple"]')
        if len(images) != len(texts):
            raise DataError(
                f"{len(images)} images and {len(texts)} texts",
                where="match",
                expected="pairs: as many images as texts",
            )
        run = functools.partial(embed.match, self.config.model)
        text = self.processor.qformer_texts([text.strip() for text in texts])
        return self._batched(run, self.processor.images(images), *text)

    def attention_maps(
        self, images: Sequence[Image], instructions: Sequence[str] | None = None
    ) -> Float32[np.ndarray, "N Q rows columns"]:
        """The attention of each query over the grid of patches; each map sums to 1.

        Of the last cross-attention, averaged over heads, without the CLS token.

        Args:
            instructions: for each image the text that the Q-Former of Chat reads.

        Raises:
            ConfigError: the checkpoint has no Q-Former.
            DataError: an image cannot be read.
        """
        self._need(("vision", "qformer"), "attention maps")
        model = self.config.model
        text: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
        if instructions is not None and model.qformer_sees_instruction:
            asked = [model.prompt.instruction(instruction) for instruction in instructions]
            text = self.processor.qformer_texts(asked, self.config.data.max_qformer_text, "end")
        run = functools.partial(embed.attention, model)
        weights = self._batched(run, self.processor.images(images), *text)
        weights = weights if model.vision.drop_cls else weights[..., 1:]
        side = model.vision.image_size // model.vision.patch_size
        weights = weights / weights.sum(-1, keepdims=True)
        return weights.reshape(*weights.shape[:2], side, side)

    # --- all --------------------------------------------------------------------------------

    def save_pretrained(self, directory: str | Path, options: export.Options | None = None) -> None:
        """Writes the model into a new directory that transformers loads; adapters are merged.

        Args:
            directory: does not exist, or is empty.
            options: dtype, size of the files, fields of the model card.

        Raises:
            ConversionError: transformers has no class for it, or the directory is not empty.
        """
        tokenizers = self.tokenizer, self.qformer_tokenizer
        flat = layout.stacked(trees.flatten(self.variables))
        held = formats.in_memory(self.config, flat, tokenizers, self._provenance)
        export.to_hf(held, directory, options or export.Options(merge_lora=True))

    def check_answers(self, images: bool) -> None:
        """Raises ConfigError where the model cannot answer, or cannot read images if there are."""
        self._need(_SPEAKS + _SEES * images, "answers")

    def _need(self, towers: Sequence[str], purpose: str) -> None:
        missing = [tower for tower in towers if tower not in self.towers]
        if missing:
            stage = "stage 0" if "heads" in missing else "stage 1 or 2"
            raise ConfigError(
                f"a checkpoint of {self.config.stage.name} gives no {purpose}",
                where="missing: " + ", ".join(missing),
                expected=f"a checkpoint of {stage}",
                fix=f"load the workdir of {stage}",
            )

    def _checked(self, inputs: Inputs, purpose: str) -> Inputs:
        self._need(_SPEAKS if inputs.images is None else _SPEAKS + _SEES, purpose)
        check_inputs(inputs, self.config.model)
        return inputs

    def _continued(self, inputs: Inputs, max_new_tokens: int) -> Inputs:
        inputs = self._checked(inputs, "answers")
        room = self.processor.longest_prompt(max_new_tokens)
        length = inputs.input_ids.shape[1]
        if length > room:
            raise ConfigError(
                f"a prompt of {length} ids and {max_new_tokens} new tokens",
                where="input_ids",
                expected=f"at most {room} ids",
                fix="shorten the prompt, or lower max_new_tokens",
            )
        return inputs

    def _common(
        self, decoding: Decoding, max_new_tokens: int, stop: Sequence[int]
    ) -> dict[str, Any]:
        """Arguments of all decoding functions."""
        tokenizer = self.tokenizer
        eos, pad = (tokenizer.eos_id, tokenizer.pad_id) if tokenizer else (_EOS, _PAD)
        penalty = decoding.repetition_penalty
        return dict(
            cfg=self.config.model,
            max_new_tokens=max_new_tokens,
            stop=np.array([eos, *stop], np.int32),
            pad_id=pad,
            min_new_tokens=decoding.min_new_tokens,
            repetition_penalty=None if penalty == 1 else penalty,
        )

    def _scores(
        self, questions: Sequence[Question], rows: Sequence[list[list[int]]], longest: int
    ) -> list[np.ndarray]:
        """Sums of log-probabilities of the candidates of every row."""
        self.check_answers(any(q.images for q in questions))
        sums: list[np.ndarray] = [np.zeros(0)] * len(rows)
        pad_id = existing(self.tokenizer, "answers").pad_id
        for part, inputs in self._parts(questions, longest):
            ids, mask = ranking_lib.candidate_arrays([rows[i] for i in part], pad_id)
            check_inputs(inputs, self.config.model)
            chunk = ranking_lib.chunk_of(ids.shape[1])
            run = functools.partial(ranking_lib.score, cfg=self.config.model, chunk=chunk)
            for i, row in zip(part, self._batched(run, inputs, ids, mask), strict=True):
                sums[i] = row[: len(rows[i])]
        return sums

    def _parts(
        self, questions: Sequence[Question], max_new_tokens: int
    ) -> Iterator[tuple[list[int], Inputs]]:
        """Indices of at most `BATCH` similar rows, and their arrays."""
        order = sorted(
            range(len(questions)),
            key=lambda i: (len(questions[i].images), len(questions[i].input_ids)),
        )
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            rows = [questions[i] for i in part]
            yield part, self.processor.collate(rows, max_new_tokens=max_new_tokens)

    def _batched(self, run: Callable[..., Any], *rows: Any) -> Any:
        """run(variables, *rows) over batches of rows; `rows` and its results are pytrees of arrays
        [N, ...]."""
        total = len(jax.tree.leaves(rows)[0])
        out = []
        with on_mesh(self.mesh):
            for start in range(0, max(total, 1), BATCH):
                part = jax.tree.map(operator.itemgetter(slice(start, start + BATCH)), rows)
                found = run(self.variables, *self._placed(part))
                size = min(BATCH, total - start)
                out.append(jax.tree.map(lambda array, size=size: _fetch(array)[:size], found))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *out)

    def _placed(self, rows: Any) -> Any:
        """The arrays [N, ...] of a pytree on the devices, padded to a bucket of rows."""
        size = bucket(max(len(jax.tree.leaves(rows)[0]), 1))
        size = -(-size // self.rows) * self.rows

        def place(array: Array) -> jax.Array:
            # Padding repeats the first row; without any row it is zero.
            full = np.zeros((size, *array.shape[1:]), array.dtype)
            full[: len(array)], full[len(array) :] = array, array[:1] if len(array) else 0
            # Every process has all rows and sends its devices their part.
            return jax.make_array_from_callback(
                full.shape, batch_sharding(self.mesh), lambda index: full[index]
            )

        return jax.tree.map(place, rows)


def _one_inputs(inputs: Inputs | None, arrays: dict[str, Any]) -> Inputs:
    """The inputs, given as an object or as keywords."""
    if inputs is not None and arrays:
        raise TypeError(f"give Inputs, or its fields: {', '.join(arrays)}")
    return Inputs(**{"images": None} | arrays) if inputs is None else inputs


def _drawing(
    decoding: Decoding, rows: int
) -> tuple[UInt32[np.ndarray, "{rows} n"], Drawing | None]:
    """The seeds of rows, and settings of sampling."""
    if not isinstance(decoding, Sample):
        return np.zeros((rows, 1), np.uint32), None
    drawing = Drawing(decoding.temperature, decoding.top_p, decoding.top_k, decoding.min_p)
    # The seeds of a row's draws are further apart than those of rows: no seed repeats.
    draws = decoding.seeds(rows)[:, None] + SEEDS_APART * np.arange(decoding.n, dtype=np.uint32)
    return draws.astype(np.uint32), drawing


def _fetch(array: jax.Array) -> np.ndarray:
    """All rows, in every process, of an array that may be sharded over several processes."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
