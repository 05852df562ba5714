# The accelerator decides which jax is installed: cpu | tpu | cuda12 | cuda13 (the last needs a driver of 580 or newer).
FROM python:3.12-slim
ARG ACCEL=cuda12

# The host's GPU driver is mounted below /usr/local/nvidia; jax brings the rest of CUDA. JAX_PLATFORMS is the launcher's.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    JAXBANDIT_CACHE=/var/cache/jaxbandit \
    MPLCONFIGDIR=/var/cache/jaxbandit/matplotlib \
    HYPERTUNE=/var/hypertune \
    PYTHONUNBUFFERED=1

# Dependencies first, with an empty package in place of ours: a change of the source does not install them again.
WORKDIR /src
COPY pyproject.toml scripts/constraints.txt ./
RUN case "$ACCEL" in \
        cpu) extras=vertex,sklearn ;; \
        tpu | cuda12 | cuda13) extras="vertex,sklearn,$ACCEL" ;; \
        *) echo "ACCEL is '$ACCEL'; allowed: cpu, tpu, cuda12, cuda13" >&2; exit 1 ;; \
    esac \
    && mkdir jaxbandit && touch README.md LICENSE jaxbandit/__init__.py \
    && pip install --no-cache-dir -c constraints.txt hatchling \
    && pip install --no-cache-dir -c constraints.txt --no-build-isolation ".[$extras]"
COPY README.md LICENSE ./
COPY jaxbandit jaxbandit
RUN pip install --no-cache-dir --no-deps --no-build-isolation --force-reinstall . && pip check

# Any user may write the cache, below the directory that relative paths start from, and the metric file of a trial.
WORKDIR /work
RUN mkdir -p "$JAXBANDIT_CACHE" "$HYPERTUNE" && chmod 1777 . "$JAXBANDIT_CACHE" "$HYPERTUNE"

# Root surely may write where Vertex AI mounts buckets. Whether another user may has not been tried there: elsewhere,
# --build-arg RUN_AS=1000 (or any number) is the safer choice.
ARG RUN_AS=0
USER $RUN_AS
ENTRYPOINT ["jaxbandit"]
CMD ["run"]
