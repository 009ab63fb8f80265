//! E-mail: one message for each run, over SMTP.

use super::{Notification, Service, ServiceKind};
use crate::delivery::Undelivered;
use crate::notify::message::{Message, cut};
use crate::settings::{RawSettings, Secret, Setting, ValueKind, is_local_host};
use async_trait::async_trait;
use lettre::message::SinglePart;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::Error;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::debug;
use url::Url;

pub const KIND: ServiceKind = ServiceKind { name: "the mail server", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[
    Setting::new(
        "SMTP_URL",
        ValueKind::Form("smtps://user:password@host, smtp://user:password@host?tls=required, or smtp://host", is_server),
        "Mail server for e-mails about every run: smtps://user:password@host, or smtp://user:password@host:587?tls=required for STARTTLS.",
    )
    .secret(),
    Setting::new("SMTP_FROM", ValueKind::Text, "Address that e-mails come from."),
    Setting::new("SMTP_TO", ValueKind::Text, "Comma-separated addresses that e-mails go to."),
];

/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Attempts when the server is busy or away, and the pause between them.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// Characters of a subject and of a text.
const SUBJECT: usize = 200;
const TEXT: usize = 50_000;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

#[derive(Debug)]
struct Mail {
    url: Secret,
    from: Mailbox,
    to: Mailboxes,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    let (url, from, to) = (raw.text("SMTP_URL"), raw.parsed("SMTP_FROM"), raw.parsed("SMTP_TO"));
    let url = url?;
    for (name, is_read, allowed) in
        [("SMTP_FROM", from.is_some(), "one address"), ("SMTP_TO", to.is_some(), "comma-separated addresses")]
    {
        match raw.is_set(name) {
            false => raw.problems.push(format!("{name}: SMTP_URL needs it")),
            true if !is_read => raw.refuse(name, allowed),
            true => {}
        }
    }
    let parsed = Url::parse(&url).ok()?;
    let is_open = parsed.scheme() == "smtp"
        && !parsed.query_pairs().any(|(name, value)| (&*name, &*value) == ("tls", "required"));
    if is_open && parsed.password().is_some() && !is_local_host(parsed.host_str().unwrap_or_default()) {
        raw.warnings
            .push("SMTP_URL: the password would be sent unencrypted; add ?tls=required, or use smtps".to_owned());
    }
    Some(Arc::new(Mail { url: url.into(), from: from?, to: to? }))
}

/// A URL that can be used as it is; a user without a password would be left out in silence.
fn is_server(text: &str) -> bool {
    let is_whole = |url: Url| url.username().is_empty() == url.password().is_none();
    transport(text).is_ok() && Url::parse(text).is_ok_and(is_whole)
}

fn transport(url: &str) -> Result<Transport, Error> {
    Ok(Transport::from_url(url)?.timeout(Some(ATTEMPT)).build())
}

#[async_trait]
impl Service for Mail {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let mail = self.compose(notification.message, &notification.report.run_id)?;
        let transport = transport(self.url.expose()).map_err(|error| failed(&error))?;
        let mut attempt = 1;
        loop {
            // what was not answered in time may well have been taken
            let Ok(sent) = timeout(ATTEMPT, transport.send(mail.clone())).await else { return Err(no_answer()) };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if attempt < ATTEMPTS && is_not_taken(&error) => {
                    debug!("the mail server did not accept an e-mail: {error}; trying again");
                }
                Err(error) => return Err(failed(&error)),
            }
            tokio::time::sleep(PAUSE).await;
            attempt += 1;
        }
    }

    async fn check(&self) -> Option<Result<(), Undelivered>> {
        let asked = async { transport(self.url.expose())?.test_connection().await };
        Some(match timeout(ATTEMPT, asked).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Undelivered::Mail("it answers, but not as a mail server".to_owned())),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(no_answer()),
        })
    }
}

impl Mail {
    fn compose(&self, message: &Message, run_id: &str) -> Result<lettre::Message, Undelivered> {
        let builder = lettre::Message::builder().from(self.from.clone());
        let builder = self.to.iter().fold(builder, |builder, to| builder.to(to.clone()));
        let builder = builder.subject(cut(&message.title, SUBJECT)).date(message.time.into());
        // by which a receiver knows one that comes twice
        let id = format!("<{run_id}.{}@backup.invalid>", message.time.timestamp_millis());
        let builder = builder.message_id(Some(id));
        let part = SinglePart::plain(message.text(TEXT) + "\n");
        builder.singlepart(part).map_err(|error| Undelivered::Mail(error.to_string()))
    }
}

/// The server was busy, or was not even reached: then nothing was taken.
fn is_not_taken(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    error.is_transient() || cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Never holds the URL.
fn failed(error: &Error) -> Undelivered {
    Undelivered::Mail(error.to_string())
}

fn no_answer() -> Undelivered {
    Undelivered::Mail(format!("no answer within {} s", ATTEMPT.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::{Row, Text, Tone};
    use crate::record::manifest::BackupType;
    use crate::report::{Activity, Report};
    use chrono::Utc;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    /// A mail server that is busy for so many connections; the answer are the lines that it was sent.
    async fn receive(listener: TcpListener, mut busy: u32) -> Vec<String> {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = socket.split();
            let (mut lines, mut received, mut is_text) = (BufReader::new(reader).lines(), Vec::new(), false);
            writer.write_all(b"220 mail.example\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match line.split_whitespace().next() {
                    _ if is_text && line != "." => None,
                    Some("EHLO") => Some("250 mail.example"),
                    Some("MAIL") if busy > 0 => Some("451 busy"),
                    Some("DATA") => Some("354 go on"),
                    Some("QUIT") => Some("221 bye"),
                    _ => Some("250 ok"),
                };
                is_text = line.starts_with("DATA") || is_text && line != ".";
                received.push(line);
                if let Some(answer) = answer {
                    writer.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                }
                if received.last().is_some_and(|line| line == ".") {
                    return received;
                }
            }
            busy = busy.saturating_sub(1);
        }
    }

    fn message() -> Message {
        let rows =
            vec![Row { name: "Cause".to_owned(), text: Text::Plain("cut\nSubject: forged".to_owned()), short: false }];
        let title = "Backup failed: shop\r\nBcc: everybody@example.org".to_owned();
        Message { tone: Tone::Bad, title, description: "Source db".to_owned(), time: Utc::now(), rows, cause: None }
    }

    async fn send(url: String) -> Result<(), Undelivered> {
        let (from, to) =
            ("Backup <backup@example.org>".parse().unwrap(), "a@example.org, b@example.org".parse().unwrap());
        let report = Report::begin(Activity::Backup, "run", BackupType::Auto, Utc::now());
        Mail { url: url.into(), from, to }.send(&Notification { report: &report, message: &message() }).await
    }

    #[tokio::test]
    async fn an_e_mail_goes_to_everybody_once_although_the_server_was_busy_and_no_name_makes_a_header() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (lines, sent) = tokio::join!(receive(listener, 1), send(url));
        sent.unwrap();
        for wanted in [
            "MIME-Version: 1.0",
            "RCPT TO:<a@example.org>",
            "RCPT TO:<b@example.org>",
            "To: a@example.org, b@example.org",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted}: {lines:?}");
        }
        assert!(
            lines.iter().any(|line| line.starts_with("Subject: ")) && lines.iter().all(|line| !line.starts_with("Bcc"))
        );
        let headers = lines.iter().skip_while(|line| *line != "DATA").take_while(|line| !line.is_empty());
        assert_eq!(headers.filter(|line| line.starts_with("Subject:")).count(), 1);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_without_the_password() {
        let error = send("smtp://user:secret@127.0.0.1:1".to_owned()).await.unwrap_err().to_string();
        assert!(error.contains("refused") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_password_is_not_sent_in_the_open_without_a_warning_and_addresses_are_needed() {
        let load = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            crate::config::Config::load(pairs, std::path::Path::new("/nonexistent"))
        };
        let to = [("SMTP_FROM", "a@example.org"), ("SMTP_TO", "B <b@example.org>, c@example.org")];
        let with = |url: &'static str| load(&[&to[..], &[("SMTP_URL", url)]].concat());
        assert!(with("smtp://u:p@mail.example:25").unwrap().warnings[0].contains("tls=required"));
        assert_eq!(with("smtp://u:p@mail.example:587?tls=required").unwrap().warnings, Vec::<String>::new());
        assert_eq!(with("smtps://u:p@mail.example").unwrap().warnings, Vec::<String>::new());
        let problems =
            load(&[("SMTP_URL", "smtps://u:hunter2@mail.example"), ("SMTP_TO", "nobody")]).unwrap_err().to_string();
        assert!(
            problems.contains("SMTP_FROM: SMTP_URL needs it") && problems.contains("SMTP_TO: got `nobody`"),
            "{problems}"
        );
        assert!(with("http://u:hunter2@mail").unwrap_err().to_string().contains("hidden here"));
    }
}
