//! The daemon's HTTP server: three addresses, read-only.

use super::{Daemon, page};
use crate::background::counted;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing::{debug, info};

/// Connections at once; the oldest make room for more.
const CONNECTIONS: usize = 256;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last, the answer included.
const LIFETIME: Duration = Duration::from_secs(30);

/// Answers until dropped.
pub(super) async fn answer(listener: TcpListener, daemon: Arc<Daemon>) {
    if let Ok(address) = listener.local_addr() {
        info!("listening on http://{address}/, with /healthz and /metrics");
    }
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // too many open files: some will be closed
                debug!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let daemon = daemon.clone();
        let answered = tokio::spawn(counted(async move {
            let service = service_fn(|request| {
                let daemon = daemon.clone();
                async move { Ok::<_, Infallible>(respond(&request, &daemon)) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(LIFETIME, connection).await {
                debug!("answering: {error}");
            }
        }));
        open.retain(|connection| !connection.is_finished());
        open.push_back(answered.abort_handle());
        if open.len() > CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
    }
}

fn respond(request: &Request<Incoming>, daemon: &Daemon) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = build(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are allowed\n".to_owned());
        response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => build(StatusCode::OK, "text/html; charset=utf-8", daemon.page(&filter(request.uri().query()))),
        "/healthz" => match daemon.complaints().as_slice() {
            [] => build(StatusCode::OK, TEXT, "ok\n".to_owned()),
            complaints => build(StatusCode::SERVICE_UNAVAILABLE, TEXT, complaints.join("\n") + "\n"),
        },
        "/metrics" => match daemon.metrics() {
            Some(text) => build(StatusCode::OK, crate::metrics::CONTENT_TYPE, text),
            None => build(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the storage has not been checked yet\n".to_owned()),
        },
        _ => build(StatusCode::NOT_FOUND, TEXT, "not found; there are /, /healthz and /metrics\n".to_owned()),
    }
}

/// What the page is asked for with `?filter=`.
fn filter(query: Option<&str>) -> String {
    const LONGEST: usize = 200;
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let text = pairs.find(|(name, _)| name == "filter").map(|(_, text)| text);
    text.unwrap_or_default().trim().chars().take(LONGEST).collect()
}

/// A response that is not cached, not framed, and not taken for another type than it is.
fn build(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let policy = format!(
        "default-src 'none'; img-src data:; style-src '{}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        page::style_hash()
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed = |text| http::HeaderValue::from_static(text);
    headers.insert(CONTENT_TYPE, fixed(content_type));
    headers.insert(CACHE_CONTROL, fixed("no-store"));
    headers.insert(REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    if let Ok(policy) = http::HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
