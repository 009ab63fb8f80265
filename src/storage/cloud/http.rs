//! The requests of the library, watched: what of a body was taken, and what was answered that was no success.

use super::listing;
use crate::storage::clock::clock_skew;
use crate::storage::parts::count::{Counting, Sent};
use crate::storage::parts::{COMPLETE, Limits};
use crate::storage::{Progress, innermost};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// How long a small request may take.
const SMALL_REQUEST: Duration = Duration::from_secs(30);
/// Most bytes of a page of a listing, or of another small answer.
const LISTING: usize = 64 << 20;
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
struct RequestWatch {
    sent: Sent,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

tokio::task_local! {
    /// The library has no place for it: its requests are made in the task that asks for them.
    static WATCH: RequestWatch;
}

/// Runs one operation of the library, counting what it sends; the second answer is what went wrong on the way.
pub(super) async fn watched<T>(sent: &Sent, operation: impl Future<Output = T>) -> (T, Option<Trouble>) {
    let watch = RequestWatch { sent: sent.clone(), trouble: Arc::default() };
    let output = WATCH.scope(watch.clone(), operation).await;
    let trouble = watch.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
    (output, trouble)
}

/// Makes clients that share one pool of connections.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Connector {
    pub(super) client: reqwest::Client,
    /// Host and port of the store itself.
    pub(super) store: String,
    /// How long a request may move nothing.
    pub(super) limits: Limits,
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
        let (parts, body) = request.into_parts();
        let url: Url = parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let watch = WATCH.try_with(Clone::clone).unwrap_or_default();
        let exchange = Exchange { connector: self, host: place_of(&url), what: What::of(&parts.method, &url), watch };
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let answer = exchange.send(request, body).await?;
        exchange.take(answer).await
    }
}

/// One request and its answer, and where their trouble is noted.
struct Exchange<'a> {
    connector: &'a Connector,
    /// Who is asked.
    host: String,
    what: What,
    watch: RequestWatch,
}

impl Exchange<'_> {
    fn note(&self, answer: Option<Answer>, cause: String) {
        let trouble = Trouble { from_store: self.host == self.connector.store, answer, cause };
        *self.watch.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Notes what is no answer of the other side's.
    fn broken(&self, kind: HttpErrorKind, cause: &str) -> HttpError {
        let cause = format!("{}: {cause}", self.host);
        self.note(None, cause.clone());
        HttpError::new(kind, io::Error::other(cause))
    }

    /// Sends the request, for as long as its bytes are taken, and waits for the head of the answer.
    async fn send(&self, mut request: reqwest::Request, body: HttpRequestBody) -> Result<reqwest::Response, HttpError> {
        let (length, moved) = (body.content_length() as u64, Progress::default());
        if length > 0 {
            let counting = Counting::new(body, length, self.watch.sent.clone(), moved.clone());
            *request.body_mut() = Some(reqwest::Body::wrap(counting));
        }
        let sent = self.connector.client.execute(request);
        let answer = match (length, self.what) {
            (_, What::Completion) => tokio::time::timeout(COMPLETE, sent).await.ok(),
            (0, _) => tokio::time::timeout(SMALL_REQUEST, sent).await.ok(),
            _ => self.connector.limits.moving(&moved, length, sent).await,
        };
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
                Err(self.broken(kind, &innermost(&error)))
            }
            None => Err(self.broken(HttpErrorKind::Timeout, "no data was accepted and no answer came in time")),
        }
    }

    /// Takes the answer: an object's bytes as they come; everything else is small, is read in time, and looked at.
    async fn take(&self, answer: reqwest::Response) -> Result<HttpResponse, HttpError> {
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let is_success = parts.status.is_success();
        if is_success && self.what == What::Object {
            return Ok(HttpResponse::from_parts(parts, in_time(body)));
        }
        let body = Limited::new(body, if is_success { LISTING } else { ANSWER });
        let mut text = match tokio::time::timeout(SMALL_REQUEST, body.collect()).await {
            Ok(Ok(read)) => read.to_bytes(),
            Ok(Err(error)) if is_success => return Err(self.broken(HttpErrorKind::Interrupted, &innermost(&*error))),
            Err(_) if is_success => return Err(self.broken(HttpErrorKind::Timeout, "the answer ended early")),
            // its status says enough
            _ => Bytes::new(),
        };
        if is_success && self.what == What::Listing {
            text = listing::check(&text).map_err(|cause| self.broken(HttpErrorKind::Interrupted, &cause))?;
        }
        let refused = match is_success {
            true => refused_part(&text, self.what),
            false => Some((parts.status.as_u16(), text.clone())),
        };
        if let Some((status, text)) = refused {
            let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
            let (code, message) = read_error(&text, header("x-ms-error-code").unwrap_or_default());
            let cause = format!("{} answered {status} {code} {message}", self.host).trim_end().to_owned();
            self.note(Some(Answer { status, code, skew: clock_skew(header("date")) }), cause);
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(text)))
    }
}

/// What a request asks for, as far as that decides how its answer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// An object's bytes, of any length.
    Object,
    /// A page of a listing.
    Listing,
    /// That parts be put together, which may take minutes.
    Completion,
    /// Several removals at once, each with an answer of its own.
    Batch,
    /// Anything else.
    Other,
}

impl What {
    fn of(method: &http::Method, url: &Url) -> Self {
        let has = |name: &str, value: &str| {
            url.query_pairs().any(|(key, given)| key == name && (value.is_empty() || given == value))
        };
        match *method {
            _ if has("comp", "blocklist") => Self::Completion,
            http::Method::POST if has("uploadId", "") => Self::Completion,
            http::Method::POST if has("comp", "batch") => Self::Batch,
            http::Method::GET if has("list-type", "") || has("comp", "list") => Self::Listing,
            http::Method::GET => Self::Object,
            _ => Self::Other,
        }
    }
}

/// A body whose next bytes are not waited for longer than for a small request.
fn in_time(body: reqwest::Body) -> HttpResponseBody {
    let stream = stream::unfold(body.into_data_stream(), |mut body| async {
        let frame = match tokio::time::timeout(SMALL_REQUEST, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(bytes))) => Ok(Frame::data(bytes)),
            Ok(Some(Err(error))) => Err(HttpError::new(HttpErrorKind::Interrupted, error.without_url())),
            Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        Some((frame, body))
    });
    HttpResponseBody::new(StreamBody::new(stream))
}

/// The status and the text of the first refusal among the answers to a batch.
fn refused_part(text: &Bytes, what: What) -> Option<(u16, Bytes)> {
    if what != What::Batch {
        return None;
    }
    let answers = String::from_utf8_lossy(text);
    answers.split("HTTP/1.1 ").skip(1).find_map(|answer| {
        let status: u16 = answer.get(..3)?.parse().ok()?;
        (status >= 400 && status != 404).then(|| (status, Bytes::from(answer.to_owned())))
    })
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
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match &json["error"] {
        serde_json::Value::String(code) => (code.clone(), word(&json["error_description"])),
        // as Google's other interface has it
        error if error.is_object() => (word(&error["status"]), word(&error["message"])),
        _ => (header.to_owned(), String::new()),
    }
}
