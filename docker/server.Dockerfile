# The server as an image: docs/deployment.md. From the root of the repository:
#
#     docker build --file docker/server.Dockerfile --tag posewire-server:0.1.0-cuda .
#     docker build --file docker/server.Dockerfile --tag posewire-server:0.1.0-cpu --build-arg VARIANT=cpu \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# CUDA comes with torch's wheels; of the host, a container needs NVIDIA's driver and its container toolkit only.

# Debian 12, whose Python 3.11 is the one that the tests run with. A digest names the same bytes for ever.
ARG BASE=docker.io/library/debian:bookworm-20250630-slim@sha256:6ac2c08566499cc2415926653cf2ed7c3aedac445675a013cc09469c9e118fdd

FROM ${BASE} AS python
# The base is as old as its date; what has been mended since comes here.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get upgrade --yes \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends libgomp1 python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*

# By itself, so that another version of posewire with the same requirements finds the next stage as it was.
FROM python AS requirements
# cuda, or cpu (with OpenVINO).
ARG VARIANT=cuda
COPY pyproject.toml docker/requirements.py /
RUN python3 /requirements.py "${VARIANT}" /pyproject.toml > /requirements.txt

FROM python AS dependencies
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /build
# pip lives beside the environment that is shipped, not in it.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/posewire
COPY constraints.txt ./
COPY --from=requirements /requirements.txt ./
# A further package index, for torch without CUDA; the general one has it with CUDA only, 4 GB that a CPU never uses.
ARG TORCH_INDEX=
# What only compilers need goes again: headers, static libraries, and Triton (1 GB), which compiles for torch.compile.
RUN --mount=type=cache,target=/root/.cache/pip \
    /pip/bin/pip --python /opt/posewire/bin/python install --only-binary :all: \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} --constraint constraints.txt --requirement requirements.txt \
    && cd /opt/posewire/lib/python3*/site-packages \
    && rm -rf triton torch/include torch/share openvino/include \
    && find . -path '*nvidia*' -type d -name include -prune -exec rm -rf {} + \
    && find . -name '*.a' -delete

FROM dependencies AS project
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    /pip/bin/pip --python /opt/posewire/bin/python install --no-deps --target /opt/posewire-code .

FROM python
LABEL org.opencontainers.image.title="posewire" \
      org.opencontainers.image.description="Real-time, multi-person pose tracking over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0"
# Fixed numbers, so that files on the host can be given to it. Volumes take over the owner of these folders.
RUN groupadd --gid 10001 posewire \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/posewire --shell /usr/sbin/nologin posewire \
    && install --directory --owner 10001 --group 10001 --mode 700 /var/lib/posewire /var/cache/posewire
COPY --from=dependencies /opt/posewire /opt/posewire
COPY --from=project /opt/posewire-code /opt/posewire-code
RUN echo /opt/posewire-code > "$(echo /opt/posewire/lib/python3*/site-packages)/posewire-code.pth" \
    # What was taken away is not missed.
    && /opt/posewire/bin/python -c "import posewire_server.server"

ENV PATH=/opt/posewire-code/bin:/opt/posewire/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/cache/posewire \
    POSEWIRE_CACHE=/var/cache/posewire \
    XDG_STATE_HOME=/var/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
# The resume key; weights that were pulled.
VOLUME ["/var/lib/posewire", "/var/cache/posewire"]
WORKDIR /var/cache/posewire
USER 10001:10001
EXPOSE 50051 9464
# Settings that differ from the defaults belong into the environment (POSEWIRE_SERVER_...): the check reads them too.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-m", "posewire_server.healthcheck"]
ENTRYPOINT ["posewire"]
CMD ["serve", "--host", "0.0.0.0"]
