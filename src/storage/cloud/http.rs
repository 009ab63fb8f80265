//! The requests of the library, watched: what of a body was taken, and what was answered that was no success.

use crate::storage::count::{Counting, Sent};
use crate::storage::multipart::COMPLETE;
use crate::storage::{Progress, clock_skew, while_moving};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// How long a small request may take.
const SMALL_REQUEST: Duration = Duration::from_secs(30);
/// Most bytes of an answer that is no success.
const ANSWER: usize = 64 << 10;

/// What came of an operation's last request that did not succeed.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// It was the store itself, not somebody who gives out credentials for it.
    pub(super) from_store: bool,
    /// What was answered; none when nothing was.
    pub(super) answer: Option<Answer>,
    /// For people.
    pub(super) cause: String,
}

/// An answer that is no success.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The store's own word for it, where it gave one.
    pub(super) code: String,
    /// The clock of whoever answered, and ours, are this far apart.
    pub(super) skew: TimeDelta,
}

/// What one operation of the library does on the network.
#[derive(Debug, Clone, Default)]
struct Watch {
    sent: Sent,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

tokio::task_local! {
    /// The library has no place for it: its requests are made in the task that asks for them.
    static WATCH: Watch;
}

/// Runs one operation of the library, counting what it sends; the second answer is what went wrong on the way.
pub(super) async fn watched<T>(sent: &Sent, operation: impl Future<Output = T>) -> (T, Option<Trouble>) {
    let watch = Watch { sent: sent.clone(), trouble: Arc::default() };
    let output = WATCH.scope(watch.clone(), operation).await;
    let trouble = watch.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
    (output, trouble)
}

/// Makes clients that share one pool of connections.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) client: reqwest::Client,
    /// Host and port of the store itself.
    pub(super) store: String,
    /// How long a request may move nothing.
    pub(super) limit: Duration,
}

/// Host and port of a URL.
pub(super) fn place_of(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let watch = WATCH.try_with(Clone::clone).unwrap_or_default();
        let (parts, body) = request.into_parts();
        let url: Url = parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let (host, length) = (place_of(&url), body.content_length() as u64);
        let limit = match (length, is_slow(&url)) {
            (_, true) => COMPLETE,
            (0, false) => SMALL_REQUEST,
            (_, false) => self.limit,
        };
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let moved = Progress::default();
        if length > 0 {
            let counting = Counting::new(body, length, watch.sent.clone(), moved.clone());
            *request.body_mut() = Some(reqwest::Body::wrap(counting));
        }
        let note = |answer: Option<Answer>, cause: String| {
            let trouble = Trouble { from_store: host == self.store, answer, cause };
            *watch.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        };
        let answer = match while_moving(&moved, limit, self.client.execute(request)).await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                note(None, format!("{host}: {}", innermost(&error)));
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
                return Err(HttpError::new(kind, error.without_url()));
            }
            None => {
                let cause = format!("{host}: nothing moved for {} s", limit.as_secs());
                note(None, cause.clone());
                return Err(HttpError::new(HttpErrorKind::Timeout, io::Error::new(io::ErrorKind::TimedOut, cause)));
            }
        };
        let (parts, body) = answer_parts(answer);
        if parts.status.is_success() || parts.status.is_redirection() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let status = parts.status.as_u16();
        let header = parts.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let mut text = body.bytes().await.unwrap_or_default();
        text.truncate(ANSWER);
        let (code, message) = read_error(&text, header);
        let skew = clock_skew(parts.headers.get("date").and_then(|date| date.to_str().ok()));
        note(
            Some(Answer { status, code: code.clone(), skew }),
            format!("{host} answered {status} {code} {message}").trim_end().to_owned(),
        );
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(text)))
    }
}

/// Putting parts together may take the store minutes.
fn is_slow(url: &Url) -> bool {
    let query = url.query().unwrap_or_default();
    query.contains("comp=blocklist") || query.contains("uploadId=") && !query.contains("partNumber=")
}

fn answer_parts(answer: reqwest::Response) -> (http::response::Parts, HttpResponseBody) {
    let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
    let body = body.map_err(|error: reqwest::Error| HttpError::new(HttpErrorKind::Interrupted, error.without_url()));
    (parts, HttpResponseBody::new(body))
}

/// The code and the message of an error in XML, or in the JSON of those who give out tokens.
fn read_error(text: &Bytes, header: &str) -> (String, String) {
    let text = String::from_utf8_lossy(text);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    if let Some(code) = element("Code") {
        // Azure puts the request's number and time into further lines
        let message = element("Message").unwrap_or_default();
        let detail = element("AuthenticationErrorDetail").map(|detail| format!(" ({detail})")).unwrap_or_default();
        return (code, format!("{}{detail}", message.lines().next().unwrap_or_default()));
    }
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let word = |name: &str| json[name].as_str().map(str::to_owned);
    match word("error") {
        Some(code) => (code, word("error_description").unwrap_or_default()),
        None => (header.to_owned(), String::new()),
    }
}

/// The deepest cause is the one people know: `connection refused`, not `error sending request`.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
