//! `[tcp.NAME]`: is a port open, and what does it say first?
//!
//! Enters: one connection. Leaves: `probe_expect_ok{expect}` for each subject that is judged, beside the `probe_*` of
//! every source. Nothing is ever sent. The first line is read only where `banner` is expected to be something.
//!
//! Reasons: `resolve`, `permission`, `error` (nothing can be said); `refused`, `unreachable`, `timeout`, `missing` (not
//! open, and it should be); `open` (open, and it should not be); `banner` (another first line than expected).

use super::common::{Common, Defaults, Target};
use super::expect::{Expectation, Judge, Kind, Observation, read_expect};
use crate::base::table::Placed;
use crate::base::{Batch, Failure, Node, Outcome, Problems, Sample, Table, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::connect::{Address, Connector, Contact};

/// Names that exist from the start.
pub const NAMES: [&str; 4] = ["probe_success", "probe_duration_seconds", "probe_failure_info", "probe_expect_ok"];

/// The table `[tcp.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Where to connect.
    pub address: Address,
    /// As it was written: the `instance`.
    pub written: String,
    /// What must be seen.
    pub expect: Vec<Expectation>,
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[tcp.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("tcp", name, &mut table, defaults, problems);
        let address = read_address(&mut table, problems);
        let expect = read_expect(&mut table, Kind::Tcp, problems);
        check(&mut table, &expect, problems);
        table.finish(problems);
        let (address, written) = address?;
        Some(Config { common, address, written, expect })
    }
}

fn read_address(table: &mut Table<'_>, problems: &mut Problems) -> Option<(Address, String)> {
    const EXAMPLE: &str = "\"127.0.0.1:5432\"";
    let Placed { value, place } = table.required::<Placed<String>>("address", EXAMPLE, problems)?;
    match Address::parse(&value) {
        Ok(address) => Some((address, value)),
        Err(why) => {
            let problem = problems.error(&place, why, "");
            problem.help("for example: \"127.0.0.1:5432\", \"[::1]:22\", \"unix:/run/x.sock\"");
            // Whatever stands before an `@` may be a password.
            if value.contains('@') {
                problem.secret();
            }
            None
        }
    }
}

fn is_about(expect: &[Expectation], subject: &str) -> bool {
    expect.iter().any(|expectation| expectation.label() == subject)
}

/// Expectations that can never hold together.
fn check(table: &mut Table<'_>, expect: &[Expectation], problems: &mut Problems) {
    if !is_about(expect, "closed") {
        return;
    }
    let Some(node) = table.node("expect") else { return };
    if is_about(expect, "open") {
        problems.error(&node.place, "a port is never both open and closed", "one of them always fails");
    } else if is_about(expect, "banner") {
        problems.error(&node.place, "a closed port says nothing", "`banner` needs one that is open");
    }
}

/// A probed port.
#[derive(Debug)]
pub struct Tcp {
    config: Config,
    target: Target,
    judge: Judge,
    connector: Connector,
    /// Whether the first line is of interest.
    listens: bool,
}

impl Tcp {
    /// A target that nobody connected to yet.
    pub fn new(config: Config) -> Tcp {
        let target = Target::new(&config.common, config.written.clone());
        let judge = Judge::new(&config.expect, &[], &target, &[]);
        let listens = is_about(&config.expect, "banner");
        Tcp { target, judge, connector: Connector::default(), listens, config }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files that a look asks about: the socket, if it is one.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        match &self.config.address {
            Address::Socket(path) => vec![path.clone()],
            Address::Port(..) => Vec::new(),
        }
    }

    /// Connects once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let contact = self.connector.contact(&self.config.address, self.listens, self.target.timeout).await;
        let (outcome, samples) = match contact {
            Ok(contact) => self.judged(at, contact),
            Err(failure) => (Outcome::Failed(failure), Vec::new()),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    /// Pure: what became of the connection in, samples and outcome out.
    fn judged(&self, at: Timestamp, contact: Contact) -> (Outcome, Vec<Sample>) {
        let (open, banner, why) = match contact {
            Contact::Open(banner) => (true, banner, None),
            Contact::Closed(why) => (false, None, Some(why)),
        };
        let seen = Observation { open: Some(open), banner: banner.as_deref(), now: at, ..Observation::default() };
        let mut samples = Vec::new();
        let outcome = self.judge.judge(&seen, &mut samples);
        let outcome = match (outcome, why) {
            // Why it is not open says more than that it is not.
            (Outcome::Failed(failure), Some(why)) if failure.reason == "open" => Outcome::Failed(why),
            (Outcome::Failed(failure), _) if failure.reason == "closed" => {
                let detail = format!("{} accepts connections, and should not", self.config.written);
                Outcome::Failed(Failure::new("open", detail))
            }
            (outcome, _) => outcome,
        };
        (outcome, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, outcome, read, value};
    use crate::sys::tasks::Tasks;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, UnixListener};

    fn source(toml: &str) -> Tcp {
        let (config, problems) = read(toml, |node, problems| Config::read("db", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        Tcp::new(config.unwrap())
    }

    /// A server that says this to everybody and then keeps the connection.
    async fn server(said: &'static [u8]) -> (String, Tasks) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks = Tasks::new();
        tasks.spawn("server", async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(said).await.unwrap();
                kept.push(stream);
            }
        });
        (address, tasks)
    }

    async fn nobody() -> String {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_port_is_open_or_says_why_it_is_not() {
        let (open, _server) = server(b"SSH-2.0-OpenSSH_9.6\r\nmore").await;
        let closed = nobody().await;
        for (address, expect, wanted) in [
            (&open, "", "good"),
            (&open, "expect = \"open\"", "good"),
            (&open, "expect = [\"banner matches '^SSH-2'\"]", "good"),
            (&open, "expect = [\"banner contains 'OpenSSH'\", \"len banner < 100\"]", "good"),
            (&open, "expect = [\"banner == 'SSH-2.0-OpenSSH_9.6'\"]", "good"),
            (
                &open,
                "expect = [\"banner starts with '220'\"]",
                "banner: expected banner starts with '220', saw \"SSH-2.0-OpenSSH_9.6\"",
            ),
            (&open, "expect = [\"closed\"]", &format!("open: {open} accepts connections, and should not")),
            (&closed, "", &format!("refused: {closed} refused the connection")),
            (&closed, "expect = [\"banner exists\"]", &format!("refused: {closed} refused the connection")),
            (&closed, "expect = [\"closed\"]", "good"),
        ] {
            let batch = source(&format!("address = \"{address}\"\n{expect}")).collect(Timestamp(1)).await;
            assert_eq!(outcome(&batch), wanted, "{expect}");
            assert_eq!(value(&batch, "probe_success", &[]), Some(if wanted == "good" { 1.0 } else { 0.0 }));
            assert_eq!(batch.instance, *address);
        }
        let batch = source(&format!("address = \"{closed}\"")).collect(Timestamp(1)).await;
        assert_eq!(value(&batch, "probe_expect_ok", &[("expect", "open")]), Some(0.0));
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", "refused")]), Some(1.0));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_has_no_banner() {
        let (silent, _server) = server(b"").await;
        let toml = format!("address = \"{silent}\"\ntimeout = \"100ms\"\nexpect = [\"banner exists\"]");
        assert_eq!(
            outcome(&source(&toml).collect(Timestamp(1)).await),
            "banner: expected banner exists, it is missing"
        );
        let toml = format!("address = \"{silent}\"\ntimeout = \"100ms\"\nexpect = [\"banner missing\"]");
        assert_eq!(outcome(&source(&toml).collect(Timestamp(1)).await), "good");
    }

    #[tokio::test]
    async fn a_socket_in_the_file_system_is_a_port_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let toml = format!("address = \"unix:{}\"", path.display());
        let missing = format!("missing: {} is not there", path.display());
        assert_eq!(outcome(&source(&toml).collect(Timestamp(1)).await), missing);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(outcome(&source(&toml).collect(Timestamp(1)).await), "good");
        drop(listener);
        let refused = format!("refused: {} refused the connection", path.display());
        assert_eq!(outcome(&source(&toml).collect(Timestamp(1)).await), refused);
    }

    #[tokio::test]
    async fn a_name_that_is_none_is_neither_open_nor_closed() {
        let batch = source("address = \"no-such-host.invalid:1\"\nexpect = [\"closed\"]").collect(Timestamp(1)).await;
        assert!(outcome(&batch).starts_with("resolve: "), "{}", outcome(&batch));
        assert_eq!(value(&batch, "probe_expect_ok", &[]), None);
    }

    #[test]
    fn a_firewall_that_drops_closes_a_port() {
        let late = Contact::Closed(Failure::new("timeout", "192.0.2.1:1 did not answer in time"));
        let closed = source("address = \"192.0.2.1:1\"\nexpect = \"closed\"");
        assert_eq!(closed.judged(Timestamp(1), late.clone()).0, Outcome::Good);
        let open = source("address = \"192.0.2.1:1\"");
        let Outcome::Failed(failure) = open.judged(Timestamp(1), late).0 else { panic!("it is not open") };
        assert_eq!(failure.to_string(), "timeout: 192.0.2.1:1 did not answer in time");
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("", "[tcp.db] needs `address`"),
            ("address = \"localhost\"", "the port is missing"),
            ("address = \"u:hunter2@h:1\"", "an address of a port is a host and a port alone"),
            ("address = \"h:1\"\nexpect = [\"opn\"]", "`opn` is no subject"),
            ("address = \"h:1\"\nexpect = [\"status == 200\"]", "`status` is nothing that a source of kind tcp sees"),
            ("address = \"h:1\"\nexpect = [\"open\", \"closed\"]", "a port is never both open and closed"),
            ("address = \"h:1\"\nexpect = [\"closed\", \"banner exists\"]", "a closed port says nothing"),
            ("address = \"h:1\"\nexpect = [\"open now\"]", "nothing more was expected here"),
            ("address = \"h:1\"\nport = 5", "unknown key `port`"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("db", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}
