# syntax=docker/dockerfile:1
# The models of the repository. Build from its root: docker build -f deploy/kubernetes/overlays/dev/models.Dockerfile .
ARG BUSYBOX_IMAGE=busybox:1.37
FROM ${BUSYBOX_IMAGE}
LABEL org.opencontainers.image.title="image-gateway-models" \
      org.opencontainers.image.licenses="Apache-2.0"
# A checkout made with umask 077 is readable by root alone.
COPY --chmod=755 serving_models /models
USER 10001:10001
