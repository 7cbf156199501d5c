# Two images: `tallyback` (Airflow with Tallyback in it, for every Airflow service) and `sftp` (OpenSSH, keys only).
# Bases are pinned by tag. For a deployment pin them by digest too: `docker buildx imagetools inspect <image>` shows it,
# and `docker compose config --lock-image-digests > compose.lock.yml` does so for the images of docker-compose.yml.

FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy
COPY requirements/bootstrap.txt requirements/deploy.txt /build/requirements/
RUN python -m venv /opt/venv \
 && pip install --no-cache-dir --require-hashes -r /build/requirements/bootstrap.txt \
 && uv pip sync --no-cache --python /opt/venv/bin/python --require-hashes --compile-bytecode /build/requirements/deploy.txt
COPY . /opt/tallyback
RUN uv pip install --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation --editable /opt/tallyback

FROM python:3.11.14-slim-bookworm AS tallyback
RUN groupadd --gid 50000 tallyback \
 && useradd --uid 50000 --gid 50000 --create-home --shell /usr/sbin/nologin tallyback \
 && install -d -o tallyback -g tallyback /opt/airflow /opt/airflow/logs /var/lib/tallyback
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /opt/tallyback /opt/tallyback
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    AIRFLOW_HOME=/opt/airflow \
    PYTHONUNBUFFERED=1 \
    GX_ANALYTICS_ENABLED=false
WORKDIR /opt/tallyback
USER tallyback
CMD ["airflow", "version"]

FROM debian:12.12-slim AS sftp
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openssh-server \
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
 && groupadd --gid 50001 sftp \
 && useradd --uid 50001 --gid 50001 --no-create-home --home-dir /files --shell /usr/sbin/nologin partner \
 && install -d /run/sshd /srv/sftp
COPY deploy/sshd_config /etc/ssh/sshd_config
COPY deploy/sftp-entrypoint.sh /usr/local/bin/sftp-entrypoint.sh
ENTRYPOINT ["/bin/sh", "/usr/local/bin/sftp-entrypoint.sh"]
