"""Weights of tiny Hugging Face models, every one random, in the names and layouts of this project.

Fresh tiny models of Hugging Face are degenerate (zero queries, zero biases, norms at one), and a
comparison of those proves nothing.
"""

import numpy as np
import pytest


def randomise(module, seed: int = 0, scale: float = 0.15) -> None:
    """Noise in every parameter; norms stay around 1. The k third of a fused qkv bias stays 0."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            norm = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(noise + 1 if norm else noise)
            if name.endswith("qkv.bias"):
                third = len(parameter) // 3
                parameter[third : 2 * third] = 0
    module.eval()


class Weights:
    """A state dictionary read by prefix; leaves become numpy."""

    def __init__(self, module):
        self.state = {name: value.numpy() for name, value in module.state_dict().items()}

    def linear(self, name: str) -> dict:
        out = {"kernel": self.state[f"{name}.weight"].T}
        if f"{name}.bias" in self.state:
            out["bias"] = self.state[f"{name}.bias"]
        return out

    def norm(self, name: str) -> dict:
        out = {"scale": self.state[f"{name}.weight"]}
        if f"{name}.bias" in self.state:
            out["bias"] = self.state[f"{name}.bias"]
        return out

    def table(self, name: str) -> dict:
        return {"embedding": self.state[f"{name}.weight"]}

    def stack(self, read, indices) -> dict:
        """The layers `read(index)` with a leading layer axis, as `nn.scan` holds them."""
        import jax

        return jax.tree.map(lambda *leaves: np.stack(leaves), *(read(i) for i in indices))

    def vision(self, prefix: str = "") -> dict:
        """Blip2VisionModel or InstructBlipVisionModel -> `vision` and `ln_vision`."""
        layers = f"{prefix}encoder.layers."
        count = len({n.split(layers)[1].split(".")[0] for n in self.state if n.startswith(layers)})

        def block(i: int) -> dict:
            at = f"{layers}{i}."
            q_bias, k_bias, v_bias = np.split(self.state[f"{at}self_attn.qkv.bias"], 3)
            assert not k_bias.any()
            return {
                "ln1": self.norm(f"{at}layer_norm1"),
                "ln2": self.norm(f"{at}layer_norm2"),
                "attn": {
                    "qkv": {"kernel": self.state[f"{at}self_attn.qkv.weight"].T},
                    "q_bias": q_bias,
                    "v_bias": v_bias,
                    "out": self.linear(f"{at}self_attn.projection"),
                },
                "fc1": self.linear(f"{at}mlp.fc1"),
                "fc2": self.linear(f"{at}mlp.fc2"),
            }

        at = f"{prefix}embeddings."
        patch = self.state[f"{at}patch_embedding.weight"]  # [D, 3, p, p]; our pixels are p, p, 3
        return {
            "vision": {
                "cls": self.state[f"{at}class_embedding"],
                "pos_embed": self.state[f"{at}position_embedding"],
                "patch": {
                    "kernel": patch.transpose(2, 3, 1, 0).reshape(-1, patch.shape[0]),
                    "bias": self.state[f"{at}patch_embedding.bias"],
                },
                "blocks": self.stack(block, range(count)),
            },
            "ln_vision": self.norm(f"{prefix}post_layernorm"),
        }

    def qformer(self, prefix: str, norm: str, embeddings: str | None, queries: np.ndarray) -> dict:
        """A Q-Former; `embeddings` is the prefix of the word and position tables, if any."""
        layers = f"{prefix}encoder.layer."
        count = len({n.split(layers)[1].split(".")[0] for n in self.state if n.startswith(layers)})

        def attention(at: str) -> dict:
            names = {"q": "query", "k": "key", "v": "value"}
            return {
                **{ours: self.linear(f"{at}attention.{name}") for ours, name in names.items()},
                "out": self.linear(f"{at}output.dense"),
                "ln": self.norm(f"{at}output.LayerNorm"),
            }

        def feed_forward(at: str, suffix: str) -> dict:
            return {
                "fc1": self.linear(f"{at}intermediate{suffix}.dense"),
                "fc2": self.linear(f"{at}output{suffix}.dense"),
                "ln": self.norm(f"{at}output{suffix}.LayerNorm"),
            }

        def layer(i: int) -> dict:
            at = f"{layers}{i}."
            out = {
                "self": attention(f"{at}attention."),
                "ffn_query": feed_forward(at, "_query"),
            }
            if embeddings is not None:
                out["ffn_text"] = feed_forward(at, "")
            if i % 2 == 0:
                out["cross"] = attention(f"{at}crossattention.")
            return out

        def pair(i: int) -> dict:
            return {"even": layer(2 * i), "odd": layer(2 * i + 1)}

        out = {
            "query_tokens": queries,
            "ln": self.norm(norm),
            "pairs": self.stack(pair, range(count // 2)),
        }
        if embeddings is not None:
            out["word"] = self.table(f"{embeddings}word_embeddings")
            out["position"] = self.table(f"{embeddings}position_embeddings")
        return out

    def llama(self, prefix: str = "model.", head: str = "lm_head") -> dict:
        """LlamaForCausalLM -> `llm`."""
        layers = f"{prefix}layers."
        count = len({n.split(layers)[1].split(".")[0] for n in self.state if n.startswith(layers)})

        def layer(i: int) -> dict:
            at = f"{layers}{i}."
            return {
                "ln_attn": self.norm(f"{at}input_layernorm"),
                "ln_mlp": self.norm(f"{at}post_attention_layernorm"),
                "attn": {name: self.linear(f"{at}self_attn.{name}_proj") for name in "qkvo"},
                **{name: self.linear(f"{at}mlp.{name}_proj") for name in ("gate", "up", "down")},
            }

        return {
            "embed": self.table(f"{prefix}embed_tokens"),
            "layers": self.stack(layer, range(count)),
            "norm": self.norm(f"{prefix}norm"),
            "lm_head": self.linear(head),
        }


@pytest.fixture(scope="session")
def convert():
    """`convert(module)` makes every parameter random and returns its `Weights`."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # more only wait for each other at these sizes

    def run(module) -> Weights:
        randomise(module)
        return Weights(module)

    return run
