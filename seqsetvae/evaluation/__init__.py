"""How good finetuned models are, beside baselines on hand-made features of the same stays."""
