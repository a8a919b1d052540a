#!/usr/bin/env bash
# Install the V2 clients that the tests in this folder run, each into an environment of its own below the
# folder that is named. What is there already stays. Exits with 1 when one of them cannot be had; the rest
# is installed all the same, and the tests of what is missing are skipped.
set -uo pipefail
mkdir -p "$1" && folder=$(cd "$1" && pwd) && cd "$(dirname "$0")" || exit 1
python=${PYTHON:-python3}
unset PIP_CONSTRAINT PIP_BUILD_CONSTRAINT # of Downshift's own environment
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1

with_requirements() { # NAME: an environment of what NAME.txt lists
  cmp -s "$1.txt" "$folder/$1/.complete" && return
  rm -rf "${folder:?}/$1" \
    && "$python" -m venv "$folder/$1" \
    && "$folder/$1/bin/python" -m pip install --no-deps --no-compile --requirement "$1.txt" \
    && cp "$1.txt" "$folder/$1/.complete"
}

perf_analyzer() { # NVIDIA's load generator: a program inside a wheel, and the two libraries it wants
  local to=$folder/perf_analyzer
  [ -e "$to/.complete" ] && return
  rm -rf "$to" && mkdir -p "$to/lib" "$to/parts" || return
  "$python" -m pip download --no-deps --only-binary :all: --platform manylinux1_x86_64 --dest "$to/parts" \
    tritonclient==2.50.0 \
    && "$python" -m pip download --no-deps --dest "$to/parts" nvidia-cuda-runtime-cu12==12.9.79 || return
  for wheel in "$to"/parts/*.whl; do "$python" -m zipfile -e "$wheel" "$to/parts" || return; done
  mv "$to/parts/tritonclient-2.50.0.data/data/bin/perf_analyzer" "$to" && chmod +x "$to/perf_analyzer" \
    && mv "$to"/parts/nvidia/cuda_runtime/lib/libcudart.so.12 "$to/lib" \
    && (cd "$to/parts" && debian_package libb64-0d) \
    && mv "$to"/parts/usr/lib/*/libb64.so.0d "$to/lib" \
    && rm -r "$to/parts" \
    && LD_LIBRARY_PATH=$to/lib "$to/perf_analyzer" --version >/dev/null 2>&1 \
    && touch "$to/.complete"
}

debian_package() { # NAME: unpack that package here, which takes no root
  apt-get download "$1" >/dev/null 2>&1 \
    || { apt-get update >/dev/null 2>&1 && apt-get download "$1" >/dev/null 2>&1; } || return
  dpkg-deb --extract "$1"_*.deb .
}

status=0
for client in "with_requirements kserve" "with_requirements mlserver" "with_requirements keda" perf_analyzer; do
  $client || { echo "warning: ${client##* } cannot be installed here: its tests will be skipped" >&2; status=1; }
done
exit $status
