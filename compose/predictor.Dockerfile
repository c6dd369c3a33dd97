# The predictor: the model, on a CPU or a GPU.
#   docker build -f compose/predictor.Dockerfile -t penstock-predictor .
#
# On Linux the package index's own torch is the CUDA build, which also runs without a GPU but
# brings gigabytes of libraries for one. For a CPU-only image name an index that has the
# smaller build (the installation page of PyTorch gives its address); it is looked in beside
# pip's own, and its version with a +cpu in it goes before the plain one:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=<address> …

FROM python:3.11-slim AS source
WORKDIR /app
COPY shared shared
COPY services/__init__.py services/
COPY services/predictor services/predictor
COPY models models
# Readable for any user, whatever the checkout's umask or the program that saved the weights.
RUN chmod -R a+rX . && python -m compileall -q .

FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
WORKDIR /install
# What is installed first is what changes least: our own code is copied after it.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        -c constraints.txt '.[predictor,onnx]' \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin penstock \
    && install -d -o penstock -g penstock /var/cache/huggingface
# What a model.py of yours imports: pip's words. After ours, which no change of them installs again.
ARG EXTRA_PACKAGES
RUN if [ -n "$EXTRA_PACKAGES" ]; then \
        pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
            -c constraints.txt $EXTRA_PACKAGES; \
    fi
WORKDIR /app
COPY --from=source /app ./
RUN python -c "import services.predictor.app"

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/var/cache/huggingface \
    PENSTOCK_LOG_FORMAT=json \
    PENSTOCK_OPS_HOST=0.0.0.0 \
    PENSTOCK_OPS_PORT=9000
USER 10001:10001
EXPOSE 9000
# Alive, not ready: a large model takes its time to load.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen as get; get('http://127.0.0.1:9000/livez', timeout=2)"]
CMD ["python", "-m", "services.predictor"]
