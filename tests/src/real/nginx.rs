//! nginx as a backend.

use std::{fs, net::TcpStream, path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{certificate::Certificate, deadline, process::Process, topology::Backend, unique};

const BIG_FILE_BYTES: usize = 4 << 20;

/// An nginx that answers `/` as [`crate::server::Server`] does, and `/big` with 4 MiB.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it in a backend's namespace and returns once it accepts connections.
    pub fn start(backend: &Backend, version: &str, name: &str, port: u16) -> Result<Self> {
        Self::serve(backend, version, name, port, "")
    }

    /// The same over TLS, with HTTP/1.1 and HTTP/2.
    pub fn start_tls(
        backend: &Backend,
        (version, name): (&str, &str),
        port: u16,
        certificate: &Certificate,
    ) -> Result<Self> {
        let tls = format!(
            "ssl_certificate {};\n    ssl_certificate_key {};",
            certificate.path().display(),
            certificate.key_path().display()
        );
        Self::serve(backend, version, name, port, &tls)
    }

    fn serve(backend: &Backend, version: &str, name: &str, port: u16, tls: &str) -> Result<Self> {
        let directory = unique::directory()?;
        fs::write(directory.path().join("big"), vec![b'x'; BIG_FILE_BYTES])?;
        let config = config(directory.path(), version, name, port, tls);
        let path = directory.path().join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = backend.namespace.command("nginx");
        command.arg("-p").arg(directory.path()).arg("-c").arg(&path);
        command.args(["-e", "stderr"]);
        let mut nginx = Self {
            process: Process::start(&mut command)?,
            _directory: directory,
        };
        nginx.wait_until_ready(backend, port)?;
        Ok(nginx)
    }

    /// Stops it as `nginx -s quit` does: open requests are answered first.
    pub fn quit(mut self) -> Result<()> {
        self.process
            .stop(Signal::SIGQUIT, Duration::from_secs(10))?;
        Ok(())
    }

    fn wait_until_ready(&mut self, backend: &Backend, port: u16) -> Result<()> {
        let _inside = backend.namespace.enter()?;
        deadline::until("nginx to listen", Duration::from_secs(5), || {
            if let Some(status) = self.process.ended()? {
                anyhow::bail!("nginx ended at once with {status}");
            }
            Ok(TcpStream::connect((backend.v4, port)).ok().map(drop))
        })
        .context("starting nginx")
    }
}

/// One process and no files outside the directory, so that killing it leaves nothing.
fn config(directory: &Path, version: &str, name: &str, port: u16, tls: &str) -> String {
    let directory = directory.display();
    let ssl = if tls.is_empty() { "" } else { "ssl http2" };
    format!(
        r#"user root;
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen {port} {ssl} backlog=4096;
    listen [::]:{port} {ssl} backlog=4096;
    {tls}
    location = / {{ return 200 "{version} {name} $remote_addr\n"; }}
    location = /big {{ root {directory}; add_header X-Backend {name}; }}
  }}
}}
"#
    )
}
