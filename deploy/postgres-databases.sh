#!/bin/sh
# Run once by the postgres image, on an empty volume: one database and one login each for Airflow and for the warehouse.
# Neither login is a superuser; the warehouse's may create roles, as its migrations do.
set -eu
: "${AIRFLOW_DB_PASSWORD:?}" "${TALLYBACK_DB_PASSWORD:?}"
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set airflow_password="$AIRFLOW_DB_PASSWORD" --set tallyback_password="$TALLYBACK_DB_PASSWORD" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE tallyback LOGIN CREATEROLE PASSWORD :'tallyback_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE tallyback OWNER tallyback;
SQL
