# everyframe on a CPU:  docker build -t everyframe .
#   docker run --rm --shm-size 2g -v "$PWD:/data" -w /data everyframe run clip.mp4
# It writes to /tmp, /var/cache/everyframe and /var/lib/everyframe only: the root may be read-only.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The CPU build of PyTorch, and before the sources, so that a change of them does not install it again.
WORKDIR /src
COPY constraints.txt ./
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)"

# src/everyframe holds links to the folders beside it.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
COPY operators operators
COPY policies policies
COPY pipeline pipeline
COPY configs configs
RUN pip install -c constraints.txt ".[openvino,embedded]" \
    && useradd --uid 1000 --create-home everyframe \
    && install -d -m 1777 /var/cache/everyframe \
    && install -d -o everyframe -g everyframe /var/lib/everyframe

# numba keeps compiled code there and refuses to start without a folder it may write to; measured costs lie there too.
# HOME and USER: the container may run as a user who has neither.
ENV NUMBA_CACHE_DIR=/var/cache/everyframe/numba \
    EVERYFRAME_CACHE=/var/cache/everyframe \
    HOME=/tmp \
    USER=everyframe
VOLUME /var/cache/everyframe /var/lib/everyframe

USER everyframe
WORKDIR /tmp
ENTRYPOINT ["everyframe"]
CMD ["--help"]
