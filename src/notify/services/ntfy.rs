//! ntfy: one message to a topic for each run.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{self, Post, PostBody, Undelivered};
use crate::notify::message::{Message, Tone, cut};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

pub const KIND: ServiceKind = ServiceKind { name: "ntfy", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[
    Setting::new(
        "NTFY_URL",
        ValueKind::Form("a server and a topic, such as https://ntfy.sh/topic", |text| split(text).is_some()),
        "Topic of an ntfy server, such as https://ntfy.sh/topic; it gets a notification of every run.",
    )
    .secret(),
    Setting::new("NTFY_TOKEN", ValueKind::Text, "Access token, if the topic needs one.").secret(),
];

/// Limit of a message, in bytes; a longer one would come as a file.
const TOTAL: usize = 4000;
const TITLE: usize = 250;

#[derive(Debug)]
struct Ntfy {
    server: Secret,
    topic: String,
    token: Option<Secret>,
}

/// Server and topic of a URL.
fn split(text: &str) -> Option<(String, String)> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let (before, topic) = url.path().trim_end_matches('/').rsplit_once('/')?;
    let is_topic = !topic.is_empty() && topic.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let mut server = url.clone();
    server.set_path(before);
    is_topic.then(|| (server.to_string(), topic.to_owned()))
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    let token = raw.secret("NTFY_TOKEN");
    let (server, topic) = split(&raw.text("NTFY_URL")?)?;
    Some(Arc::new(Ntfy { server: server.into(), topic, token }))
}

#[async_trait]
impl Service for Ntfy {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let content = render(notification.message, &self.topic);
        let minimal = json!({ "topic": self.topic, "message": first(&notification.message.minimal(), TOTAL) });
        let post = Post::new(&self.server, PostBody::Json(content)).or(PostBody::Json(minimal));
        post.bearer(self.token.as_ref()).deliver().await
    }

    async fn check(&self) -> Option<Result<(), Undelivered>> {
        let mut health = Url::parse(self.server.expose()).ok()?;
        let path = format!("{}/v1/health", health.path().trim_end_matches('/'));
        health.set_path(&path);
        Some(delivery::probe(health.as_str()).await)
    }
}

/// The priorities and tags are ntfy's: a failure has the highest priority.
fn render(message: &Message, topic: &str) -> Value {
    let (priority, tag) = match message.tone {
        Tone::Good => (3, "white_check_mark"),
        Tone::Mixed => (4, "warning"),
        Tone::Bad => (5, "rotating_light"),
    };
    let text = message.text(usize::MAX);
    json!({
        "topic": topic,
        "title": cut(&message.title, TITLE),
        "message": first(&text, TOTAL),
        "priority": priority,
        "tags": [tag],
    })
}

/// As much of the beginning as has at most so many bytes, with `…` where something is left out.
fn first(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes - '…'.len_utf8())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::{Row, Text};
    use chrono::Utc;

    #[test]
    fn a_url_is_a_server_and_a_topic() {
        let parts = |text| split(text).map(|(server, topic)| format!("{server} {topic}"));
        assert_eq!(parts("https://ntfy.sh/shop_1").unwrap(), "https://ntfy.sh/ shop_1");
        assert_eq!(parts("http://h:8080/push/shop/").unwrap(), "http://h:8080/push shop");
        assert!(
            ["https://ntfy.sh", "https://ntfy.sh/", "ntfy.sh/x", "https://ntfy.sh/a b"]
                .iter()
                .all(|t| split(t).is_none())
        );
    }

    #[test]
    fn no_message_is_longer_than_ntfy_takes() {
        for text in ["é".repeat(9000), "𐍈".repeat(9000)] {
            let rows = vec![Row { name: "Cause".to_owned(), text: Text::Plain(text), short: false }];
            let (title, description) = ("Backup failed".to_owned(), "Source db".to_owned());
            let content =
                render(&Message { tone: Tone::Bad, title, description, time: Utc::now(), rows, cause: None }, "t");
            let text = content["message"].as_str().unwrap();
            assert!((3990..=4000).contains(&text.len()) && text.ends_with('…'), "{} bytes: {text}", text.len());
            assert_eq!(content["priority"], 5);
        }
    }
}
