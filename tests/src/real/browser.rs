//! A real Chromium without a screen, by the `WebDriver` protocol.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{command, deadline, netns::Namespace, process::Process, unique};

const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one window, in a namespace; it ends with its owner.
#[derive(Debug)]
pub struct Browser<'a> {
    namespace: &'a Namespace,
    at: SocketAddr,
    session: String,
    driver: Process,
    directory: TempDir,
}

impl<'a> Browser<'a> {
    /// Starts it; its driver listens at this address of the namespace.
    pub fn start(namespace: &'a Namespace, at: SocketAddr) -> Result<Self> {
        let directory = unique::directory()?;
        // In a process namespace of its own, so that whatever the driver starts ends with it.
        let mut command = namespace.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["chromedriver", &format!("--port={}", at.port())]);
        command.env("HOME", directory.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::start(&mut command)?;
        let mut browser = Self {
            namespace,
            at,
            session: String::new(),
            driver,
            directory,
        };
        browser.wait_until_ready()?;
        browser.open_session()?;
        Ok(browser)
    }

    /// Goes to a page, and waits until it has loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.ask("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// Forgets the files that it has kept.
    pub fn forget(&self) -> Result<()> {
        self.devtools("Network.clearBrowserCache", &json!({}))
            .map(drop)
    }

    /// What a function's body returns on the page.
    pub fn run(&self, script: &str) -> Result<Value> {
        let call = json!({ "script": script, "args": [] });
        self.ask("POST", "/execute/sync", &call)
    }

    /// What the page and the browser have complained of since it was asked last, each with its level
    /// and its source.
    pub fn complaints(&self) -> Result<Vec<Value>> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }))?;
        let log: Vec<Value> = serde_json::from_value(log)?;
        let bad = |entry: &Value| entry["level"] == "SEVERE" || entry["level"] == "WARNING";
        Ok(log.into_iter().filter(bad).collect())
    }

    /// Gives the page so much room, as a device of that size would.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)
            .map(drop)
    }

    /// Shows the page as to a person who likes it `dark` or `light`.
    pub fn prefer(&self, scheme: &str) -> Result<()> {
        let features = json!({
            "features": [{ "name": "prefers-color-scheme", "value": scheme }],
        });
        self.devtools("Emulation.setEmulatedMedia", &features)
            .map(drop)
    }

    /// Writes a picture of the whole page, also of what would have to be scrolled to, as PNG.
    pub fn picture(&self, file: &Path) -> Result<()> {
        let how = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", &how)?;
        let text = picture["data"].as_str().context("a picture")?;
        let decoded = command::run_with_input(
            Command::new("sh")
                .args(["-c", "base64 -d > \"$0\""])
                .arg(file),
            text,
        );
        decoded.map(drop)
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        let call = json!({ "cmd": command, "params": parameters });
        self.ask("POST", "/goog/cdp/execute", &call)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let path = format!("/session/{}{path}", self.session);
        self.call(method, &path, body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let mut curl = self.namespace.command("curl");
        curl.args(["-sS", "--max-time", "60", "-X", method, "--data", "@-"]);
        curl.args(["-H", "content-type: application/json"]);
        curl.arg(format!("http://{}{path}", self.at));
        let answer = command::run_with_input(&mut curl, &body.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("chromedriver wrote: {answer}"))?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!("{method} {path}: {error}: {}", value["message"]);
        }
        Ok(value)
    }

    fn open_session(&mut self) -> Result<()> {
        let profile = self.directory.path().join("profile");
        fs::create_dir(&profile)?;
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--hide-scrollbars", "--disable-background-networking",
                format!("--user-data-dir={}", profile.display()),
            ] },
        } } });
        let opened = self.call("POST", "/session", &capabilities)?;
        let session = opened["sessionId"].as_str().context("a session")?;
        session.clone_into(&mut self.session);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let _inside = self.namespace.enter()?;
        let at = self.at;
        deadline::until("chromedriver to listen", PATIENCE, || {
            if let Some(status) = self.driver.ended()? {
                bail!("chromedriver ended at once with {status}");
            }
            Ok(TcpStream::connect(at).ok().map(drop))
        })
    }
}
