//! A small Kubernetes of our own (tests/tools/cluster), kubectl, Helm, and the Makefile's targets for them.

use super::backup::{Outcome, finish};
use super::gate::Door;
use super::tool;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub const NAMESPACE: &str = "backups";

/// Ends with this process, because its standard input does.
pub struct Cluster {
    server: Child,
    pub folder: tempfile::TempDir,
}

impl Cluster {
    /// `runner` is `docker`, or a program that stands for the image.
    pub fn start(runner: &str) -> Self {
        Self::with_nodes(runner, 1)
    }

    /// A cluster of several nodes, `node-1` and so on, all of them this machine.
    pub fn with_nodes(runner: &str, nodes: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("backup-cluster-").tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = Command::new(tool("PYTHON"))
            .args(["-m", "cluster", "--kubeconfig", "kubeconfig", "--state", "state", "--runner", runner])
            .args(["--nodes", &nodes.to_string()])
            .current_dir(folder.path())
            .env("PYTHONPATH", tools())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let cluster = Self { server, folder };
        super::wait_for("the cluster", || cluster.kubeconfig().exists());
        cluster
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A way to the cluster that can be closed, and the kubeconfig of whoever goes that way.
    pub fn door(&self) -> (Door, String) {
        let config = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let port = config.split_once("127.0.0.1:").unwrap().1;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let door = Door::to(port.parse().unwrap());
        let through = config.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", door.port));
        (door, self.write("kubeconfig-through-the-door", &through))
    }

    /// A command in the project's folder whose kubectl and helm speak to this cluster.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let python = PathBuf::from(tool("PYTHON"));
        let path = [python.parent().unwrap(), &tools()].map(|folder| folder.display().to_string()).join(":");
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        // of the make and the shell that run the tests
        for name in ["MAKEFLAGS", "MAKELEVEL", "IMAGE", "IMAGE_TAG", "VALUES", "CLUSTER", "BACKUP", "DATABASE", "APP"] {
            command.env_remove(name);
        }
        command
    }

    fn done(mut command: Command) -> Outcome {
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// A target of the Makefile; the exit status is that of its command.
    pub fn make(&self, target: &str, variables: &[&str]) -> Outcome {
        let mut command = self.command("make");
        command.args(["--silent", target, &format!("NAMESPACE={NAMESPACE}"), "RELEASE=shop"]).args(variables);
        let mut done = Self::done(command);
        // make: *** [Makefile:1: target] Error 77
        let code = done.log.lines().rev().find_map(|line| line.strip_prefix("make: ***")?.rsplit_once(" Error "));
        if let Some((_, code)) = code {
            done.code = code.parse().unwrap();
        }
        done
    }

    /// The script behind the targets, going on beside the test.
    pub fn spawn(&self, target: &str, variables: &[(&str, &str)]) -> Child {
        let mut command = self.command("charts/k8s.sh");
        command.arg(target).env("NAMESPACE", NAMESPACE).env("RELEASE", "shop").envs(variables.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command("kubectl");
        command.args(["--namespace", NAMESPACE]).args(arguments);
        Self::done(command)
    }

    /// A field of objects by jsonpath.
    #[track_caller]
    pub fn get(&self, what: &[&str], path: &str) -> String {
        self.kubectl(&[&["get"], what, &["--output", &format!("jsonpath={{{path}}}")]].concat()).exits(0).stdout
    }

    /// Makes objects of a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        let file = self.write("manifest.yaml", manifest);
        self.kubectl(&["apply", "--filename", &file]).exits(0);
    }

    /// A file for a command, and its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Exit codes of the backup containers of a Job's pods, oldest first.
    #[track_caller]
    pub fn exit_codes(&self, job: &str) -> Vec<i32> {
        let pods = ["pods", "--selector", &format!("batch.kubernetes.io/job-name={job}")];
        let path = r#".items[*].status.containerStatuses[?(@.name=="backup")].state.terminated.exitCode"#;
        self.get(&pods, path).split_whitespace().map(|code| code.parse().unwrap()).collect()
    }

    /// The newest Job whose name begins like this.
    #[track_caller]
    pub fn newest_job(&self, beginning: &str) -> String {
        let names = self.get(&["jobs", "--sort-by", ".metadata.creationTimestamp"], ".items[*].metadata.name");
        let newest = names.split_whitespace().rev().find(|name| name.starts_with(beginning));
        newest.unwrap_or_else(|| panic!("no {beginning} in {names}")).to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools")
}
