# Images of the server, from the static binary that make build has put into bin/:
#
#   make build
#   docker build -t sandbox-agent .                  # the server and its mock agent alone
#   docker build -t sandbox-agent:node --target node .   # with Node.js and git, for agents from npm
#
# The token is required: -e SANDBOX_AGENT_TOKEN=..., or a secret and --token-file.

ARG NODE_IMAGE=node:24-bookworm

FROM ${NODE_IMAGE} AS node
COPY bin/sandbox-agent /usr/local/bin/sandbox-agent
COPY --chown=1000:1000 release/rootfs/data /data
COPY --chown=1000:1000 release/rootfs/workspace /workspace
ENV XDG_DATA_HOME=/data
WORKDIR /workspace
USER 1000:1000
VOLUME /data
EXPOSE 2468
HEALTHCHECK --interval=30s --timeout=5s CMD ["sandbox-agent", "health"]
ENTRYPOINT ["sandbox-agent"]
CMD ["server", "--host", "0.0.0.0"]

FROM scratch AS server
COPY bin/sandbox-agent /bin/sandbox-agent
COPY --chown=65532:65532 release/rootfs /
ENV PATH=/bin HOME=/workspace XDG_DATA_HOME=/data
WORKDIR /workspace
USER 65532:65532
VOLUME /data
EXPOSE 2468
HEALTHCHECK --interval=30s --timeout=5s CMD ["/bin/sandbox-agent", "health"]
ENTRYPOINT ["/bin/sandbox-agent"]
CMD ["server", "--host", "0.0.0.0"]
