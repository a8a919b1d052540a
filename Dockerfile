# syntax=docker/dockerfile:1
# A serving image: no torch, no compiler, no root. The default computes on the CPU, the target `cuda` on NVIDIA GPUs too.
#   docker build -t downshift . && docker run --rm -p 8000:8000 downshift
#   docker run --rm -p 8000:8000 -v "$PWD/model.onnx:/model.onnx:ro" downshift serve /model.onnx --host 0.0.0.0
#   docker build --target cuda -t downshift:cuda . && docker run --rm --gpus all -p 8000:8000 downshift:cuda

FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ENV PIP_NO_CACHE_DIR=1
RUN pip wheel --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/downshift \
 && /opt/downshift/bin/pip install --constraint .ci/constraints.txt /wheels/*.whl

FROM build AS build-cuda
RUN /opt/downshift/bin/pip install --constraint .ci/constraints.txt "$(echo /wheels/*.whl)[cuda]" \
 && /opt/downshift/bin/pip uninstall --yes pip setuptools

FROM build AS build-cpu
# onnxruntime's GPU providers are more than half of everything, and cannot start without CUDA's libraries.
RUN find /opt/downshift -name 'libonnxruntime_providers_cuda.so' -delete \
 && find /opt/downshift -name 'libonnxruntime_providers_tensorrt.so' -delete \
 && /opt/downshift/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim AS base
# A volume mounted on /cache takes its owner along, and keeps profiles from one container to the next.
RUN useradd --create-home --uid 10001 downshift && install --directory --owner=downshift /cache
ENV PATH=/opt/downshift/bin:$PATH PYTHONUNBUFFERED=1 DOWNSHIFT_CACHE_DIR=/cache
USER downshift
WORKDIR /home/downshift
EXPOSE 8000
STOPSIGNAL SIGTERM
# The start period covers profiling every sub-net on the first start.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request as http; http.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]
ENTRYPOINT ["downshift"]
CMD ["serve", "cifar10-resnet20", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS cuda
COPY --from=build-cuda /opt/downshift /opt/downshift
# What the NVIDIA container runtime hands in: CUDA (compute) and NVML (utility).
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM base AS cpu
COPY --from=build-cpu /opt/downshift /opt/downshift
