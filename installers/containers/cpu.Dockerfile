# The package for CPUs, without torch: our own kernels in C compute, built in the first stage.
#   docker build --file installers/containers/cpu.Dockerfile --tag swin2sr-ops:cpu .

FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN installers/containers/install.sh wheel /wheels

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=installers/containers,target=/steps \
    /steps/install.sh cpu /wheels \
    && useradd --create-home --uid 1000 user
USER 1000
# Writable for whatever user the container runs as.
ENV SWIN2SR_OPS_CACHE=/tmp/swin2sr_ops
WORKDIR /data
ENTRYPOINT ["swin2sr-ops"]
CMD ["--help"]
