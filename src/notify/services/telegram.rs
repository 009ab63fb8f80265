//! Telegram: one message of a bot for each run.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{self, Post, PostBody, Undelivered};
use crate::notify::message::{Message, Tone, count, cut};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "Telegram", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[
    Setting::new(
        "TELEGRAM_BOT_TOKEN",
        ValueKind::Form("the token that BotFather gave", is_token),
        "Token of a Telegram bot; its chat gets a notification of every run.",
    )
    .secret(),
    Setting::new("TELEGRAM_CHAT_ID", ValueKind::Text, "Chat that the bot writes to: its number, or @channel."),
    Setting::new("TELEGRAM_API_URL", ValueKind::Url, "Bot API server, if it is not Telegram's own.")
        .default("https://api.telegram.org"),
];

/// Limit of a message, in UTF-16 units.
const TOTAL: usize = 4096;
const TITLE: usize = 500;

/// `123456:letters`, and nothing that would change the path of the URL that it becomes a part of.
fn is_token(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    text.split_once(':').is_some_and(|(bot, key)| {
        !bot.is_empty()
            && bot.bytes().all(|digit| digit.is_ascii_digit())
            && !key.is_empty()
            && key.chars().all(is_plain)
    })
}

#[derive(Debug)]
struct Telegram {
    /// With the token, and without the method.
    url: Secret,
    chat: String,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    let (token, chat, server) =
        (raw.text("TELEGRAM_BOT_TOKEN"), raw.text("TELEGRAM_CHAT_ID"), raw.text("TELEGRAM_API_URL"));
    if token.is_some() && chat.is_none() {
        raw.problems.push("TELEGRAM_CHAT_ID: TELEGRAM_BOT_TOKEN needs it".to_owned());
    }
    let url = format!("{}/bot{}", server?.trim_end_matches('/'), token?);
    Some(Arc::new(Telegram { url: url.into(), chat: chat? }))
}

impl Telegram {
    fn method(&self, name: &str) -> Secret {
        format!("{}/{name}", self.url.expose()).into()
    }
}

#[async_trait]
impl Service for Telegram {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let content = render(notification.message, &self.chat);
        let minimal = json!({ "chat_id": self.chat, "text": cut(&notification.message.minimal(), TOTAL) });
        Post::new(&self.method("sendMessage"), PostBody::Json(content)).or(PostBody::Json(minimal)).deliver().await
    }

    async fn check(&self) -> Option<Result<(), Undelivered>> {
        Some(delivery::probe(self.method("getMe").expose()).await)
    }
}

/// Plain text whose first line is bold: what is not parsed needs no escapes, and makes no links.
fn render(message: &Message, chat: &str) -> Value {
    let mark = match message.tone {
        Tone::Good => "✅",
        Tone::Mixed => "⚠️",
        Tone::Bad => "❌",
    };
    let title = cut(&format!("{mark} {}", message.title), TITLE);
    let text = format!("{title}\n{}", message.text(TOTAL - count(&title) - 1));
    json!({
        "chat_id": chat,
        "text": text,
        "entities": [{ "type": "bold", "offset": 0, "length": count(&title) }],
        "link_preview_options": { "is_disabled": true },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::{Row, Text};
    use chrono::Utc;

    #[test]
    fn a_message_has_its_title_in_bold_and_fits_whatever_it_says() {
        for text in ["cut", &"𐍈\n".repeat(9000), &"x".repeat(9000)] {
            let row = Row { name: "Cause".to_owned(), text: Text::Lines(text.to_owned()), short: false };
            let message = Message {
                tone: Tone::Bad,
                title: format!("Backup failed: {text}"),
                description: "Source db".to_owned(),
                time: Utc::now(),
                rows: vec![row],
                cause: None,
            };
            let content = render(&message, "-100");
            let text = content["text"].as_str().unwrap();
            assert!(text.starts_with("❌ Backup failed: ") && count(text) <= 4096, "{}", count(text));
            assert_eq!(content["entities"][0]["length"], count(&cut(&format!("❌ {}", message.title), TITLE)));
        }
    }

    #[test]
    fn a_token_changes_no_path() {
        assert!(is_token("123456:AAE_x-9"));
        assert!(["", "x:y", "1:", "1:a/b", "1:a?b", "1:a b", "12"].iter().all(|text| !is_token(text)));
    }
}
