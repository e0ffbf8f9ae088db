"""Everything that talks to MLflow, in rooms: each imports those below it only, `compat` none, `connection` that one."""
