//! Azurite, Microsoft's own emulator of its blob storage.

use super::{RUNTIME, Server, free_port, tool, unprivileged_folder};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The account that the emulator always has, and its key, which are in Microsoft's documentation.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
pub const CONTAINER: &str = "backups";

pub struct Azurite {
    _server: Server,
    pub port: u16,
}

static SHARED: LazyLock<Azurite> = LazyLock::new(Azurite::start);

/// The server that tests share, with its container.
pub fn shared() -> &'static Azurite {
    &SHARED
}

impl Azurite {
    fn start() -> Self {
        let started = (0..3).find_map(|_| {
            let azurite = Self::launch();
            let end = Instant::now() + Duration::from_secs(30);
            while Instant::now() < end {
                if azurite.create_container() {
                    return Some(azurite);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            None
        });
        started.expect("Azurite does not start")
    }

    fn launch() -> Self {
        let folder = unprivileged_folder();
        let port = free_port(0);
        let command = format!(
            "HOME='{0}' exec '{1}' '{2}' --inMemoryPersistence --skipApiVersionCheck --disableTelemetry \
             --blobHost 127.0.0.1 --blobPort {port}",
            folder.path().display(),
            tool("NODE"),
            tool("AZURITE"),
        );
        Self { _server: Server::start(folder, "TERM", &command), port }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A shared access signature for the container until tomorrow, with these rights.
    pub fn signature(&self, rights: &str) -> String {
        let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        // the fields of a service signature of this version, in their order
        let resource = format!("/blob/{ACCOUNT}/{CONTAINER}");
        let fields =
            [rights, "", &until, &resource, "", "", "http,https", "2020-12-06", "c", "", "", "", "", "", "", ""];
        let signature = hmac(&fields.join("\n"));
        let query = [
            ("sp", rights),
            ("se", &until),
            ("spr", "http,https"),
            ("sv", "2020-12-06"),
            ("sr", "c"),
            ("sig", &signature),
        ];
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()
    }

    fn create_container(&self) -> bool {
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let canonical = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2020-12-06\n\
             /{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
        );
        let authorization = format!("SharedKey {ACCOUNT}:{}", hmac(&canonical));
        let request = reqwest::Client::new()
            .put(format!("{}/{CONTAINER}?restype=container", self.endpoint()))
            .header("x-ms-date", date)
            .header("x-ms-version", "2020-12-06")
            .header("content-length", "0")
            .header("authorization", authorization);
        RUNTIME.block_on(request.send()).is_ok_and(|answer| answer.status().is_success())
    }
}

fn hmac(text: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY).unwrap());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()).as_ref())
}
