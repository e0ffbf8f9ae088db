"""`seqsetvae tune`: Optuna sweeps that avoid posterior collapse, every trial a run in MLflow.

space.py     what is searched: from a trial's parameters to the settings of its run, pure
storage.py   where workers meet
slots.py     which trials are still to be run: none lost, none twice
scoring.py   what a trial is judged by, pure
trial.py     one trial: a pretraining run, watched and ended early
worker.py    a process that runs trials
lead.py      the command: parent run, workers, progress
results.py   what the study has found, and what of it the parent run keeps
"""

from seqsetvae.extras import require

require("tune", "tune")
