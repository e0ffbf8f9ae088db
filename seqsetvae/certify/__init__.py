"""Certification: the collapse detector against runs whose answer is known, beside the rule set `source` on the same runs."""
