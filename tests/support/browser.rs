//! A headless Chromium, driven as WebDriver says.

use super::{RUNTIME, Server, free_port, tool, unprivileged_folder, wait_for};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub struct Browser {
    base: String,
    _driver: Server,
}

impl Browser {
    pub fn start() -> Self {
        let (port, folder) = (free_port(0), unprivileged_folder());
        let (profile, driver) = (folder.path().join("profile"), tool("CHROMEDRIVER"));
        let home = folder.path().display().to_string();
        let command = format!("HOME='{home}' exec '{driver}' --port={port}");
        let server = Server::start(folder, "TERM", &command);
        let root = format!("http://127.0.0.1:{port}");
        wait_for("chromedriver", || super::http::get(&format!("{root}/status")).is_ok_and(|(status, _)| status == 200));
        // nothing is asked of anybody but the page under test
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": tool("CHROMIUM"), "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = post(&format!("{root}/session"), &wanted);
        let id = session["sessionId"].as_str().expect("a session").to_owned();
        Self { base: format!("{root}/session/{id}"), _driver: server }
    }

    pub fn open(&self, url: &str) {
        self.send("url", &json!({ "url": url }));
    }

    /// Size of the page, its colours, and how many dots make a pixel.
    pub fn show(&self, width: u32, height: u32, dark: bool) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        );
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.send("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Everything the browser has complained of since it was last asked.
    pub fn complaints(&self) -> Value {
        self.send("se/log", &json!({ "type": "browser" }))
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let shot = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.send("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn send(&self, command: &str, body: &Value) -> Value {
        post(&format!("{}/{command}", self.base), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = RUNTIME.block_on(reqwest::Client::new().delete(&self.base).send());
    }
}

fn post(url: &str, body: &Value) -> Value {
    RUNTIME.block_on(async {
        let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
        let status = answer.status();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{url}: {answer:#}");
        answer["value"].take()
    })
}
