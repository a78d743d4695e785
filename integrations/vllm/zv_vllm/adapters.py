"""What keeps vLLM from serving less of an adapter than there is.

vLLM leaves out parts of an adapter that none of its layers takes, and says so in a line of the log
at most; the answers are then those of another model. Both checks here stop it instead.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from vllm.lora.layers import BaseLayerWithLoRA
from vllm.model_executor.models.utils import WeightsMapper

from zv_vllm.errors import Refused


def check(lora_config: Any) -> None:
    """Refuses to start where the adapter of an image encoder would be dropped.

    Adapters come later, also by HTTP, so what they adapt is not known yet; those of Chat's recipe
    adapt the image encoder.

    Args:
        lora_config: vLLM's; None where adapters are not served.

    Raises:
        Refused: adapters are served, but for the language model only.
    """
    if lora_config is not None and not lora_config.enable_tower_connector_lora:
        raise Refused(
            "vLLM would leave out what an adapter changes in the image encoder",
            where="--enable-lora",
            expected="adapters of all towers",
            fix="add --enable-tower-connector-lora, or serve merged weights: "
            "zv convert to-hf ... --merge-lora",
        )


class Names(WeightsMapper):
    """vLLM asks this for the name of every tensor of an adapter that it loads.

    No name changes; one of a layer that takes no adapter is refused.
    """

    def __init__(self, model: nn.Module, packed: dict[str, list[str]]):
        super().__init__()
        self._model = model
        self._whole = {part: whole for whole, parts in packed.items() for part in parts}

    def get_rename_mapper(self) -> Names:
        """Itself: there is nothing here but names."""
        return self

    def map_name(self, key: str) -> str:
        """`key`, the name of a tensor such as `vision_model....qkv.lora_A.weight`.

        Raises:
            Refused: the layer takes no adapter here.
        """
        path = key.partition(".lora_")[0]
        folder, _, name = path.rpartition(".")
        adapted = f"{folder}.{self._whole.get(name, name)}"
        layer = dict(self._model.named_modules()).get(adapted)
        if not isinstance(layer, BaseLayerWithLoRA):
            raise Refused(
                f"vLLM would leave out the adapter of {path}",
                where=key,
                expected="adapters of linear layers in the image encoder and the language model",
                fix="serve merged weights: zv convert to-hf ... --merge-lora",
            )
        return key
