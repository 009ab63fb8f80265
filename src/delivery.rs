//! Delivery over HTTP: tried again where that helps, and the URL never shown.

use crate::settings::Secret;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tracing::debug;

/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Attempts when the other side is busy or broken.
const ATTEMPTS: u32 = 4;
/// Bytes of an answer that are looked at.
const ANSWER: usize = 64 << 10;

/// Why something was not delivered. Never holds the URL.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// No answer.
    #[error("{0}")]
    Http(String),
    /// Another answer than success.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// A mail server did not take it.
    #[error("{0}")]
    Mail(String),
    /// The URL is none to which a path could be added.
    #[error("a path cannot be added to the URL")]
    Address,
}

impl From<reqwest::Error> for Undelivered {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Http(format!("{error}{cause}"))
    }
}

/// What is delivered.
#[derive(Debug)]
pub enum PostBody {
    /// `application/json`
    Json(Value),
    /// `text/plain`
    Text(String),
}

/// A client that follows no redirect, because that could carry a secret elsewhere.
pub fn client() -> Result<Client, Undelivered> {
    let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder().timeout(ATTEMPT).redirect(reqwest::redirect::Policy::none());
    Ok(builder.user_agent(agent).build()?)
}

/// Asks whether somebody answers there, without posting anything.
pub async fn probe(url: &str) -> Result<(), Undelivered> {
    let answer = client()?.get(url).send().await?;
    if answer.status().is_success() { Ok(()) } else { Err(Undelivered::Status(answer.status())) }
}

/// A pause that is longer than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(40);

/// Something that is posted.
pub struct Post<'a> {
    url: &'a Secret,
    bearer: Option<&'a Secret>,
    content: PostBody,
    fallback: Option<PostBody>,
}

impl<'a> Post<'a> {
    pub fn new(url: &'a Secret, content: PostBody) -> Self {
        Self { url, bearer: None, content, fallback: None }
    }

    /// What goes where the content is refused as malformed or too large.
    #[must_use]
    pub fn or(self, fallback: PostBody) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// The token that lets us in.
    #[must_use]
    pub fn bearer(self, token: Option<&'a Secret>) -> Self {
        Self { bearer: token, ..self }
    }

    /// Posts it, obeying 429 and trying again when the other side is broken.
    pub async fn deliver(&self) -> Result<(), Undelivered> {
        let client = client()?;
        let post = |content: &PostBody| {
            let request = client.post(self.url.expose());
            let request = match self.bearer {
                Some(token) => request.bearer_auth(token.expose()),
                None => request,
            };
            match content {
                PostBody::Json(body) => request.json(body),
                PostBody::Text(text) => request.header("content-type", "text/plain; charset=utf-8").body(text.clone()),
            }
        };
        match (attempt(|| post(&self.content)).await, &self.fallback) {
            (Err(Undelivered::Status(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE)), Some(fallback)) => {
                debug!("a notification was refused as malformed or too large; sending a minimal one");
                attempt(|| post(fallback)).await
            }
            (outcome, _) => outcome,
        }
    }
}

/// Sends what `request` makes until it is taken, is refused, or has been tried often enough. What was not answered in time
/// is not sent again: it may well have been taken.
pub async fn attempt(request: impl Fn() -> RequestBuilder) -> Result<(), Undelivered> {
    let mut attempt = 1;
    loop {
        let (error, pause) = match request().send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                (Undelivered::Status(answer.status()), retry_after(answer).await)
            }
            Ok(answer) if answer.status().is_server_error() => {
                (Undelivered::Status(answer.status()), Duration::from_secs(1))
            }
            Ok(answer) => return Err(Undelivered::Status(answer.status())),
            Err(error) if error.is_timeout() => return Err(error.into()),
            Err(error) => (error.into(), Duration::from_secs(1)),
        };
        if attempt == ATTEMPTS || pause > LONGEST_PAUSE {
            return Err(error);
        }
        debug!("a notification was not accepted: {error}; trying again in {:.1} s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// Seconds that the service asks us to wait, from the body or the header.
async fn retry_after(mut answer: Response) -> Duration {
    let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER {
            break;
        }
    }
    // Discord says it at the top, Telegram among the parameters
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let said = |pointer: &str| body.as_ref()?.pointer(pointer)?.as_f64();
    let body = said("/retry_after").or_else(|| said("/parameters/retry_after"));
    let seconds = body.or(header).filter(|seconds| seconds.is_finite()).unwrap_or(1.0);
    Duration::from_secs_f64(seconds.clamp(0.1, 3600.0))
}
