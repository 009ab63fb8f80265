//! SeaweedFS, a real S3 server, and a look into its bucket.

use super::{RUNTIME, Server, free_port, tool, unprivileged_folder};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use postgres_backup_job::config::{Config, Retry};
use postgres_backup_job::storage::{Storage, read_small};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

pub const ACCESS: &str = "minioadmin";
pub const SECRET: &str = "s3-secret-that-must-not-leak";
pub const BUCKET: &str = "test-backup";

pub struct Seaweed {
    _server: Server,
    pub port: u16,
}

static SHARED: LazyLock<Seaweed> = LazyLock::new(Seaweed::start);
static NEXT_PREFIX: AtomicU32 = AtomicU32::new(0);

/// The server that tests share; each has its own prefix there.
pub fn shared() -> &'static Seaweed {
    &SHARED
}

/// A folder in the bucket that no other test uses.
pub fn fresh_prefix() -> String {
    format!("test-{}-{}", std::process::id(), NEXT_PREFIX.fetch_add(1, Ordering::Relaxed))
}

impl Seaweed {
    /// Somebody else may take a port between the moment it was free and the moment it is needed.
    fn start() -> Self {
        let started = (0..3).find_map(|_| {
            let seaweed = Self::launch();
            let store = seaweed.store("");
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                if RUNTIME.block_on(store.list("")).is_ok() {
                    return Some(seaweed);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            None
        });
        started.expect("SeaweedFS does not start")
    }

    fn launch() -> Self {
        let folder = unprivileged_folder();
        let path = folder.path().display().to_string();
        let ports: Vec<u16> = (0..4).map(|_| free_port(10_000)).collect();
        let command = format!(
            "AWS_ACCESS_KEY_ID={ACCESS} AWS_SECRET_ACCESS_KEY={SECRET} HOME='{path}' exec '{}' mini -dir='{path}' \
             -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port={} -volume.port={} -filer.port={} -s3.port={} \
             -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false -admin.ui=false -s3.autoCreateBucket=false -bucket={BUCKET}",
            tool("WEED"),
            ports[0],
            ports[1],
            ports[2],
            ports[3]
        );
        let server = Server::start(folder, "TERM", &command);
        Self { _server: server, port: ports[3] }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The backend itself, over one prefix.
    pub fn store(&self, prefix: &str) -> Arc<dyn Storage> {
        store_at(&self.endpoint(), prefix)
    }

    /// Keys under a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        RUNTIME.block_on(self.store(prefix).list("")).unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Keys with their contents.
    pub fn contents(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let store = self.store(prefix);
        let read = |key: String| {
            let bytes = RUNTIME.block_on(read_small(&*store, &key, 1 << 30)).unwrap().to_vec();
            (key, bytes)
        };
        self.keys(prefix).into_iter().map(read).collect()
    }

    /// A new bucket that keeps versions of what is deleted.
    pub fn bucket_with_versions(&self) -> String {
        let (client, bucket) = (sdk(&self.endpoint()), fresh_prefix());
        RUNTIME.block_on(async {
            client.create_bucket().bucket(&bucket).send().await.unwrap();
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            client.put_bucket_versioning().bucket(&bucket).versioning_configuration(on).send().await.unwrap();
        });
        bucket
    }

    /// Uploads to keys under the prefix that were begun and not ended.
    pub fn unfinished(&self, prefix: &str) -> Vec<String> {
        let client = sdk(&self.endpoint());
        // without the slash the first prefix is the beginning of the tenth
        let request = client.list_multipart_uploads().bucket(BUCKET).prefix(format!("{prefix}/"));
        let page = RUNTIME.block_on(request.send()).unwrap();
        page.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect()
    }
}

/// The backend over any endpoint, with two attempts.
pub fn store_at(endpoint: &str, prefix: &str) -> Arc<dyn Storage> {
    let pairs = [
        ("REMOTE_ENDPOINT", endpoint),
        ("REMOTE_ACCESS_KEY", ACCESS),
        ("REMOTE_SECRET_KEY", SECRET),
        ("REMOTE_PREFIX", prefix),
    ];
    let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
    let config = Config::load(pairs, Path::new("/nonexistent")).unwrap();
    let retry = Retry { attempts: 2, delay: Duration::from_millis(50) };
    RUNTIME.block_on(config.remote.open(retry, Duration::from_secs(20), 8)).unwrap()
}

fn sdk(endpoint: &str) -> aws_sdk_s3::Client {
    let credentials = aws_sdk_s3::config::Credentials::new(ACCESS, SECRET, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(credentials)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}
