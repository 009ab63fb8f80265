//! Slack: one attachment of blocks for each run, within its limits.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{Post, PostBody, Undelivered};
use crate::notify::message::{Message, Row, Text, Tone, cut, cut_front, left_out};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "Slack", settings: SETTINGS, read };

const SETTINGS: &[Setting] =
    &[Setting::new("SLACK_WEBHOOK_URL", ValueKind::Url, "Slack webhook URL; it gets a notification of every run.")
        .secret()];

#[derive(Debug)]
struct Slack {
    url: Secret,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    Some(Arc::new(Slack { url: raw.secret("SLACK_WEBHOOK_URL")? }))
}

#[async_trait]
impl Service for Slack {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let content = PostBody::Json(render(notification.message));
        let fallback = PostBody::Json(minimal(notification.message));
        Post::new(&self.url, content).or(fallback).deliver().await
    }
}

/// Limits of blocks, from Slack's documentation, in characters; and one of our own for all of them together.
const TEXT: usize = 3000;
const FIELD: usize = 2000;
const FIELDS: usize = 10;
const BLOCKS: usize = 50;
const TOTAL: usize = 12_000;
/// Characters of the text that notifications show.
const TITLE: usize = 1000;

/// The message as blocks.
pub(in crate::notify) fn render(message: &Message) -> Value {
    let colour = match message.tone {
        Tone::Good => "#2ecc71",
        Tone::Mixed => "#f1c40f",
        Tone::Bad => "#e74c3c",
    };
    let title = escape(&message.title, TITLE);
    let mut blocks = Blocks::default();
    blocks.add(section(&format!("*{title}*\n{}", escape(&message.description, TEXT - TITLE - 3))));
    for row in &message.rows {
        blocks.add_row(row);
    }
    json!({ "text": title, "attachments": [{ "color": colour, "fallback": title, "blocks": blocks.finish() }] })
}

/// The message as a line of text.
pub(in crate::notify) fn minimal(message: &Message) -> Value {
    json!({ "text": escape(&message.minimal(), TEXT) })
}

/// Short rows stand side by side in one block, each of the others is its own.
#[derive(Default)]
struct Blocks {
    all: Vec<Value>,
    short: Vec<Value>,
    length: usize,
    /// Rows, or lines of short ones, that have no room.
    left_out: usize,
}

impl Blocks {
    fn add_row(&mut self, row: &Row) {
        let limit = if row.short { FIELD } else { TEXT };
        let name = escape(&row.name, 200);
        let room = limit - name.chars().count() - 16;
        let value = match &row.text {
            Text::Plain(text) => escape(text, room),
            Text::Code(text) => format!("`{}`", escape(&text.replace('`', "'"), room)),
            Text::Lines(text) => {
                let text = cut_front(&text.replace('`', "'"), room / 5);
                format!("```{}```", escape(&text, room))
            }
        };
        let text = format!("*{name}*\n{value}");
        self.length += text.chars().count();
        if self.length > TOTAL {
            self.left_out += 1;
            return;
        }
        if row.short {
            self.short.push(mrkdwn(&text));
            if self.short.len() == FIELDS {
                self.flush();
            }
        } else {
            self.flush();
            self.add(section(&text));
        }
    }

    fn flush(&mut self) {
        if !self.short.is_empty() {
            let fields = std::mem::take(&mut self.short);
            self.add(json!({ "type": "section", "fields": fields }));
        }
    }

    fn add(&mut self, block: Value) {
        // one is kept for how many are left out
        if self.all.len() + 1 < BLOCKS {
            self.all.push(block);
        } else {
            self.left_out += 1;
        }
    }

    fn finish(mut self) -> Vec<Value> {
        self.flush();
        if self.left_out > 0
            && let Text::Plain(text) = left_out(self.left_out).text
        {
            self.all.push(section(&text));
        }
        self.all
    }
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim` leaves names of people and channels alone.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// Text in which nothing is a link or a mention, of at most `limit` characters.
fn escape(text: &str, limit: usize) -> String {
    let text = cut(text, limit);
    let mut escaped = String::new();
    let mut length = 0;
    for letter in text.chars() {
        let mut buffer = [0; 4];
        let letter = match letter {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            letter => letter.encode_utf8(&mut buffer),
        };
        length += letter.chars().count();
        if length > limit {
            break;
        }
        escaped += letter;
    }
    escaped
}
