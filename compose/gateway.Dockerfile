# The gateway: HTTP, tokenizing, Redis. No torch, which the build asserts.
#   docker build -f compose/gateway.Dockerfile -t penstock-gateway .

FROM python:3.11-slim AS source
WORKDIR /app
COPY shared shared
COPY services/__init__.py services/
COPY services/preprocess services/preprocess
COPY services/gateway services/gateway
COPY models models
# Readable for any user, whatever the checkout's umask or the program that saved the weights.
# The gateway reads configurations and tokenizers, no weights.
RUN find models -name '*.safetensors' -delete && chmod -R a+rX . && python -m compileall -q .

FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
WORKDIR /install
# What is installed first is what changes least: our own code is copied after it.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        -c constraints.txt . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin penstock \
    && install -d -o penstock -g penstock /var/cache/huggingface
RUN python -c "import importlib.util as u, sys; \
heavy = [m for m in ('torch', 'transformers') if u.find_spec(m)]; \
sys.exit(f'the gateway must not carry {heavy}' if heavy else 0)"
# What a model.py of yours imports: pip's words. After ours, which no change of them installs again.
ARG EXTRA_PACKAGES
RUN if [ -n "$EXTRA_PACKAGES" ]; then \
        pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
            -c constraints.txt $EXTRA_PACKAGES; \
    fi
WORKDIR /app
COPY --from=source /app ./
RUN python -c "import services.gateway.app"

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/var/cache/huggingface \
    PENSTOCK_LOG_FORMAT=json \
    PENSTOCK_GATEWAY_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
# Alive, not ready: whoever restarts what is unhealthy must not do so because Redis is away.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen as get; get('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "services.gateway"]
