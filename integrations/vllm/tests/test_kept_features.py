"""Features of images are computed once, and not too many are held."""

import torch
from zv_vllm.features import Features


def test_an_image_is_encoded_once_and_the_oldest_go():
    seen = []

    def encode(pixels):
        seen.extend(pixels[:, 0].tolist())
        return pixels * 10

    features = Features(kept=2)

    def of(*images):
        pixels = torch.tensor(images).float()[:, None]
        keys = [bytes([image]) for image in images]
        return features.of(keys, pixels, encode)[:, 0].tolist()

    assert of(1, 2, 1) == [10, 20, 10] and seen == [1, 2]
    assert of(2, 1) == [20, 10] and seen == [1, 2]
    assert of(3) == [30] and seen == [1, 2, 3]  # 2 was used before 1
    assert of(1) == [10] and seen == [1, 2, 3]
    assert of(2) == [20] and seen == [1, 2, 3, 2]
