#!/bin/sh
# A host of its own, in namespaces of its own: a container engine with a compose project, nginx, PostgreSQL, and nothing else.
#
# usage: unshare --mount --net --pid --uts --fork --kill-child --mount-proc sh world.sh FOLDER SCRIPT
#
# SCRIPT is run when all of it is there; FOLDER is empty and gets all files. Everything ends with the script.
set -eu
dir=$1
script=$2

wait_for() {
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 600 ] || { echo "world.sh: $* does not come" >&2; tail -n 5 "$dir"/*.log >&2; exit 99; }
        sleep 0.1
    done
}

echo web-1 >/proc/sys/kernel/hostname
ip link set lo up
# Neither the host's engine nor its systemd is seen.
mount -t tmpfs tmpfs /run
mkdir /run/lock

mkdir "$dir/data" "$dir/exec" "$dir/state"
echo '{}' >"$dir/daemon.json"
containerd --address "$dir/c.sock" --root "$dir/containerd" --state "$dir/cstate" >"$dir/containerd.log" 2>&1 &
wait_for test -S "$dir/c.sock"
dockerd --config-file "$dir/daemon.json" --containerd "$dir/c.sock" --data-root "$dir/data" --exec-root "$dir/exec" \
    --pidfile "$dir/docker.pid" -H unix:///run/docker.sock --storage-driver=vfs >"$dir/dockerd.log" 2>&1 &
wait_for docker version

# An image with a shell and a server of files.
root=$dir/root
mkdir -p "$root/bin" "$root/www"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in sh httpd sleep true; do ln -s busybox "$root/bin/$name"; done
printf '{"status": "ok", "version": "2.4.1"}' >"$root/www/health"
cat >"$root/www/metrics" <<'PAGE'
# TYPE http_requests_total counter
http_requests_total{code="200"} 7
http_requests_total{code="500"} 0
PAGE
tar -C "$root" -c . | docker import - backstop-test-init:1 >/dev/null
cat >"$dir/docker-compose.yml" <<'COMPOSE'
version: "2.4"
services:
  api:
    image: backstop-test-init:1
    command: ["/bin/httpd", "-f", "-p", "8000", "-h", "/www"]
    ports: ["127.0.0.1:8000:8000"]
  db:
    image: backstop-test-init:1
    command: ["/bin/sleep", "1000000"]
  migrate:
    image: backstop-test-init:1
    command: ["/bin/true"]
COMPOSE
(cd "$dir" && docker-compose -p shop up -d) >"$dir/compose.log" 2>&1 || { cat "$dir/compose.log" >&2; exit 99; }
wait_for sh -c '[ "$(docker inspect -f "{{.State.Status}}" shop_migrate_1)" = exited ]'

# A web server that has nothing to say of its health; it notes what it was asked.
mkdir "$dir/nginx"
cat >"$dir/nginx.conf" <<NGINX
pid $dir/nginx/pid;
error_log $dir/nginx/error.log;
events { worker_connections 64; }
http {
    log_format asked '\$request';
    access_log $dir/nginx/asked asked;
    client_body_temp_path $dir/nginx/body;
    proxy_temp_path $dir/nginx/proxy;
    fastcgi_temp_path $dir/nginx/fastcgi;
    uwsgi_temp_path $dir/nginx/uwsgi;
    scgi_temp_path $dir/nginx/scgi;
    server {
        listen 80;
        location = / { return 200 "welcome"; }
        location / { return 404; }
    }
}
NGINX
/usr/sbin/nginx -p "$dir/nginx" -c "$dir/nginx.conf" -e "$dir/nginx/error.log"

mkdir "$dir/pg"
chown postgres:postgres "$dir/pg"
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
as_postgres "$bin/initdb" -D "$dir/pg/data" --auth=trust --no-sync >"$dir/initdb.log"
as_postgres "$bin/postgres" -D "$dir/pg/data" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$dir/pg" \
    -c fsync=off >"$dir/postgres.log" 2>&1 &
wait_for grep -q 'ready to accept connections' "$dir/postgres.log"

cd "$dir"
sh -u "$script"
