"""A pytest plugin: each process of a parallel run uses a PostgreSQL of its own, as script/run_tests.py has started it.

In a shared one the transactions of one process would look to the other as still running, and what waits for the oldest
of them (sealing the audit trail) would wait for another test.
"""

import os

# "gw0", "gw1", …: set by pytest-xdist, before Django's settings are read.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["DATABASE_URL"] = os.environ["OWN_DATABASES"].split()[int(worker.removeprefix("gw"))]
