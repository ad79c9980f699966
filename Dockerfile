# Millrace without the embedded engines: `docker build -t millrace:0.1.0 .` (docs/deploy.md says more).
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

# Run-time dependencies, without the workspace of the embedded engines and chdb (566 MB), the embedded ClickHouse.
# The other optional packages are the native libraries of this platform. The lock file is reduced to the installed
# packages, so that it is the list of contents.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm pkg delete workspaces optionalDependencies.chdb devDependencies scripts bin \
    && npm ci --omit=dev \
    && npm install --package-lock-only \
    && npm sbom --sbom-format=spdx > sbom.spdx.json
COPY scripts/prune-native-libraries.mjs scripts/
RUN node scripts/prune-native-libraries.mjs

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm pkg delete workspaces optionalDependencies.chdb && npm ci
COPY . .
RUN node node_modules/typescript/bin/tsc && node scripts/image-files.mjs image

FROM ${NODE_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Millrace" \
      org.opencontainers.image.description="Scores events with machine-learning models while they stream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Package managers are not needed at run time. Code of a project imports `millrace` from wherever it is mounted.
# Volumes take the owner of the folders they are mounted on.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack \
           /usr/local/bin/yarn /usr/local/bin/yarnpkg /opt/yarn* \
    && mkdir /node_modules && ln -s /app /node_modules/millrace \
    && install -d -o 1000 -g 1000 /var/lib/millrace /var/lib/millrace/models /var/lib/millrace/files
WORKDIR /app
COPY --from=dependencies /app/package.json /app/package-lock.json /app/sbom.spdx.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/image/app ./
COPY --from=build /app/image/project /project
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=8080 \
    MILLRACE_PROJECT=/project \
    DATA_DIR=/var/lib/millrace \
    MODELS_DIR=/var/lib/millrace/models \
    FILES_DIR=/var/lib/millrace/files
USER 1000:1000
EXPOSE 8080
# Live, not ready: a process that waits for an unavailable engine needs no restart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["node", "scripts/probe.mjs", "/health/live"]
# Node is process 1: it handles SIGTERM and SIGINT from its first moment on, and waits for every child it starts.
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["serve"]
