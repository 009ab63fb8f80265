//! Questions to a server, each answered whole before the next one is asked.
//!
//! An answer that is still unread holds up every answer behind it on the same connection, and whoever waits for one of
//! those before reading on waits for ever. So rows are handed to a closure that cannot wait; where they wait for room all the
//! same, as those of COPY do, builds with debug assertions check that no question is sent meanwhile.

use bytes::Bytes;
use futures_util::TryStreamExt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, CopyOutStream, Error, Row, SimpleQueryMessage, Statement, ToStatement};

/// One session on a server.
pub struct Session {
    client: Client,
    /// Answers that are being read, and rows that are being sent.
    streams: AtomicUsize,
}

/// Values of a question.
pub type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open stream; until it is dropped no question may be sent.
pub struct Streaming<'a>(&'a Session);

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rows on their way into a table.
pub struct CopyIn<'a> {
    /// Takes the rows.
    pub sink: Pin<Box<CopyInSink<Bytes>>>,
    _streaming: Streaming<'a>,
}

/// Rows on their way out of a table.
pub struct CopyOut<'a> {
    rows: Pin<Box<CopyOutStream>>,
    _streaming: Streaming<'a>,
}

impl CopyOut<'_> {
    /// The next bytes of them; none at their end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.rows.try_next().await
    }
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client, streams: AtomicUsize::new(0) }
    }

    fn free(&self) -> &Client {
        debug_assert_eq!(self.streams.load(Ordering::Relaxed), 0, "a question while an answer is open");
        &self.client
    }

    fn streaming(&self) -> (Streaming<'_>, &Client) {
        let client = self.free();
        self.streams.fetch_add(1, Ordering::Relaxed);
        (Streaming(self), client)
    }

    /// True when the session has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// All rows of an answer.
    pub async fn query<T: ?Sized + ToStatement>(&self, statement: &T, values: Values<'_>) -> Result<Vec<Row>, Error> {
        self.free().query(statement, values).await
    }

    /// The one row of an answer.
    pub async fn query_one<T: ?Sized + ToStatement>(&self, statement: &T, values: Values<'_>) -> Result<Row, Error> {
        self.free().query_one(statement, values).await
    }

    /// The row of an answer that has one at most.
    pub async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        values: Values<'_>,
    ) -> Result<Option<Row>, Error> {
        self.free().query_opt(statement, values).await
    }

    /// All rows of an answer, in one exchange.
    pub async fn query_typed(&self, question: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        self.free().query_typed(question, values).await
    }

    /// The one row of an answer, in one exchange.
    pub async fn query_typed_one(&self, question: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Row, Error> {
        self.free().query_typed_one(question, values).await
    }

    /// Hands each row of an answer on as it comes, however many there are.
    pub async fn each_row(&self, question: &str, mut take: impl FnMut(Row)) -> Result<(), Error> {
        let (_streaming, client) = self.streaming();
        let none: [(&str, Type); 0] = [];
        let mut rows = pin!(client.query_typed_raw(question, none).await?);
        while let Some(row) = rows.try_next().await? {
            take(row);
        }
        Ok(())
    }

    /// Hands on what `COPY … TO STDOUT` gives, in pieces as they come.
    pub async fn copy_out(&self, statement: &str, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let (_streaming, client) = self.streaming();
        let mut pieces = pin!(client.copy_out(statement).await?);
        while let Some(piece) = pieces.try_next().await? {
            take(&piece);
        }
        Ok(())
    }

    /// Begins `COPY … TO STDOUT`, whose rows are taken as fast as there is room for them.
    pub async fn begin_copy_out(&self, statement: &str) -> Result<CopyOut<'_>, Error> {
        let (streaming, client) = self.streaming();
        Ok(CopyOut { rows: Box::pin(client.copy_out(statement).await?), _streaming: streaming })
    }

    /// Begins `COPY … FROM STDIN`.
    pub async fn copy_in(&self, statement: &str) -> Result<CopyIn<'_>, Error> {
        let (streaming, client) = self.streaming();
        Ok(CopyIn { sink: Box::pin(client.copy_in(statement).await?), _streaming: streaming })
    }

    /// Runs one statement; the answer is the number of rows.
    pub async fn execute(&self, statement: &str, values: Values<'_>) -> Result<u64, Error> {
        self.free().execute(statement, values).await
    }

    /// Runs statements one after the other.
    pub async fn batch_execute(&self, statements: &str) -> Result<(), Error> {
        self.free().batch_execute(statements).await
    }

    /// Runs statements one after the other; values come as text.
    pub async fn simple_query(&self, statements: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.free().simple_query(statements).await
    }

    /// Prepares a question whose values have these types.
    pub async fn prepare_typed(&self, question: &str, types: &[Type]) -> Result<Statement, Error> {
        self.free().prepare_typed(question, types).await
    }
}
