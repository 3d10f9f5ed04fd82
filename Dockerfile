# Countersign's image: one image for the web server, the worker and every command of manage.py.
#   docker build --tag countersign .
# tests/operations/test_image.py does these steps in a folder, so it goes on working where there is no Docker.

# --- everything is made here, and nothing of the making is in the image -----------------------------

FROM python:3.13-slim-trixie AS build

# The programs of a backup. Their package wants Perl for a wrapper that we do not use, so only they are copied below.
# Versions are Debian stable's: what changes there is security.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client-17

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/countersign

# Only what these requirements pin, by hash; of wheels, so that no compiler is needed. Bytecode is made below, of the
# modules that are used. What we never use goes, to keep the image small: the libraries' translations into languages that
# our pages do not have (20 MB), the decoder of a picture format that we do not take, tests, sources of stubs.
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/countersign/venv \
    && python -m pip --python /opt/countersign/venv/bin/python install --quiet --no-compile --only-binary :all: --require-hashes --requirement requirements.txt \
    && find /opt/countersign/venv -path '*/LC_MESSAGES/*' -type f ! -path '*/locale/en*' -delete \
    && find /opt/countersign/venv -type f \( -name '*avif*.so*' -o -name '*.po' -o -name '*.pyi' \) -delete \
    && find /opt/countersign/venv -type d -name tests -prune -exec rm -r {} + \
    && rm requirements.txt

COPY manage.py ./
COPY config ./config
COPY templates ./templates
COPY static ./static
COPY apps ./apps

# The settings want secrets. This one is made here, signs nothing, and is gone with the command. When the libraries' static
# files are collected, their sources are of no more use. We have no pages of REST framework.
# At the end everybody may read all of it: a checkout under umask 077 would give an image that its own account cannot read.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
    && export SECRET_KEY DATABASE_URL=postgresql://nobody@localhost/nothing STATIC_ROOT=/opt/countersign/collected \
    && /opt/countersign/venv/bin/python manage.py collectstatic --noinput --verbosity 0 --ignore rest_framework \
    && find /opt/countersign/venv -path '*/site-packages/*/static/*' -type f -delete \
    && chmod -R a+rX /opt/countersign

# --- the image ----------------------------------------------------------------------------------

FROM python:3.13-slim-trixie

# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libpq5 && rm -rf /var/lib/apt/lists/*

# A fixed number, for the owner of volumes. The account owns nothing but them.
RUN groupadd --gid 10001 countersign \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin countersign \
    && install --directory --owner 10001 --group 10001 /var/lib/countersign /run/countersign

COPY --from=build /usr/lib/postgresql/17/bin/pg_dump /usr/lib/postgresql/17/bin/pg_restore /usr/local/bin/
# Are the libraries there that they need?
RUN pg_dump --version && pg_restore --version
COPY --from=build /opt/countersign /opt/countersign

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A self-hosted OAuth 2 authorization server" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION

# Two arenas are enough for so few threads, and each costs memory.
ENV PATH=/opt/countersign/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    HOST=0.0.0.0 \
    PORT=8000 \
    VAR_DIR=/var/lib/countersign \
    STATIC_ROOT=/opt/countersign/collected

WORKDIR /opt/countersign

# Loads everything once: what cannot be loaded fails here, and the bytecode of what was loaded is kept, Python's own
# library included, whose image has none.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
    && export SECRET_KEY DATABASE_URL=postgresql://nobody@localhost/nothing ENVIRONMENT=development \
    && python manage.py check \
    && python -c 'import config.wsgi, granian.cli, granian.server, apps.operations.probe, apps.operations.worker'

# From here on nothing is written but in volumes.
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Of the web server; a worker's is `python -m apps.operations.probe worker`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "apps.operations.probe", "web"]
CMD ["python", "manage.py", "serve"]
