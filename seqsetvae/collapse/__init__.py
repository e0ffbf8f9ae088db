"""Posterior collapse: statistics + thresholds -> `Diagnosis(level, reasons, evidence)`. Pure: no tensors, no files, no Lightning.

A collapsed posterior *is* the prior (mu = 0, sigma^2 = 1), so a small variance marks a dimension that is used, and a large KL proves
no information: a constant shift of mu pays for it and carries nothing. The default rules therefore ask whether information gets
into the latents (KL, active units, mutual information) and out of them again (decoder use).

yellow  one indicator is out of range
orange  two are, or the decoder ignores the latents, whatever the posterior looks like
red     confirmed over consecutive checks

Healthy runs look collapsed for a while. What holds red back is listed at :meth:`seqsetvae.collapse.detector.Detector._objection`.
"""
