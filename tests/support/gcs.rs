//! Google's XML interface over a folder: an S3 service behind a front that speaks Google's headers and checks the
//! signature of the service account's token. And the same service as an S3 server of its own.

use super::RUNTIME;
use super::s3::{ACCESS, BUCKET, SECRET};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, DATE, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse};
use s3s_fs::FileSystem;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpListener;

/// A front that speaks as Google does.
pub struct Google {
    pub port: u16,
    /// A service account's key file that it accepts.
    pub key_file: PathBuf,
    /// One with another key.
    pub wrong_key_file: PathBuf,
    _folder: tempfile::TempDir,
}

static SHARED: LazyLock<Google> = LazyLock::new(Google::start);

pub fn shared() -> &'static Google {
    &SHARED
}

const ACCOUNT: &str = "backup@project.iam.gserviceaccount.com";
/// How far a token's times may be off, in seconds.
const LEEWAY: i64 = 300;

impl Google {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, public) = write_key(folder.path(), "key.json");
        let (wrong_key_file, _) = write_key(folder.path(), "wrong.json");
        let (service, public) = (service(folder.path(), false), Arc::new(public));
        let port = listen(move |request| {
            let (service, public) = (service.clone(), public.clone());
            async move { Ok::<_, s3s::HttpError>(answer(request, &service, &public).await) }
        });
        Self { port, key_file, wrong_key_file, _folder: folder }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A second kind of S3 server, in this process.
pub struct OtherS3 {
    pub port: u16,
    _folder: tempfile::TempDir,
}

static OTHER: LazyLock<OtherS3> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), true);
    let port = listen(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { service.call(request.map(Body::from)).await }
    });
    OtherS3 { port, _folder: folder }
});

pub fn other_s3() -> &'static OtherS3 {
    &OTHER
}

impl OtherS3 {
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn service(folder: &std::path::Path, signed: bool) -> S3Service {
    let root = folder.join("objects");
    std::fs::create_dir_all(root.join(BUCKET)).unwrap();
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    if signed {
        builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
    }
    builder.build()
}

fn listen<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> u16
where
    F: Future<Output = Result<HttpResponse, s3s::HttpError>> + Send + 'static,
{
    let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    RUNTIME.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(answer.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

/// Writes a key file, and answers with the public key.
fn write_key(folder: &std::path::Path, name: &str) -> (PathBuf, Vec<u8>) {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let file = serde_json::json!({
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "1",
        "private_key": pair.serialize_pem(),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let path = folder.join(name);
    std::fs::write(&path, file.to_string()).unwrap();
    (path, pair.public_key_raw().to_vec())
}

async fn answer(mut request: Request<Incoming>, service: &S3Service, public: &[u8]) -> HttpResponse {
    let token = request.headers_mut().remove(AUTHORIZATION);
    let token = token.as_ref().and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Err(why) = token.ok_or("no token").and_then(|token| check(token, public)) {
        let text = format!("<Error><Code>AuthenticationRequired</Code><Message>{why}</Message></Error>");
        return refuse(StatusCode::UNAUTHORIZED, text);
    }
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8().unwrap().into_owned();
    if !path.starts_with(&format!("/{BUCKET}")) {
        let text = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message></Error>";
        return refuse(StatusCode::NOT_FOUND, text.to_owned());
    }
    let headers = request.headers_mut();
    if headers.remove("x-goog-if-generation-match").is_some_and(|generation| generation == "0") {
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    // what Google signs is in the token, and the service would look for S3's own signature
    let theirs: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-goog-")).cloned().collect();
    theirs.iter().for_each(|name| drop(headers.remove(name)));
    match service.call(request.map(Body::from)).await {
        Ok(mut response) => {
            response.headers_mut().insert("x-goog-generation", HeaderValue::from_static("1"));
            response
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")),
    }
}

/// Checks a token's signature, and that it is meant for now.
fn check(token: &str, public: &[u8]) -> Result<(), &'static str> {
    let (message, signature) = token.rsplit_once('.').ok_or("no signature")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "the signature is not base64")?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(message.as_bytes(), &signature).map_err(|_| "Invalid JWT Signature.")?;
    let claims = message.split_once('.').ok_or("no claims")?.1;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let now = chrono::Utc::now().timestamp();
    let time = |name: &str| claims[name].as_i64().unwrap();
    let is_now = time("iat") <= now + LEEWAY && time("exp") >= now - LEEWAY;
    if is_now { Ok(()) } else { Err("Token must be a short-lived token and in a reasonable timeframe.") }
}

fn refuse(status: StatusCode, text: String) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(text));
    *response.status_mut() = status;
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response.headers_mut().insert(DATE, HeaderValue::from_str(&date).unwrap());
    response
}
