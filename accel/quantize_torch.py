"""Straight-through estimators in torch for the quantizers of `foldwright.accel.quantize`.

The forward value is the numpy quantizer's, so training and export can never disagree. The backward pass is
that of a smooth stand-in: the identity for weights, clipping for activations, and the normalised tanh for
DoReFa's weights of two bits and more. Only training uses this module, on the CPU, and it alone needs torch.
"""

from __future__ import annotations

from functools import singledispatch

import torch

from foldwright.accel.quantize import DorefaActivation, DorefaWeight, LinearQuantizer, Quantizer

__all__ = ["fake_quantize"]


@singledispatch
def _stand_in(quantizer: Quantizer, x: torch.Tensor) -> torch.Tensor:
    return x


@_stand_in.register
def _(quantizer: DorefaActivation, x: torch.Tensor) -> torch.Tensor:
    return x.clamp(0.0, 1.0)


@_stand_in.register
def _(quantizer: LinearQuantizer, x: torch.Tensor) -> torch.Tensor:
    return x.clamp(quantizer.levels[0] * quantizer.step, quantizer.levels[-1] * quantizer.step)


@_stand_in.register
def _(quantizer: DorefaWeight, x: torch.Tensor) -> torch.Tensor:
    if quantizer.bits == 1:
        return x
    squashed = torch.tanh(x)
    # The maximum is a normaliser, not a path for the gradient.
    return squashed / squashed.detach().abs().max().clamp_min(1e-12)


def fake_quantize(quantizer: Quantizer, x: torch.Tensor) -> torch.Tensor:
    """Returns quantized values whose gradient is the stand-in's.

    Args:
        x: a tensor on the CPU.
    """
    with torch.no_grad():
        quantized = torch.from_numpy(quantizer.forward(x.detach().numpy()))
    smooth = _stand_in(quantizer, x)
    return quantized + (smooth - smooth.detach())
