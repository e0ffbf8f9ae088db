# docker build -t seqsetvae .                                      on CPUs
# docker build -t seqsetvae:cuda --build-arg TORCH=cuda .          with the CUDA libraries that torch asks for; run with --gpus all
FROM python:3.11-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 GIT_PYTHON_REFRESH=quiet
RUN useradd --uid 1000 --create-home seqsetvae && install --directory --owner seqsetvae /work
COPY requirements.lock /app/

# MLflow's server as compose.yaml starts it: of the version that the trainings have, with what a database and a bucket need.
FROM base AS server
RUN pip install --constraint /app/requirements.lock mlflow 'psycopg[binary]' boto3
USER seqsetvae
WORKDIR /work
EXPOSE 5000
ENTRYPOINT ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]

FROM base AS seqsetvae
ARG TORCH=cpu
# Before the package's code is copied, so that a change of the code installs nothing large again.
RUN if [ "$TORCH" = cpu ]; then \
        pip install --constraint /app/requirements.lock --index-url https://download.pytorch.org/whl/cpu torch; \
    else pip install --constraint /app/requirements.lock torch; fi
COPY pyproject.toml README.md LICENSE /app/
COPY seqsetvae /app/seqsetvae
RUN pip install --constraint /app/requirements.lock '/app[all]'
USER seqsetvae
# What a run writes (mlflow.db, mlruns, outputs) lies where the container's user may write; mount a folder here to keep it.
WORKDIR /work
ENTRYPOINT ["seqsetvae"]
CMD ["--help"]
