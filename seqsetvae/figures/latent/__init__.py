"""The figures of a trained model: its posterior, a map of it, its reconstructions, one stay.

From plain arrays; who computed them does not matter.
"""
