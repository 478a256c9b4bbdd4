# Any image with Python 3.11 or newer, or of Debian or Ubuntu: docs/docker.md.
ARG BASE=python:3.12-slim
FROM ${BASE}

# PyTorch's CPU builds (2.15.0+cpu goes before 2.15.0); empty: PyPI's, with CUDA's libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras to install, in brackets: [onnx,track]
ARG EXTRAS=

# hadolint ignore=DL3008
RUN command -v python3 > /dev/null \
    || { apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }

RUN python3 -m venv /opt/esol
ENV PATH=/opt/esol/bin:$PATH

WORKDIR /opt/source
# PyTorch first: this layer stays when only the source changes.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY esol esol
COPY configs configs
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS}"

RUN useradd --create-home --uid 10001 esol && install -d -o esol /data
USER 10001
WORKDIR /data
# Downloaded weights are kept where the data is, whoever the user is.
ENV HF_HOME=/data/.cache/huggingface
ENTRYPOINT ["esol"]
CMD ["--help"]
