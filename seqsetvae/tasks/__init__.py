"""Kinds of tasks: what a head learns, says and is scored by. One small class for each; nothing else asks of which kind a task is."""
