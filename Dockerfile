# The router for a cluster: `docker build -t sandbox-router .` runs `sandbox-router serve` as a user without rights.
# Tags move. For the same image from the same commit, name both bases by digest, and let BuildKit set the times of files:
#   --build-arg BUILD_IMAGE=…@sha256:… --build-arg RUN_IMAGE=…@sha256:… --build-arg SOURCE_DATE_EPOCH=0 --output type=image,rewrite-timestamp=true
ARG BUILD_IMAGE=node:24.21.0-bookworm-slim
ARG RUN_IMAGE=gcr.io/distroless/nodejs24-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

# Installed anew rather than pruned: pruning leaves parts of what it should remove.
FROM ${BUILD_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The package "node" carries the runtime of checkouts; the image has its own.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/node node_modules/node-bin-*

FROM ${RUN_IMAGE}
WORKDIR /app
COPY --from=dependencies /app/package.json ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY LICENSE ./
ENV NODE_ENV=production
EXPOSE 8080 9090
USER nonroot
ENTRYPOINT ["/nodejs/bin/node", "--max-semi-space-size=16", "dist/cli/main.js"]
CMD ["serve"]
