"""Imported by Python when it starts, where this folder is in its path: a worker of `tune` is made to die at its fault."""

import json
import os
import sys

if "seqsetvae.tuning.worker" in sys.orig_argv:
    from tests.faults.life import FOR_WORKER, Fault, prepare_to_die

    prepare_to_die(os.getcwd(), Fault(**json.loads(os.environ[FOR_WORKER])))
