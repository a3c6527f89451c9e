"""Architectures: what learns. They hold no losses and know no data set."""

from .conv import ConvDecoder, ConvEncoder
from .mlp import MLPDecoder, MLPEncoder
from .norm import BatchNorm

__all__ = ["BatchNorm", "ConvDecoder", "ConvEncoder", "MLPDecoder", "MLPEncoder"]
