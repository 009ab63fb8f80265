//! Rows of an archive into tables of a live database.

use crate::dump_format::sql_lexer::{Lexer, Token};
use crate::error::SourceError;
use crate::loader::Broken;
use crate::loader::sql::Sink;
use crate::postgres::load::{Load, LoadingRows};
use std::collections::BTreeMap;

/// Rows on their way into their tables; the rest of the SQL is passed over.
pub(super) struct Loading<'l> {
    pub(super) load: &'l Load<'l>,
    pub(super) into: &'l BTreeMap<String, String>,
    pub(super) lexer: Lexer,
    pub(super) rows: Option<LoadingRows<'l>>,
}

impl Sink for Loading<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::CopyBegin => {
                    let copy = self.lexer.copy().and_then(|copy| Some((self.into.get(&copy.table)?, copy)));
                    if let Some((into, copy)) = copy {
                        self.rows = Some(self.load.rows(into, &copy.columns).await.map_err(SourceError::Query)?);
                    }
                }
                Token::Row { bytes, ends } => {
                    if let Some(rows) = &mut self.rows {
                        rows.write(bytes, ends).await.map_err(SourceError::Query)?;
                    }
                }
                Token::CopyEnd(_) => {
                    if let Some(rows) = self.rows.take() {
                        rows.finish().await.map_err(SourceError::Query)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
