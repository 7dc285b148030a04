//! `inside = "project/service"`: the program runs in a container of a service of compose.
//!
//! Where the engine's own socket is open, it is asked to run it. Where the proxy that answers reads only is in between, it is
//! given the name of the table and nothing else: what runs is what the configuration on its side declares, and the
//! secrets are those that it can read.

use super::config::{Config, Variable};
use super::run::Run;
use crate::base::{Failure, Span};
use crate::source::common::Outside;
use crate::source::masks::Masks;
use crate::sys::ask::Answer;
use crate::sys::clock::Stopwatch;
use crate::sys::engine::told::MAX_NAME;
use crate::sys::engine::{Address, Bounds, Engine, Inside, Left};
use crate::sys::secret::Secrets;

/// A service of compose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The project that it belongs to.
    pub project: String,
    /// Its name.
    pub service: String,
}

impl Service {
    /// Reads `project/service`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Service, &'static str> {
        let fits = |name: &str| {
            let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '*');
            (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(is_odd)
        };
        match text.split_once('/') {
            Some((project, service)) if fits(project) && fits(service) => {
                Ok(Service { project: project.into(), service: service.into() })
            }
            _ => Err("a service of compose is written project/service"),
        }
    }
}

/// A program that the configuration declares to run inside of a container.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The name of its table.
    pub name: String,
    /// In a container of which service.
    pub service: Service,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As whom, in the words of the container.
    pub user: Option<String>,
    /// Variables beside those of the container.
    pub env: Vec<(String, Variable)>,
    /// The working folder in the container.
    pub dir: Option<std::path::PathBuf>,
    /// Within which bounds.
    pub bounds: Bounds,
}

impl Declared {
    /// What a table declares; nothing where its program runs on the host.
    pub fn of(config: &Config) -> Option<Declared> {
        Some(Declared {
            name: config.common.reference.name.clone(),
            service: config.inside.clone()?,
            argv: config.run.clone(),
            user: config.user.clone(),
            env: config.env.clone(),
            dir: config.dir.clone(),
            bounds: Bounds { timeout: config.common.timeout, max_output: config.max_output },
        })
    }

    /// Runs it, in the container of its service with the lowest number. Secrets that it was given are hidden in its answer.
    ///
    /// # Errors
    /// Reason `secret`, and those of [`Engine::run`].
    pub async fn run(&self, engine: &Engine, secrets: &Secrets, left: &mut Left) -> Result<Answer, Failure> {
        let (answer, masks) = self.run_open(engine, secrets, self.bounds.timeout, left).await?;
        Ok(super::hidden(&answer, &masks))
    }

    async fn run_open(
        &self,
        engine: &Engine,
        secrets: &Secrets,
        timeout: Span,
        left: &mut Left,
    ) -> Result<(Answer, Masks), Failure> {
        let watch = Stopwatch::start();
        let preparing = async {
            let (mut env, mut given) = (Vec::new(), Vec::new());
            for (name, variable) in &self.env {
                let value = match variable {
                    Variable::Plain(text) => text.clone().into(),
                    Variable::Secret(place) => {
                        let secret = secrets.read(place).await.map_err(|why| Failure::new("secret", why))?;
                        given.push(secret.clone());
                        secret
                    }
                };
                env.push((name.clone(), value));
            }
            let container = engine.of_service(&self.service.project, &self.service.service).await?;
            Ok::<_, Failure>((env, Masks::new(&given), container.id))
        };
        let late = |_| Failure::new("timeout", format!("it could not be begun within {timeout}"));
        let (env, masks, id) = tokio::time::timeout(timeout.to_std(), preparing).await.map_err(late)??;
        let inside = Inside { argv: self.argv.clone(), user: self.user.clone(), env, dir: self.dir.clone() };
        let bounds = Bounds { timeout: timeout - watch.elapsed(), ..self.bounds };
        Ok((engine.run(&id, &inside, bounds, left).await?, masks))
    }
}

/// The place of one target's program inside of a container.
#[derive(Debug)]
pub(super) struct Insider {
    declared: Declared,
    engine: Engine,
    left: Left,
}

impl Insider {
    pub(super) fn new(declared: Declared, outside: &Outside) -> Insider {
        let address = outside.house.engine.as_deref().and_then(|engine| Address::parse(engine).ok());
        Insider { declared, engine: Engine::new(address), left: Left::default() }
    }

    /// Runs it within `timeout`.
    ///
    /// # Errors
    /// See [`Declared::run`]; through the proxy reason `undeclared` as well.
    pub(super) async fn run(&mut self, outside: &Outside, timeout: Span) -> Result<Run, Failure> {
        let watch = Stopwatch::start();
        // Each time anew: the proxy may be there now, or the engine may be another one.
        let late = || Failure::new("timeout", format!("{} does not answer within {timeout}", self.engine.address()));
        tokio::time::timeout(timeout.to_std(), self.engine.agree()).await.map_err(|_| late())??;
        let timeout = timeout - watch.elapsed();
        if self.engine.is_proxy() {
            let bounds = Bounds { timeout, ..self.declared.bounds };
            let answer = self.engine.run_declared(&self.declared.name, bounds).await?;
            return Ok(Run { answer, masks: Masks::default() });
        }
        let ran = self.declared.run_open(&self.engine, &outside.secrets, timeout, &mut self.left).await;
        ran.map(|(answer, masks)| Run { answer, masks })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;
    use crate::base::{Batch, Timestamp};
    use crate::source::command::Command;
    use crate::source::common::House;
    use crate::source::testing::{defaults, outcome, read, value};
    use crate::sys::tasks::Tasks;

    /// One look at a table with `keys`, at an engine that gives each request the answer of the first entry that it contains;
    /// and what it was asked.
    async fn looked(keys: &str, answers: &[(&'static str, String)]) -> (Batch, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (asked, mut asked_here) = tokio::sync::mpsc::unbounded_channel();
        let answers = answers.to_vec();
        let mut tasks = Tasks::new();
        tasks.spawn("fake engine", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                // What is asked here is written at once.
                let Ok(n) = stream.read(&mut buffer).await else { continue };
                let request = String::from_utf8_lossy(&buffer[..n]).into_owned();
                let answer = answers.iter().find(|(part, _)| request.contains(part)).map_or("", |(_, answer)| answer);
                asked.send(request.clone()).unwrap();
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        let toml = format!("inside = \"shop/db\"\nrun = [\"psql\", \"-c\", \"select 1\"]\n{keys}");
        let (config, problems) = read(&toml, |node, problems| Config::read("orders", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new());
        let house = House { engine: Some(format!("unix://{}", path.display())), ..House::default() };
        let env = |name: &str| (name == "TOKEN").then(|| "hunter2-secret".to_string());
        let outside = Outside { secrets: Secrets::with_env(env), ..Outside::of_process() }.of(house);
        let batch = Command::new(config.unwrap(), outside).collect(Timestamp(1_700_000_000_000)).await;
        drop(tasks);
        let mut all = Vec::new();
        while let Ok(one) = asked_here.try_recv() {
            all.push(one);
        }
        (batch, all)
    }

    const RUN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn listed(n: u32, state: &str, more: &str) -> String {
        let id = format!("{n:064x}");
        format!(
            "{{\"Id\":\"{id}\",\"State\":\"{state}\",\"Labels\":{{\"com.docker.compose.project\":\"shop\",\
             \"com.docker.compose.service\":\"db\",\"com.docker.compose.container-number\":\"{n}\"{more}}}}}"
        )
    }

    /// An engine with these containers, in which a program prints `printed` and ends with `code`.
    fn engine(list: &[String], printed: &str, code: i32) -> Vec<(&'static str, String)> {
        let ok = |body: &str| format!("HTTP/1.0 200 OK\r\n\r\n{body}");
        let frame = format!("\u{1}\0\0\0\0\0\0{}{printed}", char::from(printed.len() as u8));
        vec![
            ("GET /version", ok("{\"ApiVersion\":\"1.41\"}")),
            ("/containers/json", ok(&format!("[{}]", list.join(",")))),
            ("/exec HTTP", format!("HTTP/1.0 201 X\r\n\r\n{{\"Id\":\"{RUN}\"}}")),
            ("/start HTTP", ok(&frame)),
            ("/json HTTP", ok(&format!("{{\"Running\":false,\"ExitCode\":{code},\"Pid\":7}}"))),
        ]
    }

    #[tokio::test]
    async fn the_container_with_the_lowest_number_is_asked_and_judged_like_a_program_of_the_host() {
        let one_off = listed(1, "running", ",\"com.docker.compose.oneoff\":\"True\"");
        let list = [listed(4, "running", ""), listed(3, "running", ""), listed(2, "exited", ""), one_off];
        let keys = "values = { rows = 'number' }\nuser = \"70\"\nenv = { PGPASSWORD = \"env:TOKEN\" }";
        let (batch, asked) = looked(keys, &engine(&list, "42 rows\n", 0)).await;
        assert_eq!(outcome(&batch), "good");
        assert_eq!(value(&batch, "probe_value", &[("name", "rows"), ("instance", "psql")]), Some(42.0));
        assert_eq!(value(&batch, "command_exit_code", &[("job", "orders")]), Some(0.0));
        let exec = asked.iter().find(|request| request.contains("/exec HTTP")).unwrap();
        assert!(exec.starts_with(&format!("POST /v1.41/containers/{:064x}/exec ", 3)), "{exec}");
        assert!(exec.contains("\"PGPASSWORD=hunter2-secret\"") && exec.contains("\"User\":\"70\""), "{exec}");
    }

    #[tokio::test]
    async fn each_way_to_fail_has_a_reason_and_no_secret() {
        let secret = "env = { T = \"env:TOKEN\" }";
        let running = [listed(1, "running", "")];
        for (keys, answers, wanted) in [
            (
                secret,
                engine(&running, "token is hunter2-secret\n", 3),
                "exit: expected exit == 0, saw 3; it said: token is ***",
            ),
            ("", engine(&[], "", 0), "missing: no container of shop/db runs: there is none; "),
            ("", engine(&[listed(1, "exited", "")], "", 0), "missing: no container of shop/db runs: 1 have ended; "),
            ("env = { T = \"env:NONE\" }", engine(&running, "", 0), "secret: "),
            ("", Vec::new(), "broken: "),
        ] {
            let (batch, _) = looked(keys, &answers).await;
            assert!(outcome(&batch).starts_with(wanted), "{}", outcome(&batch));
            assert!(!format!("{batch:?}").contains("hunter2"), "{batch:?}");
        }
    }

    #[tokio::test]
    async fn through_the_proxy_only_the_name_of_the_table_is_sent() {
        let head = |status: &str| format!("HTTP/1.1 {status}\r\nServer: backstop-engine-proxy\r\n\r\n");
        let version = || ("GET /version", head("200 OK") + "{\"ApiVersion\":\"1.41\"}");
        let ran = |exit: &str, n_cut: u32| {
            let rest = "\"stderr\":\"oops\",\"is_stderr_cut\":false,\"is_flood\":false}";
            head("200 OK") + &format!("{{\"exit\":{exit},\"stdout\":\"42\\n\",\"n_cut\":{n_cut},{rest}")
        };
        for (answer, wanted) in [
            (ran("0", 0), "good"),
            (ran("3", 0), "exit: expected exit == 0, saw 3; it said: oops"),
            (ran("0", 9), "too-large: it printed 12 bytes, and max_output is 65536"),
            (ran("null", 0), "timeout: it did not end within "),
            (head("404 X") + "{\"reason\":\"undeclared\",\"message\":\"no\"}", "undeclared: no"),
            (head("409 X") + "{\"reason\":\"busy\",\"message\":\"no\\u0007\"}", "busy: no "),
            (head("409 X") + "{\"reason\":\"strange\",\"message\":\"no\"}", "status: unix:"),
            (head("403 X") + "{\"message\":\"no\"}", "status: unix:"),
            (head("200 OK") + "{}", "protocol: "),
        ] {
            let keys = "env = { PGPASSWORD = \"env:TOKEN\" }";
            let (batch, asked) = looked(keys, &[version(), ("POST /backstop/inside/orders ", answer)]).await;
            assert!(outcome(&batch).starts_with(wanted), "{}", outcome(&batch));
            assert_eq!(asked.len(), 2);
            assert!(!asked[1].contains("psql") && !asked[1].contains("hunter2"), "{}", asked[1]);
        }
    }

    #[test]
    fn a_service_is_a_project_and_a_name() {
        let shop = Service { project: "shop".into(), service: "db-1".into() };
        assert_eq!(Service::parse("shop/db-1"), Ok(shop));
        for text in ["", "shop", "/db", "shop/", "shop/*", "a/b/c", "shop/d b", "shop/\n", &format!("a/{:0200}", 1)] {
            assert!(Service::parse(text).is_err(), "{text}");
        }
    }
}
