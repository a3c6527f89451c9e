"""A feature network of your own as one more judge of a comparison:

    genarena compare photos/ --features weights.safetensors --features-net my_features.py:MyFeatures

``weights.safetensors`` holds the state dict of `MyFeatures`. A published network goes the same way: build it in `__init__`,
and bring images to its size and normalisation in `features`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from genarena.data import ImageSpec


class MyFeatures(nn.Module):
    """Two convolutions on images of 32 x 32 pixels.

    Parameters
    ----------
    spec : ImageSpec
        Of the data that are compared: ``spec.channels``, ``spec.height``, ``spec.width``.
    """

    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.first = nn.Conv2d(spec.channels, 16, 4, stride=2, padding=1)
        self.second = nn.Conv2d(16, 32, 4, stride=2, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """Images in [-1, 1], ``(N, C, H, W)``, to features ``(N, F)``; the same each time, in eval mode."""
        x = F.interpolate(x, (32, 32), mode="bilinear", antialias=True)
        return F.adaptive_avg_pool2d(self.second(self.first(x).relu()).relu(), 2).flatten(1)
