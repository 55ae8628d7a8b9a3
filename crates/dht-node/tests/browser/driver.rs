//! A browser that is told what to do by W3C WebDriver: JSON over HTTP.
//!
//! The clients that there are for Rust are asynchronous and bring fifty crates; these tests need
//! six of the protocol's commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

/// Longest time that a command may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names of the browser; the first that is there is taken.
const BROWSERS: [&str; 2] = ["chromium", "chromium-browser"];
const DRIVER: &str = "chromedriver";
/// How often the driver is started anew when it cannot have its port.
const DRIVER_TRIES: usize = 5;
/// How the driver says where it listens.
const LISTENS: &str = "was started successfully on port ";

/// A key without a character. Source: W3C WebDriver, "Keyboard actions".
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const SPACE: &str = " ";
}

/// What the browser pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_phone: bool,
    pub(crate) is_dark: bool,
}

/// A desk's screen, light.
pub(crate) const DESKTOP: Device =
    Device { width: 1280, height: 900, is_phone: false, is_dark: false };
/// A phone's screen, light.
pub(crate) const PHONE: Device = Device { width: 390, height: 844, is_phone: true, is_dark: false };

impl Device {
    pub(crate) const fn dark(self) -> Self {
        Self { is_dark: true, ..self }
    }
}

/// A browser of its own, with a profile of its own; ended when dropped.
pub(crate) struct Browser {
    driver: Child,
    /// Kept open: what the driver writes there must find a reader.
    _stdout: BufReader<ChildStdout>,
    agent: Agent,
    /// The URL of the session.
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// None where there is no browser, which is told.
    pub(crate) fn start(device: Device) -> Option<Self> {
        let is_there = |program: &&str| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let browser = BROWSERS.into_iter().find(is_there);
        let (Some(browser), true) = (browser, is_there(&DRIVER)) else {
            let missing = format!("{} and {DRIVER} are not both there", BROWSERS[0]);
            let is_required = std::env::var("DHT_REQUIRE_BROWSER").is_ok_and(|it| it == "1");
            assert!(!is_required, "DHT_REQUIRE_BROWSER=1, but {missing}");
            // Not `eprintln`, whose lines are kept from the user where a test passes.
            let skipped = "skipped: a test of the admin page in a browser";
            let _ = writeln!(std::io::stderr(), "{skipped}: {missing}");
            return None;
        };
        let mut browser = Self::launch(browser);
        browser.pretend(device);
        Some(browser)
    }

    fn launch(browser: &str) -> Self {
        let started = (0..DRIVER_TRIES).find_map(|_| start_driver());
        let (driver, stdout, port) = started.expect("a driver that tells its port");
        let agent = agent();
        let profile = tempfile::tempdir().unwrap();
        let path = format!("--user-data-dir={}", profile.path().display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Whatever asks for a name gets none: all is on this machine.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            &path,
            // Not the page for new tabs, which has requests of its own.
            "about:blank",
        ];
        let binary = ["/usr/bin", "/usr/local/bin"].map(|folder| format!("{folder}/{browser}"));
        let binary = binary.iter().find(|path| std::path::Path::new(path).exists());
        let mut options = json!({ "args": args });
        if let Some(binary) = binary {
            options["binary"] = json!(binary);
        }
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let mut this = Self { driver, _stdout: stdout, agent, session: base, _profile: profile };
        let session = this.command("", &capabilities);
        let id = session["sessionId"].as_str().expect("an id").to_owned();
        this.session = format!("{}/{id}", this.session);
        this
    }

    fn pretend(&mut self, device: Device) {
        let Device { width, height, is_phone, is_dark } = device;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone,
            }),
        );
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// A command of the session, and what it gives.
    fn command(&self, path: &str, body: &Value) -> Value {
        let answer = self.agent.post(format!("{}{path}", self.session)).send_json(body);
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut told: Value = answer.body_mut().read_json().expect("the protocol's JSON");
        assert_eq!(answer.status(), 200, "{path} {body}: {told}");
        told["value"].take()
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn devtools(&self, command: &str, params: &Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function, which finds `args` in `arguments`.
    pub(crate) fn run(&self, script: &str, args: &[&str]) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": args }))
    }

    /// Clicks with a mouse on an element that is shown.
    pub(crate) fn click(&self, css: &str) {
        let found = self.command("/element", &json!({ "using": "css selector", "value": css }));
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str).expect("the id of an element");
        self.command(&format!("/element/{id}/click"), &json!({}));
    }

    /// Presses and releases keys, one for each character.
    pub(crate) fn press(&self, keys: &str) {
        let key = |key: char| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        };
        let actions: Vec<Value> = keys.chars().flat_map(key).collect();
        let source = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.command("/actions", &json!({ "actions": [source] }));
    }

    /// What the console and the page's scripts have said since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({ "type": "browser" }));
        entries.as_array().expect("a list").iter().map(Value::to_string).collect()
    }

    /// The URLs that were asked for since the last call.
    pub(crate) fn requested(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({ "type": "performance" }));
        let entries = entries.as_array().expect("a list").iter();
        let requested = entries.filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        requested.collect()
    }

    /// A picture of a part of the page, as PNG in base64.
    pub(crate) fn picture(&self, (top, width, height): (f64, u32, u32), scale: f64) -> String {
        let clip = json!({ "x": 0, "y": top, "width": width, "height": height, "scale": scale });
        let params = json!({ "captureBeyondViewport": true, "clip": clip });
        let mut picture = self.devtools("Page.captureScreenshot", &params);
        let Value::String(data) = picture["data"].take() else { panic!("no picture") };
        data
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of the session ends the browser. Where it cannot be ended, the test has failed
        // and says why itself.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// HTTP without a proxy; an error status is an answer like any other.
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

/// Starts the driver on a port that it chooses and tells. None if it ends instead: somebody else
/// may have taken the port before it listened on it.
fn start_driver() -> Option<(Child, BufReader<ChildStdout>, u16)> {
    let mut driver = Command::new(DRIVER)
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it has told its version");
    let mut stdout = BufReader::new(driver.stdout.take().expect("a pipe"));
    let told = stdout.by_ref().lines().map_while(Result::ok);
    let mut ports = told.filter_map(|line| {
        let (_, port) = line.split_once(LISTENS)?;
        port.trim_end_matches('.').parse().ok()
    });
    if let Some(port) = ports.next() {
        return Some((driver, stdout, port));
    }
    driver.wait().expect("our child");
    None
}
