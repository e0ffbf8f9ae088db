"""The cases of other people's models: each fault that a detector was once blind to, beside the same model in health."""

from __future__ import annotations

from dataclasses import replace

from seqsetvae.certify import planted
from seqsetvae.certify.zoo import (
    BatchNormVAE,
    ConditionalVAE,
    DeltaVAE,
    HalfBlindVAE,
    ImageVAE,
    LadderVAE,
    LearnedPriorVAE,
    SeriesVAE,
    SmallVAE,
    VampVAE,
    ZooRun,
)

DEAF = 0.0
UNTIL_DEAD = 1200
"""Steps in which what dies slowly is dead."""
PLAIN = ZooRun("", "plain", SmallVAE)


def zoo(seeds: int) -> list[ZooRun]:
    """Every case, `seeds` times."""
    cases = [*_plain(), *_not_asked(), *_floors(), *_priors(), *_parts(), *_decoders(), *_nothing()]
    return [replace(one, seed=seed) for one in cases for seed in range(seeds)]


def _plain() -> list[ZooRun]:
    def case(name: str, **changes: object) -> ZooRun:
        return replace(PLAIN, case=name, **changes)  # type: ignore[arg-type]

    return [
        case("plain VAE, beta 1"),
        case("plain VAE, beta 50", beta=50.0, collapses=True),
        case("plain VAE, batch size 1", batch_rows=1, steps=800),
        case("plain VAE, batch size 1, beta 50", batch_rows=1, steps=800, beta=50.0, collapses=True),
        case("plain VAE, likelihood divided by 784", likelihood_scale=1 / 784),
        case("plain VAE, 128 dimensions for 3 factors", latent_dim=128),
        case("plain VAE, decoder deaf from 90 % of the run", deaf_from=0.9, collapses=True),
        case("plain VAE, long run", steps=2000),
    ]


def _not_asked() -> list[ZooRun]:
    """Without a likelihood, nobody can know."""
    silent = replace(PLAIN, family="no likelihood offered", asks="unknown", offers_likelihood=False, deaf_from=DEAF)
    return [
        replace(silent, case="BN-VAE, deaf decoder, no likelihood offered", model=BatchNormVAE, collapses=True),
        replace(silent, case="free bits 0.5, deaf decoder, no likelihood offered", free_bits=0.5, collapses=True),
        replace(silent, case="decoder deaf from half of the run, no likelihood offered", deaf_from=0.5, collapses=True,
                free_bits=0.5),
        replace(silent, case="healthy, no likelihood offered", deaf_from=2.0),
    ]  # fmt: skip


def _floors() -> list[ZooRun]:
    """Posteriors whose KL cannot fall to nothing, whatever they carry."""
    return [
        replace(PLAIN, case=f"{name}{', deaf decoder' if deaf else ''}", family=name, model=model,
                deaf_from=DEAF if deaf else 2.0, collapses=deaf)
        for name, model in (("BN-VAE", BatchNormVAE), ("delta-VAE", DeltaVAE))
        for deaf in (False, True)
    ]  # fmt: skip


def _priors() -> list[ZooRun]:
    families = (
        ("learned prior", LearnedPriorVAE, 50.0),
        ("VampPrior", VampVAE, 200.0),
        ("conditional", ConditionalVAE, 50.0),
    )
    return [
        replace(PLAIN, case=f"{name}, beta {beta:g}", family=name, model=model, beta=beta, collapses=beta > 1.0,
                source=planted.classes if model is ConditionalVAE else planted.factors,
                steps=UNTIL_DEAD if model is VampVAE and beta > 1.0 else PLAIN.steps)
        for name, model, too_much in families
        for beta in (1.0, too_much)
    ]  # fmt: skip


def _parts() -> list[ZooRun]:
    ladder = replace(PLAIN, family="layers and subgroups", model=LadderVAE)
    return [
        replace(ladder, case="ladder, both layers alive", beta=0.2),
        replace(ladder, case="ladder, upper layer at beta 20", beta=20.0, asks="a part", part="layer z2"),
        replace(ladder, case="q is the prior for half of the rows", model=HalfBlindVAE, source=planted.classes,
                asks="a part", part="group left out"),
    ]  # fmt: skip


def _decoders() -> list[ZooRun]:
    image = replace(PLAIN, family="convolutional", model=ImageVAE, source=planted.images)
    series = replace(PLAIN, family="autoregressive", model=SeriesVAE, source=planted.series)
    return [
        replace(image, case="images, beta 0.5", beta=0.5),
        replace(image, case="images, beta 100", beta=100.0, collapses=True),
        replace(series, case="series, beta 0.1", beta=0.1),
        replace(series, case="series, beta 20", beta=20.0, collapses=True),
    ]


def _nothing() -> list[ZooRun]:
    noise = replace(PLAIN, family="noise", source=planted.noise)
    return [
        replace(noise, case="noise, beta 2", beta=2.0, asks="nothing to encode", collapses=True, steps=UNTIL_DEAD),
        replace(noise, case="noise, beta 0.2, encoded all the same", beta=0.2),
    ]
