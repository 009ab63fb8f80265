//! Microsoft Teams: one adaptive card for each run, to the webhook of a workflow or a channel.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{Post, PostBody, Undelivered};
use crate::notify::message::{Message, Row, Text, Tone, cut, cut_front, left_out};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "Microsoft Teams", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[Setting::new(
    "TEAMS_WEBHOOK_URL",
    ValueKind::Url,
    "Webhook of a Microsoft Teams workflow (\"Post to a channel when a webhook request is received\"); \
      it gets a notification of every run.",
)
.secret()];

/// Teams takes 28 KiB; what stands between the texts, and their escapes, need some of it.
const TOTAL: usize = 12_000;
/// Characters of one text.
const TEXT: usize = 2000;

#[derive(Debug)]
struct Teams {
    url: Secret,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    Some(Arc::new(Teams { url: raw.secret("TEAMS_WEBHOOK_URL")? }))
}

#[async_trait]
impl Service for Teams {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let message = notification.message;
        let minimal = card(message.tone, &[line(&[bold(&message.minimal())])]);
        Post::new(&self.url, PostBody::Json(render(message))).or(PostBody::Json(minimal)).deliver().await
    }
}

/// The message as a card. Runs of text are shown as they are: no mark in a name makes a link or a mention of it.
fn render(message: &Message) -> Value {
    let mut body = vec![line(&[bold(&message.title)]), line(&[plain(&message.description)])];
    let mut room = TOTAL;
    for (number, row) in message.rows.iter().enumerate() {
        let (row, length) = describe(row);
        if length > room {
            // its few bytes have room beside what a card keeps for its frame
            body.push(describe(&left_out(message.rows.len() - number)).0);
            break;
        }
        room -= length;
        body.push(row);
    }
    card(message.tone, &body)
}

fn describe(row: &Row) -> (Value, usize) {
    let name = format!("{}: ", cut(&row.name, 200));
    let (text, font) = match &row.text {
        Text::Plain(text) => (cut(text, TEXT), "Default"),
        Text::Code(text) => (cut(text, TEXT), "Monospace"),
        Text::Lines(text) => (cut_front(text, TEXT), "Monospace"),
    };
    // a control character or a quote takes up to six bytes
    let length = serde_json::to_string(&text).map_or(0, |text| text.len()) + name.len();
    let value = json!({ "type": "TextRun", "text": text, "fontType": font });
    (line(&[bold(&name), value]), length)
}

fn card(tone: Tone, body: &[Value]) -> Value {
    let style = match tone {
        Tone::Good => "good",
        Tone::Mixed => "warning",
        Tone::Bad => "attention",
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": [{ "type": "Container", "style": style, "items": body }],
            },
        }],
    })
}

fn line(runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

fn bold(text: &str) -> Value {
    json!({ "type": "TextRun", "text": cut(text, TEXT), "weight": "Bolder" })
}

fn plain(text: &str) -> Value {
    json!({ "type": "TextRun", "text": cut(text, TEXT) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    fn message(rows: usize, text: &str) -> Message {
        let row = |_| Row { name: "Cause".to_owned(), text: Text::Lines(text.to_owned()), short: false };
        Message {
            tone: Tone::Bad,
            title: "Backup failed: [shop](http://x) <at>all</at>".to_owned(),
            description: "Source db".to_owned(),
            time: Utc::now(),
            rows: (0..rows).map(row).collect(),
            cause: None,
        }
    }

    #[test]
    fn a_card_has_every_text_as_a_run_that_nothing_interprets() {
        let card = render(&message(1, "line\nline"));
        let container = &card["attachments"][0]["content"]["body"][0];
        assert_eq!(container["style"], "attention");
        assert_eq!(container["items"][0]["inlines"][0]["text"], "Backup failed: [shop](http://x) <at>all</at>");
        assert_eq!(container["items"][2]["inlines"][1]["text"], "line\nline");
        assert!(container["items"].as_array().unwrap().iter().all(|item| item["type"] == "RichTextBlock"));
    }

    #[test]
    fn no_card_is_larger_than_teams_takes() {
        for text in ["x".repeat(9000), "\u{1}".repeat(9000), "\u{10348}".repeat(9000), "\"".repeat(9000)] {
            let bytes = render(&message(40, &text)).to_string().len();
            assert!(bytes < 28 << 10, "{bytes}");
        }
    }
}
