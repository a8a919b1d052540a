# syntax=docker/dockerfile:1
# A serving image: no torch, no compiler, no root.
#   docker build -t downshift . && docker run --rm -p 8000:8000 downshift
#   docker run --rm -p 8000:8000 -v "$PWD/model.onnx:/model.onnx:ro" downshift serve /model.onnx --host 0.0.0.0

FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ENV PIP_NO_CACHE_DIR=1
RUN pip wheel --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/downshift \
 && /opt/downshift/bin/pip install --constraint .ci/constraints.txt /wheels/*.whl \
 && /opt/downshift/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
# A volume mounted on /cache takes its owner along, and keeps profiles from one container to the next.
RUN useradd --create-home --uid 10001 downshift && install --directory --owner=downshift /cache
COPY --from=build /opt/downshift /opt/downshift
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
