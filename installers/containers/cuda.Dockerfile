# The package for NVIDIA GPUs: PyPI's torch brings the CUDA libraries, the host only its driver.
#   docker build --file installers/containers/cuda.Dockerfile --tag swin2sr-ops:cuda .

FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN installers/containers/install.sh wheel /wheels

FROM python:3.13-slim
# Triton compiles the launchers of its kernels with a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=installers/containers,target=/steps \
    /steps/install.sh cuda /wheels \
    && useradd --create-home --uid 1000 user
USER 1000
ENV SWIN2SR_OPS_CACHE=/tmp/swin2sr_ops TRITON_CACHE_DIR=/tmp/triton
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
ENTRYPOINT ["swin2sr-ops"]
CMD ["--help"]
