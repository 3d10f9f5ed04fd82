# Runs make_secrets.py for docker-compose.yml. An image of its own: Countersign's changes with each release, and what
# everything else depends on must not be made anew then.
FROM python:3.13-slim-trixie
# Readable whatever the umask of the checkout was.
COPY --chmod=0444 make_secrets.py /make_secrets.py
ENTRYPOINT ["python", "/make_secrets.py"]
