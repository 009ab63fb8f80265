//! An HTTP server whose every answer a test decides: a recorder for webhooks, and a front that breaks S3.

use super::RUNTIME;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// What a front does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Hand it to the real server.
    Forward,
    /// Answer without it.
    Answer(u16, String),
    /// Hand it on, and answer something else than the server did.
    ForwardAndAnswer(u16, String),
    /// Hand it on, and give so many bytes of what the server answered before the connection ends.
    ForwardAndCut(usize),
    /// Hand it on, and give what becomes of the server's answer, a text.
    ForwardAndRewrite(fn(&str) -> String),
    /// Hand it on, and give the server's answer with every byte of its body inverted.
    ForwardAndGarble,
    /// Hand it on, and give the server's answer without that header.
    ForwardWithout(&'static str),
    /// Hand it on after that time, whether or not somebody still waits for the answer.
    ForwardLate(Duration),
    /// Close the connection after reading some of the body.
    Cut,
    /// Never read, never answer.
    Stall,
}

/// A request as a test looks at it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

pub struct Front {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Body = BoxBody<Bytes, std::io::Error>;

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

type Decide = dyn Fn(&Seen, usize) -> Act + Send + Sync;

impl Front {
    /// Listens on a free port. `decide` sees each request (its body only when the act needs none first) and how many
    /// came before; `upstream` is the real server's port, 0 for none.
    pub fn start(upstream: u16, decide: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (record, decide): (_, Arc<Decide>) = (seen.clone(), Arc::new(decide));
        RUNTIME.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (record, decide) = (record.clone(), decide.clone());
                let service = service_fn(move |request| serve(request, upstream, record.clone(), decide.clone()));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { port, seen }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    request: Request<Incoming>,
    upstream: u16,
    record: Arc<Mutex<Vec<Seen>>>,
    decide: Arc<Decide>,
) -> Result<Response<Body>, std::io::Error> {
    let (parts, mut body) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let headers = parts.headers.clone();
    let mut seen = Seen { method: parts.method.to_string(), target, headers, body: Vec::new() };
    let act = {
        let record = record.lock().unwrap();
        decide(&seen, record.len())
    };
    let index = {
        let mut record = record.lock().unwrap();
        record.push(seen.clone());
        record.len() - 1
    };
    let answer =
        |status: u16, text: &str| Response::builder().status(status).body(whole(Bytes::from(text.to_owned()))).unwrap();
    match act {
        Act::Stall => std::future::pending().await,
        Act::Cut => {
            let _ = body.frame().await;
            return Err(std::io::Error::other("cut by the test"));
        }
        _ => {}
    }
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    seen.body = bytes.to_vec();
    // small ones are kept for the test, parts of backups are not
    if bytes.len() < 1 << 20 {
        record.lock().unwrap()[index] = seen;
    }
    if let Act::Answer(status, text) = &act {
        return Ok(answer(*status, text));
    }
    let uri = format!("http://127.0.0.1:{upstream}{}", parts.uri.path_and_query().unwrap());
    let mut forwarded = Request::builder().method(parts.method).uri(uri);
    *forwarded.headers_mut().unwrap() = parts.headers;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).set_host(false).build_http();
    let late = if let Act::ForwardLate(time) = &act { *time } else { Duration::ZERO };
    // goes on when whoever asked is gone
    let request = forwarded.body(Full::new(bytes)).unwrap();
    let asked = tokio::spawn(async move {
        tokio::time::sleep(late).await;
        client.request(request).await
    });
    let real = asked.await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
    if let Act::ForwardAndAnswer(status, text) = &act {
        return Ok(answer(*status, text));
    }
    let (mut head, real_body) = real.into_parts();
    let bytes = real_body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    if let Act::ForwardAndRewrite(rewrite) = act {
        let text = rewrite(std::str::from_utf8(&bytes).unwrap());
        return Ok(answer(head.status.as_u16(), &text));
    }
    if let Act::ForwardWithout(header) = act {
        head.headers.remove(header);
    }
    if let Act::ForwardAndGarble = act {
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        return Ok(Response::from_parts(head, whole(inverted.into())));
    }
    if let Act::ForwardAndCut(length) = act {
        let some = bytes.slice(..length.min(bytes.len()));
        let frames = [Ok(Frame::data(some)), Err(std::io::Error::other("cut by the test"))];
        return Ok(Response::from_parts(head, StreamBody::new(stream::iter(frames)).boxed()));
    }
    Ok(Response::from_parts(head, whole(bytes)))
}

/// Status and text of a page.
pub fn get(url: &str) -> Result<(u16, String), reqwest::Error> {
    RUNTIME.block_on(async {
        let answer = reqwest::get(url).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    })
}
