# syntax=docker/dockerfile:1
# The server alone: no model and no database of its own, Gemini on Vertex AI and Cloud SQL's connector inside.
#
#   docker build -t tandem --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8080:8080 -e DATABASE_URL -e FAST_MODEL -e SLOW_MODEL -e ALLOW_ANONYMOUS tandem
#
# A build that must be the same next year names the base by its digest:
#   --build-arg PYTHON=python:3.13-slim-trixie@sha256:...
ARG PYTHON=python:3.13-slim-trixie


# Everything that is not ours. It changes with a lock file only, and so does its layer of the image.
FROM ${PYTHON} AS dependencies
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/locks/image.lock deploy/locks/server.lock locks/
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv tools \
    && python -m venv --without-pip /opt/tandem \
    && tools/bin/python -m pip install --require-hashes --no-deps --only-binary :all: -r locks/image.lock \
    && tools/bin/python -m pip --python /opt/tandem/bin/python install --no-compile \
        --require-hashes --no-deps --only-binary :all: -r locks/server.lock
COPY deploy/image/prune.py deploy/image/prune.toml image/
# The compiled files name no time: they hold whatever a builder or an unpacker does to the sources' times.
RUN find /opt/tandem/bin -type f -delete \
    && tools/bin/python image/prune.py image/prune.toml /opt/tandem/lib/python3*/site-packages \
    && tools/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/tandem/lib


# Tandem itself, as a wheel, and the list of everything that is inside (CycloneDX, without Debian's packages).
FROM dependencies AS project
COPY pyproject.toml ./
COPY app app
COPY clients/js/src clients/js/src
COPY deploy/image/tandem.py deploy/image/healthcheck.py image/
RUN tools/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && tools/bin/python -m pip --python /opt/tandem/bin/python install --no-compile --root /project \
        --no-deps --no-index --find-links dist tandem \
    && tools/bin/python -m compileall -q -s /project -p / --invalidation-mode unchecked-hash /project/opt/tandem/lib \
    && cp -R /project/. / \
    && install --mode=0755 image/tandem.py /project/opt/tandem/bin/tandem \
    && install -D --mode=0644 image/healthcheck.py /project/usr/share/tandem/healthcheck.py \
    && tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
        --output-file /project/usr/share/tandem/sbom.cdx.json /opt/tandem/bin/python


FROM ${PYTHON}
# No installer in what runs: it is of no use on a read-only root, and scanners find its vendored packages.
RUN python -m pip uninstall --yes --root-user-action=ignore pip \
    && rm -rf "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
    && groupadd --gid 10001 tandem \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/tandem --shell /usr/sbin/nologin tandem \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tandem
COPY --from=dependencies /opt/tandem /opt/tandem
COPY --from=project /project /

ENV PATH=/opt/tandem/bin:$PATH \
    HOME=/var/lib/tandem \
    HOST=0.0.0.0 \
    PORT=8080 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TANDEM_HOME=/var/lib/tandem
WORKDIR /
VOLUME ["/var/lib/tandem"]
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/opt/tandem/bin/python", "-IS", "/usr/share/tandem/healthcheck.py"]
ENTRYPOINT ["/opt/tandem/bin/tandem"]
CMD ["serve"]

# Last, so that a new version changes no layer.
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Tandem" \
      org.opencontainers.image.description="One question, a fast and a slow language model, one truthful stream, one audit record." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
