"""How much of what the latents carry reaches the decoder: a lower bound in nats, with its standard error. Pure.

Shapes: K candidates, the first of which is a set's own latent; S sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES = 8
"""Latents among which a decoder has to find a set's own one. The bound is at most ln 8 = 2.08 nats: enough to tell life from death."""
DOUBT = 0.01
"""Probability that every guess leaves to all candidates alike. Of some dozen sets that are all told apart the sharpest critic looks best;
one more set that takes another latent for its own would then cost thousands of nats, and so it costs ln 100 at most."""
SCALES = tuple(10.0 ** (half / 2) for half in range(-6, 9))
"""Factors on the log-likelihood: 1e-3 to 1e4."""


@dataclass(frozen=True)
class DecoderInformation:
    """What a decoder gets out of the latents. 0-d tensors."""

    bound: Tensor
    """Nats per set; in expectation never above the mutual information of set and latent, nor above ln K."""
    error: Tensor
    """Its standard error, the sets taken as independent of each other."""
    use: Tensor
    """Rise in negative log-likelihood, nats per set, when a set gets the latent of another one. Depends on the decoder's scale, and is
    no information: at the optimum of a linear decoder it is e^(2I) - 1 per dimension."""


def decoder_information(log_likelihood_KS: Tensor) -> DecoderInformation:
    """InfoNCE with the decoder as critic: E[log f(x, z_1) / (1/K sum_k f(x, z_k))] <= I(x; z).

    After van den Oord et al. 2018 and Poole et al. 2019.

    The bound holds for every guess which of the latents is a set's own. Ours goes by p(x | z)^a, and a is what makes the bound largest,
    so that a likelihood divided by the number of pixels, or a decoder that is too sure of itself, changes nothing. Each half of the sets
    is judged by the a that the other half chose: chosen on the sets that it is measured on, a would make a bound out of noise.

    Args:
        log_likelihood_KS: log p(x_s | z_k); row 0 with the set's own latent, the others with independent ones. At least two sets.

    >>> deaf = torch.full((8, 100), -40.0)
    >>> found = decoder_information(deaf)
    >>> round(found.bound.item(), 9), round(found.error.item(), 9), found.use.item()
    (0.0, 0.0, 0.0)
    >>> clear = decoder_information(torch.cat([torch.zeros(1, 100), torch.full((7, 100), -50.0)]))
    >>> round(clear.bound.item(), 3), round(math.log(8), 3)
    (2.071, 2.079)
    """
    relative_KS = log_likelihood_KS.double() - log_likelihood_KS[0].double()
    scales_A = torch.tensor(SCALES, dtype=torch.float64, device=relative_KS.device)
    # log f(x, z_1) - log 1/K sum_k f(x, z_k), for each scale; then with a doubt.
    sure_AS = math.log(len(relative_KS)) - torch.logsumexp(scales_A[:, None, None] * relative_KS, 1)
    gained_AS = torch.logaddexp(math.log1p(-DOUBT) + sure_AS, sure_AS.new_full((), math.log(DOUBT)))
    sets = relative_KS.shape[1]
    first, second = gained_AS[:, : sets // 2], gained_AS[:, sets // 2 :]
    gained_S = torch.cat([first[second.mean(1).argmax()], second[first.mean(1).argmax()]])
    error = gained_S.std() / math.sqrt(sets)
    return DecoderInformation(gained_S.mean(), error, (relative_KS[0] - relative_KS[1:]).mean())
