//! Containers of a real engine: killed, out of memory, unhealthy, made anew, scaled, cut off, and their engine killed.
//!
//! The tests that begin with `outside_` start a Docker engine of their own; `tests/support/docker.rs` says what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use backstop::base::{Batch, Labels, Outcome, SourceRef, Span};
use backstop::source::common::{Common, House, Outside};
use backstop::source::container::Container;
use backstop::source::container::config::Config;
use backstop::source::container::meant::Meant;
use backstop::sys::clock::{Clock, Stopwatch};

use crate::support::docker::{Docker, has_docker};

/// How long anything may take on a busy machine.
const PATIENCE: Span = Span::secs(60);

fn config(services: &[&str]) -> Config {
    let common = Common {
        reference: SourceRef::new("container", "shop"),
        interval: Span::secs(1),
        manual: false,
        timeout: Span::secs(5),
        service: "shop".into(),
        app: "shop".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    };
    let services: BTreeSet<String> = services.iter().map(ToString::to_string).collect();
    let meant = Meant::Project { project: "shop".into(), services };
    Config { common, has_service: false, meant, grace: Span::secs(3) }
}

/// What the source tells, and the last batch of each target.
struct Told {
    config: Config,
    outside: Outside,
    source: Container,
    clock: Clock,
    last: BTreeMap<String, Batch>,
    totals: BTreeMap<String, f64>,
}

impl Told {
    fn new(docker: &Docker, config: Config) -> Told {
        let house = House { engine: Some(docker.address().to_string()), ..House::default() };
        let outside = Outside::of_process().of(house);
        let source = Container::new(config.clone(), &outside);
        Told { config, outside, source, clock: Clock::new(), last: BTreeMap::new(), totals: BTreeMap::new() }
    }

    /// The agent is killed and started again: what is left are the checkpoints.
    fn restart(&mut self) {
        self.source = Container::new(self.config.clone(), &self.outside);
        let all =
            self.last.iter().filter_map(|(instance, batch)| Some((instance.as_str(), &**batch.checkpoint.as_ref()?)));
        self.source.resume(&all.collect());
    }

    async fn next(&mut self) -> &Batch {
        let next = tokio::time::timeout(PATIENCE.to_std(), self.source.next(&self.clock));
        let batch = next.await.unwrap_or_else(|_| panic!("nothing is told; the last was {:?}", self.words()));
        for sample in batch.samples.iter().filter(|sample| sample.labels.name().ends_with("_total")) {
            let before = self.totals.insert(sample.labels.to_string(), sample.value).unwrap_or(0.0);
            assert!(sample.value >= before, "{} went back from {before} to {}", sample.labels, sample.value);
        }
        let instance = batch.instance.clone();
        assert!(self.last.get(&instance).is_none_or(|before| before.at < batch.at), "two batches at one time");
        self.last.insert(instance.clone(), batch);
        &self.last[&instance]
    }

    /// Reads on until `is_so` of the last batch of `instance`.
    async fn until(&mut self, instance: &str, what: &str, is_so: impl Fn(&Batch) -> bool) {
        let watch = Stopwatch::start();
        while !self.last.get(instance).is_some_and(&is_so) {
            assert!(
                watch.elapsed() < PATIENCE,
                "{instance}: {what} does not come: {:?}, {:?}",
                self.words(),
                self.counted()
            );
            self.next().await;
        }
    }

    async fn until_reason(&mut self, instance: &str, wanted: &str) {
        self.until(instance, wanted, |batch| reason(batch) == wanted).await;
    }

    fn words(&self) -> Vec<(&str, String)> {
        let word = |batch: &Batch| match &batch.outcome {
            Outcome::Good => "good".into(),
            Outcome::Failed(failure) => failure.to_string(),
        };
        self.last.iter().map(|(instance, batch)| (instance.as_str(), word(batch))).collect()
    }

    /// What was counted last, for who asks why something does not come.
    fn counted(&self) -> Vec<(&String, &f64)> {
        let is_of_interest =
            |series: &str| ["deaths", "restarts", "cpu_usage"].iter().any(|word| series.contains(word));
        self.totals.iter().filter(|(series, _)| is_of_interest(series)).collect()
    }

    fn value(&self, instance: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        value(self.last.get(instance)?, metric, labels)
    }
}

fn reason(batch: &Batch) -> &str {
    match &batch.outcome {
        Outcome::Good => "good",
        Outcome::Failed(failure) => failure.reason,
    }
}

fn value(batch: &Batch, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |own: &Labels| own.name() == metric && labels.iter().all(|(name, value)| own.get(name) == *value);
    let found: Vec<f64> = batch.samples.iter().filter(|s| fits(&s.labels)).map(|s| s.value).collect();
    assert!(found.len() <= 1, "{metric} {labels:?}: {found:?}");
    found.first().copied()
}

fn pid(docker: &Docker, name: &str) -> String {
    docker.docker(&["inspect", "-f", "{{.State.Pid}}", name]).0.trim().to_string()
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success(), "{pid} cannot be killed");
}

/// The image's one program is a shell: everything else is one of its own.
const IDLE: &str = "exec busybox sleep 3000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_death_of_a_container_is_a_sample_at_once() {
    if !has_docker() {
        return;
    }
    const DEATHS: usize = 20;
    let docker = Docker::start("cd").await;
    docker.import();
    docker.run("shop_web_1", "web", &["--restart=always"], IDLE);
    let mut told = Told::new(&docker, config(&["web"]));
    told.until_reason("shop/web", "good").await;
    assert_eq!(told.value("shop/web", "container_deaths_total", &[]), Some(0.0));
    let mut delays = Vec::new();
    for n in 1..=DEATHS {
        // An engine waits longer before each restart, and no longer once one has lasted ten seconds: a start by hand
        // begins anew.
        if n % 4 == 0 {
            told.until_reason("shop/web", "good").await;
            docker.docker(&["restart", "-t", "0", "shop_web_1"]);
        }
        let deaths = (n + n / 4) as f64;
        told.until("shop/web", "a life", |batch| {
            reason(batch) == "good"
                && value(batch, "container_deaths_total", &[]) == Some(deaths - 1.0)
                && value(batch, "container_memory_rss", &[]).is_some()
        })
        .await;
        let pid = pid(&docker, "shop_web_1");
        // Whatever was on its way is taken before.
        while tokio::time::timeout(Span::millis(30).to_std(), told.next()).await.is_ok() {}
        kill(&pid);
        let watch = Stopwatch::start();
        told.until("shop/web", "the death", |batch| value(batch, "container_deaths_total", &[]) == Some(deaths)).await;
        delays.push(watch.seconds() * 1000.0);
        assert_eq!(told.value("shop/web", "probe_success", &[]), Some(0.0));
        assert!(["exited", "restarting"].contains(&reason(&told.last["shop/web"])), "{:?}", told.words());
    }
    delays.sort_by(f64::total_cmp);
    let median = delays[DEATHS / 2];
    eprintln!("death to sample: median {median:.1} ms, most {:.1} ms", delays[DEATHS - 1]);
    // Some ten milliseconds on a machine that is quiet (docs/PERFORMANCE.md); an interval would be 500 at least.
    assert!(median <= 400.0, "{delays:?}");
    assert_eq!(
        told.value("shop/web", "container_restarts_total", &[("name", "shop_web_1")]).map(|n| n >= 20.0),
        Some(true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_each_state_of_a_container_has_its_reason_and_its_series() {
    if !has_docker() {
        return;
    }
    let docker = Docker::start("ce").await;
    docker.import();
    let check = ["--health-cmd=busybox test -e /well", "--health-interval=500ms", "--health-retries=2"];
    docker.run("shop_web_1", "web", &check, &format!("> /well; {IDLE}"));
    docker.run(
        "shop_hog_1",
        "hog",
        &["--memory=16m", "--memory-swap=16m"],
        "busybox sleep 2; exec busybox tail /dev/zero",
    );
    docker.run("shop_migrate_1", "migrate", &[], "exit 0");
    docker.run("shop_broken_1", "broken", &[], "exit 3");
    docker.run("shop_loop_1", "loop", &["--restart=always"], "exit 4");
    docker.run("shop_run_1", "web", &["--label", "com.docker.compose.oneoff=True"], "exit 5");
    let mut told = Told::new(&docker, config(&[]));
    told.until_reason("shop", "good").await;
    assert_eq!(told.value("shop", "container_engine_up", &[]), Some(1.0));
    told.until_reason("shop/migrate", "good").await;
    assert_eq!(told.value("shop/migrate", "container_running", &[("name", "shop_migrate_1")]), Some(0.0));
    told.until_reason("shop/broken", "exited").await;
    assert_eq!(told.value("shop/broken", "container_exit_code", &[]), Some(3.0));
    told.until("shop/loop", "three restarts", |batch| value(batch, "container_restarts_total", &[]) >= Some(3.0)).await;
    told.until_reason("shop/hog", "oom").await;
    told.until("shop/hog", "the whole of it", |batch| value(batch, "container_oom_killed", &[]) == Some(1.0)).await;
    let hog = |told: &Told, metric: &str| told.value("shop/hog", metric, &[("name", "shop_hog_1")]);
    assert_eq!(hog(&told, "container_exit_code"), Some(137.0));
    assert!(hog(&told, "container_oom_events_total") >= Some(1.0));
    assert_eq!(hog(&told, "container_deaths_total"), Some(1.0));

    told.until("shop/web", "health", |batch| value(batch, "container_healthy", &[]) == Some(1.0)).await;
    assert_eq!(
        told.value("shop/web", "container_service_containers", &[]),
        Some(1.0),
        "one-off containers are none of it"
    );
    docker.docker(&["exec", "shop_web_1", "busybox", "rm", "/well"]);
    told.until_reason("shop/web", "unhealthy").await;
    assert_eq!(told.value("shop/web", "container_running", &[]), Some(1.0));
    assert_eq!(told.value("shop/web", "container_healthy", &[]), Some(0.0));
    told.until("shop/web", "a streak", |batch| value(batch, "container_unhealthy_streak", &[]) >= Some(2.0)).await;
    docker.docker(&["exec", "shop_web_1", "/bin/sh", "-c", "> /well"]);
    told.until_reason("shop/web", "good").await;
    docker.docker(&["pause", "shop_web_1"]);
    told.until_reason("shop/web", "paused").await;
    assert_eq!(told.value("shop/web", "container_state", &[("state", "paused")]), Some(1.0));
    docker.docker(&["unpause", "shop_web_1"]);
    told.until_reason("shop/web", "good").await;

    // What cannot be seen at once is not said at once: made anew within the grace, nothing is missing.
    docker.docker(&["rm", "-f", "shop_broken_1"]);
    told.until("shop/broken", "its end", |batch| batch.samples.is_empty()).await;
    docker.run("shop_broken_1", "broken", &[], "exit 3");
    told.until("shop/broken", "both deaths", |batch| value(batch, "container_deaths_total", &[]) == Some(2.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_totals_go_on_when_a_container_is_made_anew_and_when_the_agent_is_killed() {
    if !has_docker() {
        return;
    }
    const BUSY: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec busybox sleep 3000";
    let docker = Docker::start("cf").await;
    docker.import();
    docker.docker(&["network", "create", "shop"]);
    let mut told = Told::new(&docker, config(&["web"]));
    told.until_reason("shop/web", "missing").await;
    assert_eq!(told.value("shop/web", "container_healthy", &[]), Some(0.0), "what is declared is there");
    docker.run("shop_web_1", "web", &["--memory=64m", "--cpus=1.5"], BUSY);
    told.until("shop/web", "work", |batch| value(batch, "container_cpu_usage_seconds_total", &[]) > Some(0.2)).await;
    let of = |told: &Told, metric: &str| told.value("shop/web", metric, &[("name", "shop_web_1")]).unwrap();
    assert_eq!(of(&told, "container_spec_memory_limit_bytes"), f64::from(64 << 20));
    assert_eq!(of(&told, "container_spec_cpu_quota"), 150_000.0);
    assert!(of(&told, "container_memory_working_set_bytes") > 0.0);
    assert!(of(&told, "container_memory_working_set_bytes") <= of(&told, "container_memory_usage_bytes"));
    assert!(of(&told, "container_threads") >= 1.0);
    assert_eq!(told.value("shop/web", "container_info", &[("version", "1")]), Some(1.0));
    for n in 1..=3 {
        let before = of(&told, "container_cpu_usage_seconds_total");
        if n == 2 {
            told.restart();
        }
        docker.docker(&["rm", "-f", "shop_web_1"]);
        docker.run("shop_web_1", "web", &[], BUSY);
        // That nothing goes back is held by every batch.
        told.until("shop/web", "more work", |batch| {
            value(batch, "container_cpu_usage_seconds_total", &[]) > Some(before + 0.1)
                && value(batch, "container_deaths_total", &[]) == Some(f64::from(n))
        })
        .await;
        assert_eq!(of(&told, "container_restarts_total"), 0.0);
    }
    docker.docker(&["rm", "-f", "shop_web_1"]);

    // A network that is cut has no interface, and its totals stand.
    docker.run_in("shop", "shop_web_1", "web", IDLE);
    docker.run_in(
        "shop",
        "shop_web_2",
        "web",
        "while true; do busybox ping -c 1 -W 1 shop_web_1 > /dev/null; busybox sleep 0.2; done",
    );
    let receives = |batch: &Batch| {
        value(batch, "container_network_receive_packets_total", &[("name", "shop_web_1"), ("interface", "eth0")])
    };
    told.until("shop/web", "two of it", |batch| value(batch, "container_service_containers", &[]) == Some(2.0)).await;
    told.until("shop/web", "packets", |batch| receives(batch) > Some(10.0)).await;
    docker.docker(&["network", "disconnect", "shop", "shop_web_1"]);
    for _ in 0..3 {
        told.next().await;
    }
    let cut = receives(&told.last["shop/web"]);
    for _ in 0..6 {
        told.next().await;
    }
    assert_eq!(receives(&told.last["shop/web"]), cut, "nothing comes through a network that is cut");
    docker.docker(&["rm", "-f", "shop_web_2"]);
    told.until("shop/web", "one of it", |batch| value(batch, "container_service_containers", &[]) == Some(1.0)).await;
    docker.docker(&["rm", "-f", "shop_web_1"]);
    docker.docker(&["network", "rm", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_an_engine_that_is_killed_takes_nothing_with_it() {
    if !has_docker() {
        return;
    }
    let mut docker = Docker::start("cg").await;
    docker.import();
    docker.run("shop_web_1", "web", &[], "while true; do busybox sleep 0.05; done");
    docker.run("shop_api_1", "api", &["--restart=always"], IDLE);
    let mut told = Told::new(&docker, config(&["web", "api"]));
    for service in ["shop/web", "shop/api"] {
        told.until_reason(service, "good").await;
    }
    let api = pid(&docker, "shop_api_1");
    docker.kill().await;
    let watch = Stopwatch::start();
    told.until("shop", "the engine's end", |batch| value(batch, "container_engine_up", &[]) == Some(0.0)).await;
    eprintln!("engine's end to sample: {}", watch.elapsed());
    assert!(watch.elapsed() < Span::secs(1));
    let before = told.value("shop/web", "container_cpu_usage_seconds_total", &[]);
    told.until("shop/web", "work", |batch| value(batch, "container_cpu_usage_seconds_total", &[]) > before).await;
    // Longer than the grace: the kernel proves that it lives.
    let watch = Stopwatch::start();
    while watch.elapsed() < Span::secs(4) {
        told.next().await;
        assert_eq!(reason(&told.last["shop/web"]), "good", "{:?}", told.words());
    }
    kill(&api);
    told.until_reason("shop/api", "exited").await;
    assert_eq!(told.value("shop/api", "container_running", &[]), Some(0.0));
    docker.start_again().await;
    told.until("shop", "the engine", |batch| value(batch, "container_engine_up", &[]) == Some(1.0)).await;
    told.until_reason("shop/api", "good").await;
    told.until("shop/api", "the death", |batch| value(batch, "container_deaths_total", &[]) == Some(1.0)).await;
    for _ in 0..6 {
        told.next().await;
    }
    assert_eq!(told.value("shop/api", "container_deaths_total", &[]), Some(1.0), "and once");
    assert_eq!(told.value("shop/web", "container_deaths_total", &[]), Some(0.0));
    assert_eq!(told.value("shop/web", "container_restarts_total", &[]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_compose_makes_services_anew_and_scales_them() {
    if !has_docker() {
        return;
    }
    let found = Command::new("docker-compose").arg("version").stdout(Stdio::null()).status();
    assert!(found.is_ok(), "docker-compose is needed: apt-get install docker-compose");
    let docker = Docker::start("ch").await;
    docker.import();
    let folder = docker.folder().join("shop");
    std::fs::create_dir(&folder).unwrap();
    let compose = |version: &str, arguments: &[&str]| {
        let file = format!(
            "version: '2.4'\nservices:\n  web:\n    image: backstop-test-sh:1\n    network_mode: none\n    \
             environment: {{ VERSION: '{version}' }}\n    command: ['/bin/sh', '-c', '{IDLE}']\n    stop_grace_period: 0s\n"
        );
        up(&docker, &folder, &file, arguments);
    };
    compose("1", &["up", "-d"]);
    let mut told = Told::new(&docker, config(&["web"]));
    told.until_reason("shop/web", "good").await;
    compose("2", &["up", "-d"]);
    let name = [("name", "shop_web_1")];
    told.until("shop/web", "made anew", |batch| {
        reason(batch) == "good" && value(batch, "container_deaths_total", &name) == Some(1.0)
    })
    .await;
    assert_eq!(told.value("shop/web", "container_service_containers", &[]), Some(1.0));
    compose("2", &["up", "-d", "--scale", "web=3"]);
    told.until("shop/web", "three of it", |batch| {
        reason(batch) == "good"
            && value(batch, "container_service_containers", &[]) == Some(3.0)
            && ["shop_web_2", "shop_web_3"]
                .iter()
                .all(|name| value(batch, "container_running", &[("name", name)]) == Some(1.0))
    })
    .await;
    compose("2", &["up", "-d", "--scale", "web=1"]);
    told.until("shop/web", "one of it", |batch| {
        reason(batch) == "good" && value(batch, "container_service_containers", &[]) == Some(1.0)
    })
    .await;
    compose("2", &["down"]);
    told.until_reason("shop/web", "missing").await;
    let names: BTreeSet<&str> =
        told.totals.keys().filter_map(|series| series.split("name=\"").nth(1)?.split('"').next()).collect();
    assert_eq!(names, BTreeSet::from(["shop_web_1", "shop_web_2", "shop_web_3"]), "no name of a moment");
}

fn up(docker: &Docker, folder: &Path, file: &str, arguments: &[&str]) {
    std::fs::write(folder.join("docker-compose.yml"), file).unwrap();
    let output = Command::new("timeout")
        .args(["120", "docker-compose", "-p", "shop"])
        .args(arguments)
        .current_dir(folder)
        .env("DOCKER_HOST", docker.address().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a person asks for by hand is one word of the whole table.
#[tokio::test]
async fn a_look_by_hand_says_what_is_wrong_with_the_engine() {
    let scratch = crate::support::Scratch::new("container-look");
    let engine = format!("unix://{}", scratch.path().join("none.sock").display());
    let outside = Outside::of_process().of(House { engine: Some(engine), ..House::default() });
    let mut source = Container::new(config(&["web"]), &outside);
    let batch = source.collect(Clock::new().now()).await;
    assert_eq!((reason(&batch), batch.instance.as_str()), ("missing", "shop"));
    assert_eq!(value(&batch, "probe_success", &[]), Some(0.0));
    assert_eq!(value(&batch, "container_engine_up", &[]), Some(0.0));
}
