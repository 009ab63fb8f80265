//! The session of pg_dump, with us in the middle: everything passes but the reading of rows.

use super::super::dump::DumpError;
use super::super::startup::ways;
use super::super::wire::{self, SqlText, Transport, TransportError, Wire};
use super::frames::{FrameBuffer, Purpose, WireFrame, no_rows, query};
use super::rows::AskedTable;
use super::size::{FORGET, QUESTION, TableSizes};
use super::statements::{RowsOf, setting};
use super::worker::RowReaders;
use crate::config::Source;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::warn;

/// Rows that pg_dump asked for, in the order in which it did. It is told that there are none, whatever it asked: its script
/// says where they belong only once it goes on.
pub(super) enum Asked {
    /// They are read elsewhere.
    Elsewhere(AskedTable),
    /// Its own session reads them, by this statement, when their turn has come.
    Itself(Vec<u8>),
    /// It reads these and all that follow as if nobody were in between: no table is worth another session.
    Alone,
}

/// Rows that the session of pg_dump reads.
pub(super) struct LeaderRequest {
    /// As people know it.
    pub(super) table: String,
    pub(super) statement: Vec<u8>,
    /// Takes the rows, and none behind the last.
    pub(super) rows: mpsc::Sender<Result<Option<Bytes>, DumpError>>,
}

/// What ties a session to the dump: whoever has it is the one, and where it goes the dump sees that.
pub(super) struct Lead {
    pub(super) asked: mpsc::UnboundedSender<Asked>,
    pub(super) requests: mpsc::Receiver<LeaderRequest>,
    /// Why the session ended before everything was read.
    pub(super) ended: oneshot::Sender<Result<(), String>>,
}

/// What every connection of pg_dump has in common; it makes one, and another one where it is started anew.
pub(super) struct RelayShared {
    pub(super) source: Source,
    pub(super) workers: RowReaders,
    /// The session that has come to its first question takes it.
    pub(super) lead: Mutex<Option<Lead>>,
}

/// Carries one connection to its end.
pub(super) async fn carry(shared: Arc<RelayShared>, client: UnixStream) {
    let mut leader = match begin(&shared, client).await {
        Ok(Some(leader)) => leader,
        Ok(None) => return,
        Err(error) => return warn!("the session of pg_dump failed: {error}"),
    };
    let outcome = leader.carry().await;
    let outcome = outcome.map_err(|error| leader.last_error.take().unwrap_or_else(|| error.to_string()));
    // the sender of what is asked goes as well
    if let Some(lead) = leader.lead {
        // whoever waits for it may be gone
        let _ = lead.ended.send(outcome);
    }
}

/// Takes the first message, and reaches the server with it; none where that was all.
async fn begin(shared: &Arc<RelayShared>, mut client: UnixStream) -> io::Result<Option<Leader>> {
    let mut from_client = FrameBuffer::default();
    let first = loop {
        let Some(first) = from_client.first()? else {
            if client.read_buf(from_client.space()).await? == 0 {
                return Ok(None);
            }
            continue;
        };
        match Purpose::of(&first) {
            // whoever listens is on this machine and of this user
            Purpose::Encryption => client.write_all(b"N").await?,
            Purpose::Cancel => {
                let mut server = open(&shared.source, 0).await.map_err(|error| described(&shared.source, &error))?;
                server.write_all(&first).await?;
                server.shutdown().await?;
                return Ok(None);
            }
            Purpose::Session => break first,
        }
    };
    let (mut way, ways) = (0, ways(&shared.source).len());
    loop {
        let opened = open(&shared.source, way).await;
        way += 1;
        let mut server = match opened {
            Ok(server) => Wire::new(server, SqlText::Utf8),
            Err(TransportError::Tls(_)) if way < ways => continue,
            Err(error) => return Err(described(&shared.source, &error)),
        };
        server.write_all(&first).await?;
        server.flush().await?;
        let mut from_server = FrameBuffer::default();
        let answer = loop {
            match from_server.next()? {
                Some(frame) => break Some(frame),
                None if server.read_buf(from_server.space()).await? == 0 => break None,
                None => {}
            }
        };
        let is_refused = answer.as_ref().is_none_or(|frame| frame.letter == b'E');
        if is_refused && way < ways {
            continue;
        }
        let Some(answer) = answer else { return Ok(None) };
        client.write_all(&answer.without_channel_binding()).await?;
        let shared = shared.clone();
        let (encoding, settings) = (String::new(), Vec::new());
        return Ok(Some(Leader {
            shared,
            lead: None,
            client,
            server,
            from_client,
            from_server,
            encoding,
            settings,
            unanswered: 1,
            sizes: None,
            last_error: None,
        }));
    }
}

async fn open(source: &Source, way: usize) -> Result<Box<dyn Transport>, TransportError> {
    wire::open(source, ways(source)[way]).await
}

fn described(source: &Source, error: &TransportError) -> io::Error {
    io::Error::other(format!("connecting to {}: {error:?}", source.display()))
}

struct Leader {
    shared: Arc<RelayShared>,
    lead: Option<Lead>,
    client: UnixStream,
    server: Wire,
    from_client: FrameBuffer,
    from_server: FrameBuffer,
    /// `client_encoding` of the session.
    encoding: String,
    /// What pg_dump has set.
    settings: Vec<String>,
    /// Messages that the server has yet to be ready after.
    unanswered: usize,
    /// Known since rows were asked for.
    sizes: Option<TableSizes>,
    /// What the server said last that was wrong.
    last_error: Option<String>,
}

/// The goodbye of a client.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// What happens next.
enum Happens {
    FromClient(usize),
    FromServer(usize),
    Requested(Option<LeaderRequest>),
}

impl Leader {
    /// Ends well when everything was read, or when pg_dump has gone before it asked for anything.
    async fn carry(&mut self) -> io::Result<()> {
        // what came with the first messages
        self.take_from_server().await?;
        let mut has_client = self.take_from_client().await?;
        loop {
            if self.unanswered == 0 && self.lead.is_none() {
                self.lead = self.shared.lead.lock().await.take();
            }
            // without pg_dump, and without anybody who waits for rows, there is nothing to stay for
            if !has_client && self.lead.is_none() {
                return Ok(());
            }
            let may_ask = self.unanswered == 0;
            let happens = tokio::select! {
                count = self.client.read_buf(self.from_client.space()), if has_client => {
                    Happens::FromClient(count.unwrap_or(0))
                }
                count = self.server.read_buf(self.from_server.space()) => Happens::FromServer(count?),
                request = next_request(&mut self.lead), if may_ask => Happens::Requested(request),
            };
            match happens {
                Happens::FromClient(0) => has_client = false,
                Happens::FromClient(_) => has_client = self.take_from_client().await?,
                Happens::FromServer(0) => return Err(io::Error::other("the server has closed the connection")),
                Happens::FromServer(_) => self.take_from_server().await?,
                Happens::Requested(Some(request)) => self.read(request).await?,
                // everything was read
                Happens::Requested(None) => {
                    // the server knows by it that nothing went wrong; whether it hears it does not matter any more
                    let _ = self.server.write_all(TERMINATE).await;
                    let _ = self.server.shutdown().await;
                    return Ok(());
                }
            }
        }
    }

    /// Passes on what pg_dump says; false once it has said goodbye, which the server must not hear while its locks are
    /// needed.
    async fn take_from_client(&mut self) -> io::Result<bool> {
        while let Some(frame) = self.from_client.next()? {
            if frame.letter == b'X' {
                return Ok(false);
            }
            let sql = frame.sql().filter(|_| self.unanswered == 0);
            if let (Some(sql), Some(_)) = (sql, &self.lead) {
                self.settings.extend(setting(sql, &self.encoding));
                if is_row_copy_out(sql) && self.ask(&frame).await? {
                    continue;
                }
            }
            // a query, a call of a function, or the end of several messages that are answered together
            self.unanswered += usize::from([b'Q', b'F', b'S'].contains(&frame.letter));
            self.server.write_all(&frame.bytes).await?;
            self.server.flush().await?;
        }
        Ok(true)
    }

    /// Has rows read, and tells pg_dump that there are none. False where pg_dump reads them itself.
    async fn ask(&mut self, frame: &WireFrame) -> io::Result<bool> {
        let sql = frame.sql().unwrap_or_default();
        if self.sizes.is_none() {
            self.shared.workers.set(&self.settings);
            let sizes = self.size().await?;
            if let Some(lead) = self.lead.as_ref().filter(|_| sizes.is_empty()) {
                let _ = lead.asked.send(Asked::Alone);
            }
            self.sizes = Some(sizes);
        }
        if self.sizes.as_ref().is_some_and(TableSizes::is_empty) {
            return Ok(false);
        }
        let of = RowsOf::parse(sql, &self.encoding).map(Arc::new);
        let known = of.and_then(|of| Some((self.sizes.as_ref()?.of(&of)?, of)));
        let asked = match known {
            Some((size, of)) => {
                let parts = self.shared.workers.read(of.clone(), size);
                Asked::Elsewhere(AskedTable { of, parts })
            }
            None => Asked::Itself(sql.to_vec()),
        };
        if let Some(lead) = &self.lead {
            // whoever wanted them may be gone, and pg_dump with him soon
            let _ = lead.asked.send(asked);
        }
        self.client.write_all(&no_rows()).await?;
        Ok(true)
    }

    /// How long the tables are that pg_dump has locked.
    async fn size(&mut self) -> io::Result<TableSizes> {
        let (mut sizes, mut questions) = (TableSizes::default(), vec![QUESTION]);
        while let Some(question) = questions.pop() {
            self.server.write_all(&query(question.as_bytes())).await?;
            self.server.flush().await?;
            loop {
                let frame = self.next_answer().await?;
                match frame.letter {
                    b'D' => sizes.take(&frame, &self.encoding),
                    b'E' if question == QUESTION => questions = vec![FORGET],
                    b'Z' => break,
                    _ => {}
                }
            }
        }
        Ok(sizes)
    }

    /// What the server says next, while pg_dump waits.
    async fn next_answer(&mut self) -> io::Result<WireFrame> {
        loop {
            if let Some(frame) = self.from_server.next()? {
                self.note(&frame);
                return Ok(frame);
            }
            if self.server.read_buf(self.from_server.space()).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn take_from_server(&mut self) -> io::Result<()> {
        while let Some(frame) = self.from_server.next()? {
            self.note(&frame);
            self.unanswered -= usize::from(frame.letter == b'Z').min(self.unanswered);
            // after its goodbye nobody listens
            let _ = self.client.write_all(&frame.without_channel_binding()).await;
        }
        Ok(())
    }

    fn note(&mut self, frame: &WireFrame) {
        if let Some((b"client_encoding", value)) = frame.parameter() {
            self.encoding = String::from_utf8_lossy(value).into_owned();
        }
        self.last_error = frame.message().or_else(|| self.last_error.take().filter(|_| frame.letter != b'Z'));
    }

    /// Reads rows in the session itself, while pg_dump waits.
    async fn read(&mut self, LeaderRequest { table, statement, rows }: LeaderRequest) -> io::Result<()> {
        let outcome = self.copy(&statement, &rows).await;
        let failed = |cause: &str| DumpError::Rows { table, cause: cause.to_owned() };
        // whoever wanted them may be gone
        match &outcome {
            Ok(None) => drop(rows.send(Ok(None)).await),
            Ok(Some(cause)) => drop(rows.send(Err(failed(cause))).await),
            Err(error) => {
                let cause = self.last_error.clone().unwrap_or_else(|| error.to_string());
                drop(rows.send(Err(failed(&cause))).await);
            }
        }
        outcome.map(drop)
    }

    /// Hands rows on as they come; what the server says is wrong, where that is something.
    async fn copy(
        &mut self,
        statement: &[u8],
        rows: &mpsc::Sender<Result<Option<Bytes>, DumpError>>,
    ) -> io::Result<Option<String>> {
        self.server.write_all(&query(statement)).await?;
        self.server.flush().await?;
        let mut error = None;
        loop {
            let frame = self.next_answer().await?;
            match frame.letter {
                // whoever wanted them may be gone; the answer is read to its end all the same
                b'd' => drop(rows.send(Ok(Some(frame.body_bytes()))).await),
                b'E' => error = frame.message(),
                b'Z' => return Ok(error),
                _ => {}
            }
        }
    }
}

async fn next_request(lead: &mut Option<Lead>) -> Option<LeaderRequest> {
    match lead {
        Some(lead) => lead.requests.recv().await,
        None => std::future::pending().await,
    }
}

/// True for what pg_dump reads the rows of a table by.
fn is_row_copy_out(sql: &[u8]) -> bool {
    let sql = sql.trim_ascii();
    sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"copy ")) && sql.ends_with(b" TO stdout;")
}
