//! Prometheus, which watches itself and what it is told to.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, deadline, netns::Namespace, process::Process, unique};

/// A Prometheus that answers queries; it scrapes itself as the job `itself`, others as `serin`.
#[derive(Debug)]
pub struct Prometheus {
    at: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it in a namespace, listening there, and returns once it accepts connections.
    pub fn start(namespace: &Namespace, at: SocketAddr, others: &[SocketAddr]) -> Result<Self> {
        let directory = unique::directory()?;
        let others: Vec<String> = others.iter().map(|other| format!("'{other}'")).collect();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: itself\n    \
             static_configs: [{{ targets: ['{at}'] }}]\n  - job_name: serin\n    \
             static_configs: [{{ targets: [{}] }}]\n",
            others.join(", ")
        );
        fs::write(&config, text)?;
        let mut command = namespace.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        let data = directory.path().join("data");
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address={at}"));
        command.arg("--log.level=error");
        let mut prometheus = Self {
            at,
            process: Process::start(&mut command)?,
            _directory: directory,
        };
        prometheus.wait_until_ready(namespace)?;
        Ok(prometheus)
    }

    /// What a query comes to: the result, as its API has it. Empty as long as there is none.
    pub fn query(&self, namespace: &Namespace, query: &str) -> Result<Vec<Value>> {
        let mut curl = namespace.command("curl");
        curl.args([
            "-sS",
            "--get",
            "--data-urlencode",
            &format!("query={query}"),
        ]);
        curl.arg(format!("http://{}/api/v1/query", self.at));
        let mut answer: Value = serde_json::from_str(&command::run(&mut curl)?)?;
        let result = answer["data"]["result"].take();
        serde_json::from_value(result).with_context(|| format!("`{query}` gave {answer}"))
    }

    fn wait_until_ready(&mut self, namespace: &Namespace) -> Result<()> {
        let _inside = namespace.enter()?;
        let at = self.at;
        deadline::until("prometheus to listen", Duration::from_secs(20), || {
            if let Some(status) = self.process.ended()? {
                bail!("prometheus ended at once with {status}");
            }
            Ok(TcpStream::connect(at).ok().map(drop))
        })
        .context("starting prometheus")
    }
}

/// Fails with what `promtool check metrics` has to say against a page in Prometheus' own format.
pub fn check_metrics(page: &str) -> Result<()> {
    let mut promtool = Command::new("promtool");
    command::run_with_input(promtool.args(["check", "metrics"]), page).map(drop)
}
