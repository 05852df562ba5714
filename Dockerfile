# The accelerator decides which jax is installed: cpu | tpu | cuda12 | cuda13.
FROM python:3.12-slim
ARG ACCEL=cuda12
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY jaxbandit jaxbandit
RUN if [ "$ACCEL" = cpu ]; then extra=""; else extra="[$ACCEL]"; fi \
    && pip install --no-cache-dir ".$extra"
ENTRYPOINT ["jaxbandit"]
CMD ["run"]
