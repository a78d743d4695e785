# zv_jax for CPUs, NVIDIA GPUs or TPUs; the program zv is on the PATH.
#
#   docker build --tag=zv:cpu .
#   docker build --build-arg=EXTRA=gpu --tag=zv:gpu .
#   docker build --build-arg=EXTRA=tpu --tag=REGISTRY/zv:tpu .
#
# PYTHON is one of the versions that have a lock file. Drivers come from the host: for GPUs run with
# --gpus=all. gs:// folders work where the machine has credentials for them.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm
ARG EXTRA=
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /zv

# What changes seldom first: all packages of the lock file, with their hashes.
COPY requirements-py*.lock ./
RUN version=$(python -c 'import sys; print("%d%d" % sys.version_info[:2])') \
    && cp "requirements-py$version.lock" packages.lock \
    && pip install --no-cache-dir --require-hashes -r packages.lock \
    && sed -n 's/^\([A-Za-z0-9_.-]*==[^ ]*\).*/\1/p' packages.lock >versions.txt

# The packages of extras have no hashes here; those of the lock keep their versions.
COPY . .
RUN pip install --no-cache-dir --no-build-isolation -c versions.txt -e ".[gcs${EXTRA:+,$EXTRA}]"

ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["zv", "--help"]
