"""The live dashboard: what is known of a run computed once (view.py), shown in the terminal or on a web page by thin shells."""
