#!/usr/bin/env bash
# What a query costs here and in Debian's Prometheus: the same data, the same queries, in turns.
#
#   benches/prometheus.sh [SERIES...]        default 1000 10000 100000; builds the examples first
#   EXAMPLES=FOLDER benches/prometheus.sh    with examples that are built already
#
# Needs prometheus and promtool (Debian: prometheus), python3. For each query: how much CPU the server used, in
# milliseconds a query (all threads, from /proc/PID/task/*/schedstat), the ratio, and whether both gave as many results.
# The servers are asked in turns, so a slower minute of the machine meets both. Loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."
sizes=("$@")
[[ ${#sizes[@]} -gt 0 ]] || sizes=(1000 10000 100000)
examples=${EXAMPLES:-}
if [[ -z $examples ]]; then
    cargo build --release --locked --quiet --example serve --example generate
    examples=./target/release/examples
fi
folder=$(mktemp -d)
ours='' theirs=''
end_servers() {
    for pid in $ours $theirs; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    ours='' theirs=''
}
trap 'end_servers; rm -rf "$folder"' EXIT

wait_for() { # URL PID LOG
    until curl -fsS -o /dev/null "$1" 2>/dev/null; do
        kill -0 "$2" 2>/dev/null || { cat "$3" >&2; exit 1; }
        sleep 0.1
    done
}

for n in "${sizes[@]}"; do
    end=$(($(date +%s) / 15 * 15))
    "$examples/generate" "$n" "$folder/data" --end "$end"
    rm -rf "$folder/tsdb"
    mkdir "$folder/tsdb"
    promtool tsdb create-blocks-from openmetrics "$folder/data" "$folder/tsdb" >/dev/null 2>&1
    printf 'global: {}\n' >"$folder/prometheus.yml"
    prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/tsdb" --log.level=error \
        --storage.tsdb.retention.time=100y --web.listen-address=127.0.0.1:19478 >"$folder/prometheus.log" 2>&1 &
    theirs=$!
    "$examples/serve" "$folder/data" --listen 127.0.0.1:19479 >"$folder/serve.log" 2>&1 &
    ours=$!
    wait_for http://127.0.0.1:19478/-/ready "$theirs" "$folder/prometheus.log"
    wait_for http://127.0.0.1:19479/api/v1/status/buildinfo "$ours" "$folder/serve.log"
    echo "== $n series; here: $(cat "$folder/serve.log")"
    python3 - "$end" "$theirs" "$ours" <<'PY'
import glob, http.client, json, sys, urllib.parse
end, theirs, ours = map(int, sys.argv[1:])
at = end - 433.5
RANGE = {"start": at - 90, "end": at, "step": 10}
QUERIES = [
    ("gauge above a limit", "shop_memory_bytes > 9e8", None),
    ("error share by instance", 'sum by (instance) (rate(shop_requests_total{status="500"}[5m])) / sum by (instance) (rate(shop_requests_total[5m])) > 0.1', None),
    ("p95 by instance", "histogram_quantile(0.95, sum by (le, instance) (rate(shop_duration_seconds_bucket[5m]))) > 0.5", None),
    ("sum of all rates", "sum(rate(shop_requests_total[5m]))", None),
    ("mean of all gauges", "sum(avg_over_time(shop_memory_bytes[5m]))", None),
    ("slope of all gauges", "count(deriv(shop_memory_bytes[5m]) > 0)", None),
    ("rate of one series", 'rate(shop_requests_total{instance="shop-0:8080",route="/r0",status="200"}[5m])', None),
    ("counters that stand still", 'count(increase(shop_requests_total{status="200"}[5m]) == 0)', None),
    ("forecast of all gauges", "count(predict_linear(shop_memory_bytes[5m], 3600) > 0)", None),
    ("sum of rates, 10 points", "sum(rate(shop_requests_total[5m]))", RANGE),
]
def cpu(pid):
    return sum(int(open(p).read().split()[0]) for p in glob.glob(f"/proc/{pid}/task/*/schedstat")) / 1e6
class Server:
    def __init__(self, port, pid):
        self.line, self.pid = http.client.HTTPConnection("127.0.0.1", port, timeout=120), pid
    def ask(self, text, span):
        path = "/api/v1/query_range?" if span else "/api/v1/query?"
        values = dict(span or {"time": at}, query=text)
        self.line.request("GET", path + urllib.parse.urlencode(values))
        return self.line.getresponse().read()
    def block(self, text, span, count):
        before = cpu(self.pid)
        for _ in range(count):
            self.ask(text, span)
        return cpu(self.pid) - before
servers = [Server(19478, theirs), Server(19479, ours)]
print(f"{'query':28}{'prometheus':>12}{'backstop':>12}{'ratio':>8}   results")
for name, text, span in QUERIES:
    results, spent, count = [], [0.0, 0.0], 0
    for server in servers:
        answer = json.loads(server.ask(text, span))
        results.append(len(answer["data"]["result"]) if answer["status"] == "success" else answer["error"])
    size = max(3, min(100, int(200 / max(1.0, servers[0].block(text, span, 2) / 2))))
    for _ in range(5):
        for i, server in enumerate(servers):
            spent[i] += server.block(text, span, size)
        count += size
    a, b = spent[0] / count, spent[1] / count
    same = f"{results[0]} both" if results[0] == results[1] else f"DIFFER: {results[0]} / {results[1]}"
    print(f"{name:28}{a:9.3f} ms{b:9.3f} ms{a / b if b else 0:7.1f}x   {same}", flush=True)
for name, pid in [("prometheus", theirs), ("backstop", ours)]:
    rows = dict(l.split(":", 1) for l in open(f"/proc/{pid}/status") if ":" in l)
    print(f"{name} memory {int(rows['VmRSS'].split()[0]) // 1024} MiB, at its highest {int(rows['VmHWM'].split()[0]) // 1024} MiB")
PY
    end_servers
done
