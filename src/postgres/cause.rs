//! What the server or the network said, which the driver's own message leaves out.

use std::error::Error as _;
use tokio_postgres::Error;

/// The cause in one sentence.
pub fn cause(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => answer.message().to_owned(),
        (None, Some(inner)) => inner.to_string(),
        (None, None) => error.to_string(),
    }
}
