//! A restored database, looked at as the source was.

use super::checks::{self, Excused, Expected, Found, Matched, Matching, Terms};
use super::report::{DatabaseResult, StageSeconds};
use super::scope::Scope;
use crate::dump_format::dump_options::{self, LeavesOut};
use crate::dump_format::script::Rows;
use crate::dump_format::sql_lexer::{Lexer, Token};
use crate::error::{Error, ServerError};
use crate::loader::exception::Omission;
use crate::loader::{Filled, Loader};
use crate::postgres::connection::{Connection, ServerVersion};
use crate::postgres::schema::{self, Described};
use crate::postgres::scratch::Scratch;
use crate::postgres::{catalog, contents};
use crate::record::facts::Kind;
use crate::text;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::path::Path;
use std::time::{Duration, Instant};
use tracing::info;

/// What sessions call themselves.
const APPLICATION: &str = "backup verify";
/// How long the health check may take to answer.
const HEALTH: Duration = Duration::from_secs(30);

/// A filled database that is held against the facts of its backup.
pub(crate) struct Comparison<'a> {
    loader: &'a Loader<'a>,
    scratch: &'a Scratch,
    terms: Terms,
    /// The health check is asked.
    asks_health: bool,
}

/// The objects of a database, held against those expected.
struct Met {
    matching: Matching,
    described: Described,
    /// Tables whose policies bind the owner too: they would hide rows from all but superusers.
    forced: Vec<String>,
}

impl Terms {
    /// For what a loader restores.
    fn of(loader: &Loader<'_>) -> Self {
        let versions = &loader.manifest().versions;
        let left_out = dump_options::leaves_out(&loader.manifest().arguments);
        Self {
            texts: loader.server.connection().version().major == ServerVersion::parse(&versions.server).major,
            owners: !loader.leave_out.owners,
            partial: left_out == LeavesOut::Objects,
            rows_left_out: left_out != LeavesOut::Nothing || loader.leave_out.rows != Rows::All,
        }
    }
}

impl<'a> Comparison<'a> {
    /// Of what a loader filled a database with.
    pub(crate) fn of(loader: &'a Loader<'a>, scratch: &'a Scratch) -> Self {
        Self { loader, scratch, terms: Terms::of(loader), asks_health: false }
    }

    /// The same, with the health check.
    pub(super) fn with_health(self) -> Self {
        Self { asks_health: true, ..self }
    }

    /// Holds the database against the facts, and gives it the properties of the source.
    pub(crate) async fn compare(&self, scope: Scope<'_>, filled: &Filled) -> Result<DatabaseResult, Error> {
        let seconds = filled.seconds;
        info!(seconds, "restored {} in {seconds:.1} s, comparing", self.scratch.name);
        let started = Instant::now();
        let (expected, found) = self.loader.shutdown.guard(self.found(scope, filled)).await??;
        let mut result = checks::compare(&expected, &found, self.terms);
        let (load, index) = (filled.seconds - filled.build_seconds, filled.build_seconds);
        result.seconds = Some(StageSeconds { load, index, compare: started.elapsed().as_secs_f64() });
        result.exceptions = filled.left_out.iter().map(Omission::record).collect();
        let (tables, rows) = (result.tables, result.rows);
        let compared = format!("{} and {}", text::count(tables, "table"), text::count(rows, "row"));
        info!(tables, rows, "compared {compared} of {}", expected.head.name);
        Ok(result)
    }

    /// What is expected, and everything that the checks compare with it. What may change the database comes last.
    async fn found(&self, scope: Scope<'_>, filled: &Filled) -> Result<(Expected, Found), Error> {
        let connection = self.loader.server.enter(self.scratch, APPLICATION).await?;
        let beside = (1..self.loader.jobs).map(|_| self.loader.server.enter(self.scratch, APPLICATION));
        // one that the server does not give is one less
        let beside: Vec<Connection> = join_all(beside).await.into_iter().flatten().collect();
        let expected = scope.expected()?;
        let (objects, described) =
            self.match_objects(&connection, scope, &expected, &Excused::of(&filled.left_out)).await?;
        let (head, wanted) = (&expected.head, &expected.contents);
        let contents = contents::read(&connection, &beside, wanted, head).await.map_err(ServerError::Compare)?;
        let orphans = contents::orphans(&connection).await.map_err(ServerError::Compare)?;
        let queries = match &self.loader.config.verify.queries {
            None => None,
            Some(path) => Some(ask(&connection, &read_queries(path)?).await),
        };
        let health = self.health().await?;
        let unapplied = self.loader.apply_properties(&connection, self.scratch, head).await;
        let properties = catalog::properties(&connection).await.map_err(ServerError::Compare)?;
        let Described { has_texts, migrations, .. } = described;
        let found = Found {
            objects,
            has_texts,
            migrations,
            contents,
            properties,
            unapplied,
            orphans,
            health,
            queries,
            restore_seconds: filled.seconds,
        };
        Ok((expected, found))
    }

    /// Holds the objects of the database against those expected; neither are in memory at once.
    async fn match_objects(
        &self,
        connection: &Connection,
        scope: Scope<'_>,
        expected: &Expected,
        excused: &Excused,
    ) -> Result<(Matched, Described), Error> {
        let texts = self.terms.texts && expected.head.has_texts;
        let mut met = self.meet_objects(connection, scope, expected, excused, texts).await?;
        if texts && !met.described.has_texts {
            // what was met before the texts were given up was compared with them
            met = self.meet_objects(connection, scope, expected, excused, false).await?;
        }
        let Met { mut matching, described, forced } = met;
        for table in forced.iter().filter(|_| !connection.is_superuser()) {
            contents::unforce_row_security(connection, table).await.map_err(ServerError::Compare)?;
        }
        if !matching.is_complete() {
            scope.each_object(|kind, name, properties| matching.recall(kind, name, properties))?;
        }
        Ok((matching.finish(&expected.contents), described))
    }

    async fn meet_objects(
        &self,
        connection: &Connection,
        scope: Scope<'_>,
        expected: &Expected,
        excused: &Excused,
        texts: bool,
    ) -> Result<Met, Error> {
        let mut matching = Matching::new(texts, excused.clone());
        scope.each_object(|kind, name, properties| matching.expect(kind, name, &properties, &expected.contents))?;
        let mut forced = Vec::new();
        let mut meet = |kind, name: String, properties: Map<String, Value>| {
            if kind == Kind::Table && properties.contains_key("forced_row_security") {
                forced.push(name.clone());
            }
            matching.meet(kind, name, properties);
        };
        let looking = async {
            connection.batch_execute("BEGIN READ ONLY").await?;
            let described = schema::describe(connection, texts, &mut meet).await?;
            connection.batch_execute("COMMIT").await?;
            Ok(described)
        };
        let described = looking.await.map_err(ServerError::Compare)?;
        Ok(Met { matching, described, forced })
    }

    /// None where there is no health check. One that gets no answer at all says nothing of the backup.
    async fn health(&self) -> Result<Option<Result<String, String>>, Error> {
        let Some(url) = self.loader.config.verify.health_url.as_ref().filter(|_| self.asks_health) else {
            return Ok(None);
        };
        let client = reqwest::Client::builder().timeout(HEALTH).build();
        let answer = match client {
            Ok(client) => client.get(url).send().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(Some(Ok(answer.status().to_string()))),
            Ok(answer) => Ok(Some(Err(answer.status().to_string()))),
            Err(error) => Err(Error::Server(ServerError::NoHealth(error.without_url().to_string()))),
        }
    }
}

/// The queries of a file, each without its `;`.
fn read_queries(path: &Path) -> Result<Vec<String>, Error> {
    let problem = |cause: String| Error::Io(format!("VERIFY_QUERIES_FILE: {}: {cause}", path.display()));
    let mut text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    // the last one may lack it
    text.extend_from_slice(b"\n;\n");
    let (mut lexer, mut input, mut queries) = (Lexer::default(), &text[..], Vec::new());
    while let Some(token) = lexer.next(&mut input) {
        match token {
            Token::StatementEnd => {
                let query = String::from_utf8_lossy(lexer.statement());
                let query = query.trim_end_matches(';').trim();
                queries.extend((!query.is_empty()).then(|| query.to_owned()));
            }
            Token::CommandEnd => return Err(problem("it has a psql command; only SQL queries are allowed".to_owned())),
            _ => {}
        }
    }
    if !lexer.is_between_statements() {
        return Err(problem("it ends in the middle of a string or comment".to_owned()));
    }
    if queries.is_empty() { Err(problem("it has no query".to_owned())) } else { Ok(queries) }
}

async fn ask(connection: &Connection, queries: &[String]) -> Vec<(String, Result<bool, String>)> {
    let mut answers = Vec::new();
    for query in queries {
        answers.push((query.clone(), contents::is_true(connection, query).await));
    }
    answers
}
