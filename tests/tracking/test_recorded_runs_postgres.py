"""The same SQL reads MLflow's tables in PostgreSQL."""

from __future__ import annotations

import pytest

from seqsetvae.tracking.read.run_reader import open_runs
from seqsetvae.tracking.read.sql_runs import SqlRuns
from tests.tracking.test_follow import check as check_follower
from tests.tracking.test_recorded_runs import check
from tests.tuning.conftest import database, postgres  # noqa: F401


@pytest.mark.slow
def test_postgresql(database):  # noqa: F811
    uri = database("histories")
    check(uri, "exp")
    with open_runs(uri) as store:
        assert isinstance(store, SqlRuns)
        password = uri.split(":")[2].split("@")[0]
        assert password not in store.read(store.listing()[0].run_id).store


@pytest.mark.slow
def test_a_run_in_postgresql_is_followed(database):  # noqa: F811
    check_follower(database("followed"))
