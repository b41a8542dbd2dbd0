# SPDX-License-Identifier: Apache-2.0
# The same two steps as on a bare machine:
#   docker build -t lathe . && docker run --rm -v "$PWD:/work" lathe demo
FROM debian:12
WORKDIR /lathe
# The packages first: they change seldom, so that their layer is kept.
COPY dev ./
COPY tools/packages.txt ./tools/
COPY tools/dev ./tools/dev
RUN ./dev setup && rm -rf /var/lib/apt/lists/*
COPY . .
RUN ./dev build
ENV PATH="/lathe/build:${PATH}"
WORKDIR /work
ENTRYPOINT ["lathe"]
