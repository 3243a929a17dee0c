# The server as an image: docs/deployment.md. From the root of the repository:
#
#     docker build --file docker/server.Dockerfile --tag posewire-server:0.1.0-cuda .
#     docker build --file docker/server.Dockerfile --tag posewire-server:0.1.0-cpu --build-arg VARIANT=cpu \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# CUDA comes with torch's wheels; the host needs only NVIDIA's driver and container toolkit.

# Debian 12, whose Python 3.11 the tests run with. The digest pins the exact image.
ARG BASE=docker.io/library/debian:bookworm-20250630-slim@sha256:6ac2c08566499cc2415926653cf2ed7c3aedac445675a013cc09469c9e118fdd

FROM ${BASE} AS python
# Security updates since the date of the base image.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get upgrade --yes \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends libgomp1 python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*

# A separate stage, so that the next one stays cached while the requirements are the same.
FROM python AS requirements
# cuda, or cpu (with OpenVINO).
ARG VARIANT=cuda
COPY pyproject.toml docker/requirements.py /
RUN python3 /requirements.py "${VARIANT}" /pyproject.toml > /requirements.txt

FROM python AS dependencies
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /build
# pip is installed outside of the environment that is shipped.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/posewire
COPY constraints.txt ./
COPY --from=requirements /requirements.txt ./
# An extra package index, for torch without CUDA; PyPI has it only with CUDA, 4 GB that a CPU never uses.
ARG TORCH_INDEX=
# Remove what only compilers need: headers, static libraries, and Triton (1 GB), the compiler of torch.compile.
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
# Fixed user and group ids, so that files on the host can belong to them. Volumes inherit the owner of these folders.
RUN groupadd --gid 10001 posewire \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/posewire --shell /usr/sbin/nologin posewire \
    && install --directory --owner 10001 --group 10001 --mode 700 /var/lib/posewire /var/cache/posewire
COPY --from=dependencies /opt/posewire /opt/posewire
COPY --from=project /opt/posewire-code /opt/posewire-code
RUN echo /opt/posewire-code > "$(echo /opt/posewire/lib/python3*/site-packages)/posewire-code.pth" \
    # Check that nothing removed is needed.
    && /opt/posewire/bin/python -c "import posewire_server.server"

ENV PATH=/opt/posewire-code/bin:/opt/posewire/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/cache/posewire \
    POSEWIRE_CACHE=/var/cache/posewire \
    XDG_STATE_HOME=/var/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
# The resume key, and downloaded weights.
VOLUME ["/var/lib/posewire", "/var/cache/posewire"]
WORKDIR /var/cache/posewire
USER 10001:10001
EXPOSE 50051 9464
# Put settings that differ from the defaults into the environment (POSEWIRE_SERVER_...), where the check reads them too.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-m", "posewire_server.healthcheck"]
ENTRYPOINT ["posewire"]
CMD ["serve", "--host", "0.0.0.0"]
