//! A Docker engine of a test's own, beside the one of the host, in a folder of its own. It needs `dockerd`, `containerd`,
//! `docker` and a static `busybox`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use backstop::base::Span;
use backstop::sys::clock::{Stopwatch, pause};
use backstop::sys::engine::{Address, Engine};

use super::{Scratch, outside};

/// A Docker engine of the test's own; ends with the value.
pub struct Docker {
    scratch: Scratch,
    containerd: Child,
    dockerd: Child,
}

impl Docker {
    /// Starts one; `name` makes its folder unique within the process.
    pub async fn start(name: &str) -> Docker {
        // The path of a socket has a hundred bytes.
        let scratch = Scratch::new(name);
        let folder = scratch.path().to_path_buf();
        let containerd = daemon(
            &folder,
            "containerd",
            &[
                "--address".into(),
                at(&folder, "containerd.sock"),
                "--root".into(),
                at(&folder, "containerd"),
                "--state".into(),
                at(&folder, "containerd-state"),
            ],
        );
        there(&folder.join("containerd.sock")).await;
        let dockerd = Docker::dockerd(&folder);
        let docker = Docker { scratch, containerd, dockerd };
        docker.answers().await;
        docker
    }

    fn dockerd(folder: &Path) -> Child {
        let mut arguments: Vec<String> = Vec::new();
        // What the host's engine is told is not for this one.
        std::fs::write(folder.join("daemon.json"), "{}").unwrap();
        for (option, name) in [
            ("--config-file", "daemon.json"),
            ("--containerd", "containerd.sock"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
        ] {
            arguments.extend([option.into(), at(folder, name)]);
        }
        arguments.extend(["-H".into(), format!("unix://{}", at(folder, "docker.sock"))]);
        // Nothing of the host's network is touched, and any file system will do.
        for option in
            ["--live-restore", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]
        {
            arguments.push(option.into());
        }
        daemon(folder, "dockerd", &arguments)
    }

    /// Ends the engine without a word; containers go on.
    pub async fn kill(&mut self) {
        self.dockerd.kill().unwrap();
        self.dockerd.wait().unwrap();
        drop(std::fs::remove_file(self.scratch.path().join("docker.pid")));
    }

    /// Starts it again after [`Docker::kill`].
    pub async fn start_again(&mut self) {
        self.dockerd = Docker::dockerd(self.scratch.path());
        self.answers().await;
    }

    /// Where it listens.
    pub fn address(&self) -> Address {
        Address::Socket(self.scratch.path().join("docker.sock"))
    }

    async fn answers(&self) {
        let engine = Engine::new(Some(self.address()));
        let watch = Stopwatch::start();
        while engine.agree().await.is_err() {
            let log = || std::fs::read_to_string(self.scratch.path().join("dockerd.log")).unwrap_or_default();
            assert!(watch.elapsed() < Span::secs(120), "dockerd does not come up: {}", log());
            pause(Span::millis(100)).await;
        }
    }

    /// What `docker` prints, each stream by itself.
    pub fn docker(&self, arguments: &[&str]) -> (String, String) {
        let host = self.address().to_string();
        let all = [&["120", "docker", "-H", &host][..], arguments].concat();
        let output = Command::new("timeout").args(all).stdin(Stdio::null()).output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "docker {arguments:?}: {err}");
        (out, err)
    }

    /// An image with a shell.
    pub fn import(&self) {
        let root = self.scratch.path().join("image");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy(busybox().expect("a test that needs busybox asks for it"), root.join("bin/busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
        let tar = self.scratch.path().join("image.tar");
        let (tar, root) = (tar.to_str().unwrap(), root.to_str().unwrap());
        assert!(Command::new("tar").args(["-cf", tar, "-C", root, "."]).status().unwrap().success());
        self.docker(&["import", tar, "backstop-test-sh:1"]);
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts a container of a service of the project `shop`, without a network.
    pub fn run(&self, name: &str, service: &str, options: &[&str], script: &str) {
        self.start_in("none", name, service, options, script);
    }

    /// The same in a network.
    pub fn run_in(&self, network: &str, name: &str, service: &str, script: &str) {
        self.start_in(network, name, service, &[], script);
    }

    fn start_in(&self, network: &str, name: &str, service: &str, options: &[&str], script: &str) {
        let network = format!("--network={network}");
        let label = format!("com.docker.compose.service={service}");
        let begin = [
            "run",
            "-d",
            network.as_str(),
            "--name",
            name,
            "--label",
            "com.docker.compose.project=shop",
            "--label",
            &label,
        ];
        self.docker(&[&begin[..], options, &["backstop-test-sh:1", "/bin/sh", "-c", script]].concat());
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let host = self.address().to_string();
        let kill = "ids=$(docker -H \"$0\" ps -aq); [ -z \"$ids\" ] || docker -H \"$0\" rm -f $ids";
        drop(Command::new("timeout").args(["60", "sh", "-c", kill, &host]).stdout(Stdio::null()).status());
        for child in [&mut self.dockerd, &mut self.containerd] {
            // Politely, so that what is mounted is given back before the folder is removed.
            drop(Command::new("kill").arg(child.id().to_string()).status());
            drop(child.wait());
        }
        // Each start of an engine mounts its data once more, and one that was killed gives nothing back.
        let data = at(self.scratch.path(), "data");
        let unmount = "while grep -q \" $0 \" /proc/mounts; do umount -l \"$0\" || break; done";
        drop(Command::new("timeout").args(["30", "sh", "-c", unmount, &data]).status());
    }
}

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().into()
}

fn daemon(folder: &Path, name: &str, arguments: &[String]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.log"))).unwrap();
    let (out, err) = (log.try_clone().unwrap(), log);
    Command::new(name).args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap()
}

async fn there(path: &Path) {
    let watch = Stopwatch::start();
    while !path.exists() {
        assert!(watch.elapsed() < Span::secs(60), "{} does not come", path.display());
        pause(Span::millis(50)).await;
    }
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// Whether a real engine can be started here; says so where it cannot.
pub fn has_docker() -> bool {
    if !outside("docker") {
        return false;
    }
    for program in ["dockerd", "containerd", "docker"] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok(), "{program} is needed: apt-get install docker.io containerd");
    }
    assert!(busybox().is_some(), "busybox is needed: apt-get install busybox-static");
    true
}
