"""All drawing, and the only home of matplotlib: runs, collapse, studies, latents, calibration.

Figures are drawn from plain values and arrays; what training logs is drawn here as well, and handed in as a function by whoever puts the
two together.
"""
