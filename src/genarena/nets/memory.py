"""How far rows lie from the training set, in a network's features.

Shapes: N batch, F features of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

_NEGLIGIBLE = 1e-12  # share of the largest variance below which a direction has none


class FeatureMemory(nn.Module):
    """A Gaussian of the training set's features, layer by layer (Lee et al. 2018, "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks", without classes).

    Their covariances are shrunk towards a sphere (Ledoit & Wolf 2004), since layers have more features than small sets have
    examples. Until something is remembered, every distance is zero.

    Parameters
    ----------
    sizes : sequence of int
        F of each layer.
    """

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        for index, size in enumerate(sizes):
            self.register_buffer(f"mean_{index}", torch.zeros(size))
            self.register_buffer(f"whitening_{index}", torch.zeros(size, size))

    @torch.no_grad()
    def remember(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Fit to the hidden layers ``(N, F)`` of training examples, batch by batch."""
        parts = [[layer.double().cpu().numpy() for layer in layers] for layers in batches]
        for index, layer in enumerate(zip(*parts, strict=True)):
            features = np.concatenate(layer)
            variances, directions = np.linalg.eigh(ledoit_wolf(features)[0])
            kept = variances > _NEGLIGIBLE * max(variances[-1], np.finfo(float).tiny)
            scales = np.where(kept, 1 / np.sqrt(np.where(kept, variances, 1)), 0)
            self.get_buffer(f"mean_{index}").copy_(torch.from_numpy(features.mean(0)))
            self.get_buffer(f"whitening_{index}").copy_(torch.from_numpy(directions * scales))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Squared Mahalanobis distance of examples by their hidden layers, summed over these, ``(N,)``."""
        distances = []
        for index, layer in enumerate(layers):
            apart = layer.float() - self.get_buffer(f"mean_{index}")
            distances.append((apart @ self.get_buffer(f"whitening_{index}")).square().sum(1))
        return torch.stack(distances).sum(0)
