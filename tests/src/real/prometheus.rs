//! Prometheus, which watches itself.

use std::{fs, net::TcpStream, time::Duration};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{deadline, process::Process, topology::Backend, unique};

/// A Prometheus that answers queries, and asks nobody but itself.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it in a backend's namespace and returns once it accepts connections.
    pub fn start(backend: &Backend, port: u16) -> Result<Self> {
        let directory = unique::directory()?;
        let at = format!("{}:{port}", backend.v4);
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: itself\n    \
             static_configs: [{{ targets: ['{at}'] }}]\n"
        );
        fs::write(&config, text)?;
        let mut command = backend.namespace.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        let data = directory.path().join("data");
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address={at}"));
        command.arg("--log.level=error");
        let mut prometheus = Self {
            process: Process::start(&mut command)?,
            _directory: directory,
        };
        prometheus.wait_until_ready(backend, port)?;
        Ok(prometheus)
    }

    fn wait_until_ready(&mut self, backend: &Backend, port: u16) -> Result<()> {
        let _inside = backend.namespace.enter()?;
        deadline::until("prometheus to listen", Duration::from_secs(20), || {
            if let Some(status) = self.process.ended()? {
                bail!("prometheus ended at once with {status}");
            }
            Ok(TcpStream::connect((backend.v4, port)).ok().map(drop))
        })
        .context("starting prometheus")
    }
}
