//! `[http.NAME]` against servers and probes of others: nginx is asked, and what the blackbox exporter says of the same
//! address is compared.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backstop::agent::wire;
use backstop::base::{Batch, Outcome, Timestamp};
use backstop::config::{self, Options};
use backstop::source::Source;
use backstop::sys::clock::{Clock, Stopwatch, pause};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{self, Scratch};

/// How long a server of others may take to begin.
const START_UP: Duration = Duration::from_secs(20);

/// A server of others that ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    async fn start(command: &mut Command, ports: &[u16]) -> Server {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server(command.spawn().expect("the program is installed (tests/run says the package)"));
        let watch = Stopwatch::start();
        for port in ports {
            while TcpStream::connect(("127.0.0.1", *port)).is_err() {
                assert!(watch.elapsed().to_std() < START_UP, "nothing listens on port {port}");
                assert!(server.0.try_wait().unwrap().is_none(), "the server ended at once");
                pause(backstop::base::Span::millis(20)).await;
            }
        }
        server
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// nginx with a plain port, one with TLS, and one that demands a client certificate.
struct Nginx {
    plain: u16,
    tls: u16,
    demanding: u16,
    folder: Scratch,
    _server: Server,
}

impl Nginx {
    async fn start(name: &str) -> Nginx {
        let folder = Scratch::new(name);
        certificates(folder.path());
        let (plain, tls, demanding) = (free_port(), free_port(), free_port());
        let dir = folder.path().display().to_string();
        let text = NGINX
            .replace("{dir}", &dir)
            .replace("{plain}", &plain.to_string())
            .replace("{tls}", &tls.to_string())
            .replace("{demanding}", &demanding.to_string());
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-p", &dir, "-c", &format!("{dir}/nginx.conf"), "-e", &format!("{dir}/error.log")]);
        let server = Server::start(&mut command, &[plain, tls, demanding]).await;
        Nginx { plain, tls, demanding, folder, _server: server }
    }

    fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.plain)
    }

    fn https(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.tls)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn source(&self, url: &str, more: &str) -> Source {
        let path = self.folder.path().join("backstop.toml");
        std::fs::write(&path, format!("[http.x]\nurl = '{url}'\n{more}\n")).unwrap();
        let loaded = config::load(&Options {
            path: Some(path),
            sets: Vec::new(),
            state: Some("/var/lib/backstop".into()),
            stderr_is_terminal: false,
            host: "web-1".into(),
            env: |_| None,
        });
        let Some(config) = loaded.config.clone() else { panic!("{more}\n{}", loaded.render(false)) };
        wire::sources(&config).pop().expect("one source")
    }

    async fn ask(&self, url: &str, more: &str) -> Batch {
        self.source(url, more).collect(Clock::new().now()).await
    }
}

const NGINX: &str = r#"
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    default_type application/json;
    keepalive_timeout 5s;
    gzip_types application/json;
    ssl_certificate {dir}/chain.pem;
    ssl_certificate_key {dir}/key.pem;
    server {
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        location /ok { return 200 '{"status": "ok", "queue": {"length": 7}}'; }
        location /count { return 200 '{"requests": $connection_requests}'; }
        location /moved { return 301 /ok; }
        location /twice { return 302 /moved; }
        location /loop { return 301 /loop; }
        location /secret { return 401; }
        location /none { return 404; }
        location /broken { return 500; }
        location /empty { return 204; }
        location /gzip { gzip on; gzip_min_length 1; gzip_http_version 1.0; return 200 '{"status": "ok", "filler": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}'; }
    }
    server {
        listen 127.0.0.1:{demanding} ssl;
        ssl_client_certificate {dir}/ca.pem;
        ssl_verify_client on;
        ssl_protocols TLSv1.2;
        location / { return 200 '{"status": "ok"}'; }
    }
}
"#;

/// A root, an intermediate that ends before the certificate it signed, and a client's certificate.
fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let params = |names: &[&str], ends: i32| {
        let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        params
    };
    let authority = |name: &str, ends: i32| {
        let mut params = params(&[], ends);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = || KeyPair::generate().unwrap();
    let (root, root_key) = (authority("Root", 2040), key());
    write("ca.pem", root.self_signed(&root_key).unwrap().pem());
    let root = Issuer::new(root, root_key);
    let (between, between_key) = (authority("Between", 2035), key());
    let between_pem = between.signed_by(&between_key, &root).unwrap().pem();
    let between = Issuer::new(between, between_key);
    let server_key = key();
    let server = params(&["127.0.0.1", "localhost"], 2038).signed_by(&server_key, &between).unwrap();
    write("chain.pem", format!("{}{between_pem}", server.pem()));
    write("key.pem", server_key.serialize_pem());
    let client_key = key();
    write("client.pem", params(&["backstop"], 2038).signed_by(&client_key, &root).unwrap().pem());
    write("client.key", client_key.serialize_pem());
}

/// 2035-01-01, when the intermediate ends.
const EARLIEST: f64 = 2_051_222_400.0;

fn outcome(batch: &Batch) -> String {
    match &batch.outcome {
        Outcome::Good => "good".into(),
        Outcome::Failed(failure) => failure.to_string(),
    }
}

/// Values by name and the labels that the blackbox exporter gives as well.
fn values(batch: &Batch) -> BTreeMap<String, f64> {
    let key = |sample: &backstop::base::Sample| {
        let labels = ["phase", "version"].into_iter().filter(|l| !sample.labels.get(l).is_empty());
        let labels: Vec<_> = labels.map(|l| format!("{l}=\"{}\"", sample.labels.get(l))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{braces}", sample.labels.name())
    };
    batch.samples.iter().map(|sample| (key(sample), sample.value)).collect()
}

#[tokio::test]
async fn outside_nginx_is_probed_with_all_that_a_health_check_needs() {
    if !support::outside("servers") {
        return;
    }
    let nginx = Nginx::start("http-nginx").await;
    let ca = format!("tls = {{ ca = '{}' }}", nginx.file("ca.pem"));
    for (url, more, wanted) in [
        (nginx.http("/ok"), "expect = ['json status == \"ok\"', 'json queue.length < 10', 'time < 5s']", "good"),
        (nginx.http("/gzip"), "expect = ['header Content-Encoding == \"gzip\"', 'json status == \"ok\"']", "good"),
        (nginx.http("/empty"), "expect = ['status == 204', 'len body == 0']", "good"),
        (nginx.http("/ok"), "method = 'HEAD'\nexpect = ['len body == 0']", "good"),
        (nginx.http("/twice"), "", "good"),
        (nginx.http("/twice"), "redirects = 1", "redirect: more than 1 redirects, the last to 127.0.0.1:"),
        (nginx.http("/loop"), "", "redirect: more than 5 redirects, the last to 127.0.0.1:"),
        (nginx.http("/moved"), "redirects = 0\nexpect = ['status == 301', 'header Location exists']", "good"),
        (nginx.http("/secret"), "", "status: expected status == 2xx, saw 401"),
        (nginx.http("/secret"), "expect = ['status == 401']", "good"),
        (nginx.http("/none"), "", "status: expected status == 2xx, saw 404"),
        (nginx.http("/broken"), "", "status: expected status == 2xx, saw 500"),
        (nginx.https("/ok"), &ca, "good"),
        (nginx.https("/ok"), &format!("{ca}\nexpect = ['cert > 14d']"), "good"),
        (
            nginx.https("/ok"),
            &format!("{ca}\nexpect = ['cert > 200w', 'cert > 5000w']"),
            "cert: expected cert > 5000w, saw ",
        ),
        (nginx.https("/ok"), "tls = { verify = false }", "good"),
        (nginx.https("/ok"), "", "tls: the certificate comes from an unknown issuer: "),
        // nginx answers plain requests on a port for TLS, and ends handshakes on a port without.
        (nginx.https("/ok").replace("https:", "http:"), "", "status: expected status == 2xx, saw 400"),
        (nginx.http("/ok").replace("http:", "https:"), &ca, "tls: what answers there does not speak TLS"),
    ] {
        let got = outcome(&nginx.ask(&url, more).await);
        assert!(got.starts_with(wanted), "{more}: {got:?} instead of {wanted:?}");
    }
    let url = format!("https://127.0.0.1:{}/", nginx.demanding);
    let without = outcome(&nginx.ask(&url, &ca).await);
    assert_eq!(
        without, "status: expected status == 2xx, saw 400: \"No required SSL certificate was sent\"",
        "nginx demands it of the request, not the handshake"
    );
    let (ca, cert, key) = (nginx.file("ca.pem"), nginx.file("client.pem"), nginx.file("client.key"));
    let with = nginx.ask(&url, &format!("tls = {{ ca = '{ca}', cert = '{cert}', key = '{key}' }}")).await;
    assert_eq!(outcome(&with), "good");
    assert_eq!(values(&with).get("probe_tls_version_info{version=\"TLS 1.2\"}"), Some(&1.0));
}

#[tokio::test]
async fn outside_nginx_keeps_the_connection_of_a_probe_that_comes_each_second() {
    if !support::outside("servers") {
        return;
    }
    let nginx = Nginx::start("http-keep").await;
    let more = "values = { requests = 'json requests' }";
    for (interval, wanted) in [("1s", [1.0, 2.0, 3.0]), ("15s", [1.0, 1.0, 1.0])] {
        let mut source = nginx.source(&nginx.http("/count"), &format!("{more}\ninterval = '{interval}'"));
        for wanted in wanted {
            let batch = source.collect(Timestamp(1000)).await;
            assert_eq!(values(&batch).get("probe_value"), Some(&wanted), "{interval}: {}", outcome(&batch));
        }
    }
}

#[tokio::test]
async fn outside_the_blackbox_exporter_says_the_same_of_the_same_address() {
    if !support::outside("servers") || !support::wanted("exporters") {
        return;
    }
    let nginx = Nginx::start("http-blackbox").await;
    let ca = nginx.file("ca.pem");
    let config = nginx.file("blackbox.yml");
    std::fs::write(&config, MODULES.replace("{ca}", &ca)).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus-blackbox-exporter");
    command.args([format!("--config.file={config}"), format!("--web.listen-address=127.0.0.1:{port}")]);
    let _exporter = Server::start(&mut command, &[port]).await;
    for (url, module) in [
        (nginx.http("/ok"), "plain"),
        (nginx.http("/twice"), "plain"),
        (nginx.http("/none"), "plain"),
        (nginx.http("/broken"), "plain"),
        (nginx.http("/empty"), "plain"),
        (nginx.http("/gzip"), "gzip"),
        (nginx.https("/ok"), "plain"),
        (nginx.https("/moved"), "plain"),
    ] {
        let theirs = blackbox(port, &url, module);
        let ours = nginx.ask(&url, &format!("tls = {{ ca = '{ca}' }}")).await;
        let ours = values(&ours);
        let mut compared = 0;
        for (name, theirs) in &theirs {
            let Some(ours) = ours.get(name) else { continue };
            if name.contains("duration") {
                let is_there = *theirs >= 0.0 && *ours >= 0.0 && *ours < 5.0;
                assert!(is_there, "{url} {name}: theirs {theirs}, ours {ours}");
                continue;
            }
            assert_eq!(ours, theirs, "{url} {name}");
            compared += 1;
        }
        assert!(compared >= 7, "{url}: only {compared} of {theirs:?} are in {ours:?}");
        for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
            let name = format!("probe_http_duration_seconds{{phase=\"{phase}\"}}");
            assert!(theirs.contains_key(&name) && ours.contains_key(&name), "{name}");
        }
        if url.starts_with("https") {
            assert_eq!(ours.get("probe_ssl_earliest_cert_expiry"), Some(&EARLIEST), "the intermediate ends first");
            let version = |all: &std::collections::BTreeMap<String, f64>| {
                all.keys().find(|name| name.starts_with("probe_tls_version_info")).cloned()
            };
            assert_eq!(version(&ours), version(&theirs));
            assert!(version(&ours).is_some());
        }
    }
}

const MODULES: &str = r#"
modules:
  plain:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
      tls_config: { ca_file: "{ca}" }
  gzip:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
      compression: gzip
      headers: { Accept-Encoding: "gzip, deflate" }
"#;

fn blackbox(port: u16, target: &str, module: &str) -> BTreeMap<String, f64> {
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs([("target", target), ("module", module)]).finish();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(START_UP)).unwrap();
    stream.write_all(format!("GET /probe?{query} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.contains(" 200 "), "{answer}");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_string(), value.parse().unwrap()))
        .collect()
}
