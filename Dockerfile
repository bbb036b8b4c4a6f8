# The command line and the laptop stack. Files are read from and written to the volume /data.
#
#   docker build --tag ops-anomaly .
#   docker run --rm -p 127.0.0.1:8080:8080 ops-anomaly demo
#   docker run --rm --user "$(id -u)" --volume "$PWD:/data" ops-anomaly train --csv cpu.csv

FROM python:3.13-slim AS libraries
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
WORKDIR /build
COPY constraints.txt pyproject.toml ./
# No cache and no bytecode: the latter would add 230 MB to save 5 s of imports. Without its symbols
# jaxlib is 108 MB smaller, which is an eighth of all libraries. The project itself is installed
# without code, for its version and command: the code is in /app, a small layer of its own.
RUN pip install --no-cache-dir --constraint constraints.txt uv \
    && uv venv /libraries \
    && uv pip install --no-cache --python /libraries --constraint constraints.txt \
        --requirements pyproject.toml --extra training --extra local \
    && touch README.md \
    && uv pip install --no-cache --python /libraries --build-constraints constraints.txt \
        --no-deps . \
    && strip --strip-unneeded /libraries/lib/python3.13/site-packages/jaxlib/libjax_common.so

FROM python:3.13-slim
RUN useradd --uid 1000 --no-create-home ops-anomaly && install --directory --owner 1000 /data
COPY --from=libraries /libraries /libraries
COPY . /app
# A home that whoever runs it can write to, for what libraries cache; with --user it is anybody.
ENV PATH=/libraries/bin:$PATH \
    PYTHONPATH=/app:/app/functions \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/app/local/entrypoint.sh"]
CMD ["--help"]
