//! Discord: one embed for each run, within its limits.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{self, Post, PostBody, Undelivered};
use crate::notify::message::{Message, Row, Text, Tone, count, cut, cut_front, left_out};
use crate::report::{Outcome, Report};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "Discord", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[
    Setting::new("DISCORD_WEBHOOK_URL", ValueKind::Url, "Discord webhook URL.").secret(),
    Setting::new("DISCORD_NOTIFY_SUCCESS", ValueKind::Flag, "Send a notification of runs that succeeded.")
        .default("true"),
    Setting::new(
        "DISCORD_NOTIFY_FAILURE",
        ValueKind::Flag,
        "Send a notification of runs that failed or were partly done.",
    )
    .default("true"),
];

#[derive(Debug)]
pub(in crate::notify) struct Discord {
    pub(in crate::notify) url: Secret,
    pub(in crate::notify) on_success: bool,
    pub(in crate::notify) on_failure: bool,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    let (on_success, on_failure) = (raw.flag("DISCORD_NOTIFY_SUCCESS"), raw.flag("DISCORD_NOTIFY_FAILURE"));
    Some(Arc::new(Discord { url: raw.secret("DISCORD_WEBHOOK_URL")?, on_success, on_failure }))
}

#[async_trait]
impl Service for Discord {
    /// Those who want to know of failures are also notified when these end, and of what a person must look at.
    fn wants(&self, report: &Report) -> bool {
        match report.outcome {
            Outcome::Success => {
                let is_news = report.failing_since.is_some() || !report.alarms.is_empty();
                self.on_success || self.on_failure && is_news
            }
            Outcome::Partial | Outcome::Failure => self.on_failure,
        }
    }

    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let content = PostBody::Json(render(notification.message));
        let fallback = PostBody::Json(minimal(notification.message));
        Post::new(&waiting(&self.url)?, content).or(fallback).deliver().await
    }

    /// It answers GET with its own description.
    async fn check(&self) -> Option<Result<(), Undelivered>> {
        Some(delivery::probe(self.url.expose()).await)
    }
}

/// Discord answers whether it took the message only where it is asked to.
fn waiting(url: &Secret) -> Result<Secret, Undelivered> {
    let mut url = url::Url::parse(url.expose()).map_err(|_| Undelivered::Address)?;
    url.query_pairs_mut().append_pair("wait", "true");
    Ok(Secret::from(url.to_string()))
}

/// Limits of an embed, from Discord's documentation, in characters.
const TITLE: usize = 256;
const DESCRIPTION: usize = 2000;
const FIELD: usize = 1024;
const FIELDS: usize = 25;
const TOTAL: usize = 6000;
/// And of a message without one.
const CONTENT: usize = 2000;

const GREEN: u32 = 0x2e_cc71;
const AMBER: u32 = 0xf1_c40f;
const RED: u32 = 0xe7_4c3c;

/// The message as an embed. Mentions are switched off, whatever a database is called.
pub(in crate::notify) fn render(message: &Message) -> Value {
    let colour = match message.tone {
        Tone::Good => GREEN,
        Tone::Mixed => AMBER,
        Tone::Bad => RED,
    };
    let (title, description) = (escape(&message.title, TITLE), escape(&message.description, DESCRIPTION));
    let room = TOTAL - count(&title) - count(&description);
    json!({
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": title,
            "description": description,
            "color": colour,
            "timestamp": message.time.to_rfc3339(),
            "fields": fields(&message.rows, room),
        }],
    })
}

/// The message as a line of text.
pub(in crate::notify) fn minimal(message: &Message) -> Value {
    json!({ "allowed_mentions": { "parse": [] }, "content": escape(&message.minimal(), CONTENT) })
}

/// As many as fit, the first ones first, and how many do not.
fn fields(rows: &[Row], mut room: usize) -> Vec<Value> {
    let mut rendered = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let is_last = number + 1 == rows.len();
        let ((shown, length), (more, more_length)) = (field(row), field(&left_out(rows.len() - number)));
        let kept = if is_last { 0 } else { more_length };
        if length + kept > room || rendered.len() + usize::from(!is_last) == FIELDS {
            rendered.push(more);
            break;
        }
        room -= length;
        rendered.push(shown);
    }
    rendered
}

/// A row, and how much of the room it takes.
fn field(row: &Row) -> (Value, usize) {
    let (name, value) = (escape(filled(&row.name), TITLE), value(&row.text));
    let length = count(&name) + count(&value);
    (json!({ "name": name, "value": value, "inline": row.short }), length)
}

fn value(text: &Text) -> String {
    let plain = |text: &str| text.replace('`', "'");
    match text {
        Text::Plain(text) => escape(filled(text), FIELD),
        Text::Code(text) => format!("`{}`", cut(&plain(filled(text)), FIELD - 2)),
        Text::Lines(text) => format!("```\n{}\n```", cut_front(&plain(text), FIELD - 8)),
    }
}

/// Text in which nothing is a link or set apart, of at most `limit` characters.
fn escape(text: &str, limit: usize) -> String {
    let is_mark = |letter: char| "*~|`[]".contains(letter);
    let marks = text.chars().filter(|letter| is_mark(*letter)).count();
    // a text that is cut may be a little shorter than it could be
    let text = if count(text) + marks > limit {
        cut(text, limit.saturating_sub(marks.min(limit / 2)))
    } else {
        text.to_owned()
    };
    let mut escaped = String::new();
    for letter in text.chars() {
        let length = letter.len_utf16() + usize::from(is_mark(letter));
        if count(&escaped) + length > limit {
            break;
        }
        if is_mark(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// Empty ones are refused.
fn filled(text: &str) -> &str {
    if text.trim().is_empty() { "-" } else { text }
}
