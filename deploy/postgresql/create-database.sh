#!/bin/bash
# Run once by PostgreSQL's image, on an empty data folder: a role that owns its database and may nothing else.
# Afterwards nobody can log in as the superuser but from inside this container, where no password is asked for.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set password `cat /run/countersign/database_password`
CREATE ROLE countersign LOGIN PASSWORD :'password';
CREATE DATABASE countersign OWNER countersign;
REVOKE ALL ON DATABASE countersign FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL
